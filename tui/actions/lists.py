"""Which list, which part of it, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hyperd.errors import BadRequest
from tui.action import Parameters, Target, action
from tui.desk import Desk


@dataclass(frozen=True)
class Namespace(Parameters):
    """``all`` or nothing for all of them."""

    name: str = ""


@dataclass(frozen=True)
class Sort(Parameters):
    """A column's title; nothing for the next one. ``down`` puts the largest first."""

    column: str = ""
    down: bool = False


def _namespace(desk: Desk, _: Sequence[Target], given: Namespace) -> None:
    desk.show_namespace("" if given.name in ("all", "-") else given.name)


def _ask_namespace(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    from tui.screens.namespaces import Namespaces

    desk.push(Namespaces(desk))


def _filter(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.prompt(f"/{desk.table.query_text}")


def _sort(desk: Desk, _: Sequence[Target], given: Sort) -> None:
    table = desk.table
    titles = [column.title.lower() for column in table.columns]
    wanted = given.column.lower()
    if wanted and wanted not in titles:
        raise BadRequest(f"no column {given.column}; there are {', '.join(titles)}")
    index = titles.index(wanted) if wanted else (table.sort_column + 1) % len(titles)
    if index != table.sort_column:
        desk.reorder(index)
    if wanted and given.down != table.sort_reverse:
        desk.reorder(index)


def _reverse(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.reorder(desk.table.sort_column)


def _back(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    _go(desk, moved=desk.trail.step(-1))


def _forward(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    _go(desk, moved=desk.trail.step(1))


def _swap(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    _go(desk, moved=desk.trail.swap())


def _mark(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.mark("row")


def _mark_to(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.mark("to")


def _mark_all(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.mark("all")


def _unmark(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.unmark()


def _go(desk: Desk, *, moved: bool) -> None:
    if moved:
        desk.show_context()
    else:
        desk.say("there is no other list in that direction")


ACTIONS = (
    action("ask_namespace", "n", "namespace", "choose one from a list", "Lists", _ask_namespace, Parameters),
    action(
        "namespace", "", "namespace", "of one namespace; without a name, of all", "Lists", _namespace, Namespace,
        words="ns namespace",
    ),
    action(
        "filter", "slash", "filter", "keep rows: web !db ~re node:n3 cpu%>50 age<1h -l a=b", "Lists",
        _filter, Parameters, footer=True,
    ),
    action("sort", "o", "sort", "sort by the next column", "Lists", _sort, Sort, words="sort"),
    action("reverse", "O", "reverse", "turn the order round", "Lists", _reverse, Parameters, words="reverse"),
    action("mark", "space", "mark", "mark the row; actions are done to all marked", "Lists", _mark, Parameters),
    action(
        "mark_to", "ctrl+space,ctrl+@", "mark to", "mark all from the row to the nearest mark", "Lists",
        _mark_to, Parameters,
    ),
    action(
        "mark_all", "ctrl+a", "mark all", "mark all that the filter shows, or none of them", "Lists", _mark_all,
        Parameters, words="mark",
    ),
    action(
        "unmark", "", "unmark", "mark nothing", "Lists", _unmark, Parameters, words="unmark",
    ),
    action("history_back", "left_square_bracket", "back", "the list before", "Lists", _back, Parameters),
    action("history_forward", "right_square_bracket", "forward", "and forward", "Lists", _forward, Parameters),
    action("swap", "minus", "swap", "the list that was shown last, and back", "Lists", _swap, Parameters),
)  # fmt: skip
