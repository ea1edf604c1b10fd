"""Rows and titles as text of fixed places."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style

from hyperd.client.health import GLYPHS
from tui.widgets.rows import Column, Row

GAP = 2

Layout = Sequence[tuple[int, int]]
"""Index and width of the columns that are shown."""


def row(
    row: Row,
    columns: Sequence[Column],
    layout: Layout,
    ages: Sequence[str],
    base: Style,
    style: Callable[[str], Style],
) -> Iterator[Segment]:
    """The cells of a row; its note takes those after the state, but for an age at the end."""
    next_age = iter(ages)
    noted = False
    for place, (i, cell_width) in enumerate(layout):
        column = columns[i]
        text = next(next_age) if column.age else _text(row.values[i])
        look = base
        if column.state:
            text = f"{GLYPHS[row.level]} {row.stale or text}" if text else ""
            look = base if row.stale else base + style(row.level)
        if row.note and noted and not (column.age and place == len(layout) - 1):
            continue
        yield Segment(sized(text, cell_width, right=column.right) + " " * GAP, look)
        if row.note and column.state:
            noted = True
            room = sum(w + GAP for j, w in layout[place + 1 :] if not _is_last_age(j, columns, layout)) - GAP
            if room > 0:
                yield Segment(sized(row.note, room) + " " * GAP, base + style("note"))


def titles(columns: Sequence[Column], layout: Layout, sorted_by: int, reverse: bool) -> str:
    """The line above; an arrow tells the order."""
    text = ""
    for i, cell_width in layout:
        column = columns[i]
        mark = ("↓" if reverse else "↑") if i == sorted_by else ""
        title = column.title + mark if cell_len(column.title + mark) <= cell_width else column.title
        text += sized(title, cell_width, right=column.right) + " " * GAP
    return text


def sized(text: str, width: int, *, right: bool = False) -> str:
    """``text`` in exactly ``width`` cells; what does not fit ends in an ellipsis."""
    length = len(text) if text.isascii() else cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…" if width > 0 else ""
    return " " * (width - length) + text if right else text + " " * (width - length)


def _is_last_age(index: int, columns: Sequence[Column], layout: Layout) -> bool:
    return index == layout[-1][0] and columns[index].age


def _text(value: object) -> str:
    return "" if value is None else str(value)
