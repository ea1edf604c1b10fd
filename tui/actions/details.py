"""Looking at one object."""

from __future__ import annotations

from collections.abc import Sequence

from tui.action import Parameters, Target, action
from tui.desk import Desk
from tui.kind import EVENTS, YAML, Kind


def _every(_: Kind) -> bool:
    return True


def _open(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.open()


def _next(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.step_tab(1)


def _previous(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.step_tab(-1)


def _yaml(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.open(YAML)


def _events(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.open(EVENTS)


ACTIONS = (
    action(
        "open", "enter", "open", "open the details of the row", "Object", _open, Parameters,
        applies=_every, footer=True,
    ),
    action("next_tab", "tab", "next tab", "the next tab of the details", "Object", _next, Parameters),
    action("previous_tab", "shift+tab", "previous tab", "the tab before", "Object", _previous, Parameters),
    action(
        "yaml", "y", "YAML", "the object as YAML", "Object", _yaml, Parameters, words="yaml", applies=_every
    ),
    action(
        "events", "E", "events", "what happened to it", "Object", _events, Parameters,
        applies=lambda kind: EVENTS in kind.tabs,
    ),
)  # fmt: skip
