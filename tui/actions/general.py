"""What needs no object."""

from __future__ import annotations

from collections.abc import Sequence

from tui.action import Parameters, Target, action
from tui.desk import Desk


def _command(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.prompt(":")


def _palette(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.palette()


def _help(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.help()


def _redraw(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.redraw_all()


def _back(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.back()


def _quit(desk: Desk, _: Sequence[Target], given: Parameters) -> None:
    desk.leave()


ACTIONS = (
    action(
        "command", "colon", "command", "type a command: vd, ns shop, stop web-7, sort age", "General", _command,
        Parameters, footer=True,
    ),
    action(
        "palette", "ctrl+p", "palette", "find an action or an object", "General", _palette, Parameters,
        words="palette",
    ),
    action(
        "help", "question_mark", "help", "this list", "General", _help, Parameters, words="help h", footer=True
    ),
    action(
        "redraw", "ctrl+l", "redraw", "write the whole screen anew", "General", _redraw, Parameters, words="redraw"
    ),
    action("back", "escape", "back", "close what is open, drop the filter", "General", _back, Parameters),
    action("quit", "q", "quit", "leave", "General", _quit, Parameters, words="q quit exit"),
)  # fmt: skip
