"""What a table shows: columns, rows, how they are found and put in order. No drawing here."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hyperd.client.health import Level


@dataclass(frozen=True)
class Column:
    """One column. ``width`` is fixed, so nothing jumps; ``grow`` shares what the screen has left.

    ``rank`` says who goes first when the screen is narrow: the highest. ``age`` columns hold epoch seconds.
    """

    title: str
    width: int
    right: bool = False
    grow: int = 0
    rank: int = 0
    age: bool = False
    state: bool = False
    number: Callable[[Any], float | None] | None = None
    """What a text of this column is worth, for its order: ``4Gi`` is more than ``22Mi``."""


class Row(NamedTuple):
    """One row. ``values`` sort and, where the column is no age, print; ``note`` takes the cells after the state.

    ``stale`` is how old all of it is, where its home does not answer: it stands in the state's place, which may be
    another one by now, and hides nothing else.
    All text is safe already. ``version`` changes whenever anything of the row does.
    """

    key: Hashable
    version: Hashable
    values: tuple[Any, ...]
    level: Level
    note: str = ""
    stale: str = ""


Worth = tuple[int, float, str]


def worth(value: object, number: Callable[[Any], float | None] | None = None, *, reverse: bool = False) -> Worth:
    """What puts a value in order: numbers before text, what is empty last, also in an order that is reversed."""
    if value is None or value == "":
        return -1 if reverse else 2, 0.0, ""
    counted = number(value) if number is not None else None
    if counted is None and isinstance(value, int | float):
        counted = float(value)
    if counted is not None and counted == counted:
        return 0, counted, ""
    return 1, 0.0, str(value).lower()


def fit(columns: Sequence[Column], width: int, gap: int) -> list[tuple[int, int]]:
    """(index, width) of the columns that fit into ``width`` cells, in their order, using all of it."""
    by_rank = sorted(range(len(columns)), key=lambda i: (columns[i].rank, i))
    kept: list[int] = []
    left = width
    for i in by_rank:
        need = columns[i].width + gap
        if kept and need > left:
            break
        kept.append(i)
        left -= need
    kept.sort()
    growing = sum(columns[i].grow for i in kept)
    out = []
    for i in kept:
        extra = left * columns[i].grow // growing if growing and left > 0 else 0
        out.append((i, columns[i].width + extra))
    return out
