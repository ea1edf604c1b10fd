"""A machine's console and screen."""

from __future__ import annotations

from collections.abc import Sequence

from hyperd.client.health import health
from hyperd.client.operations import running
from tui.action import Parameters, Target, action
from tui.desk import Desk
from tui.kind import CONSOLE, Kind


def _has_console(kind: Kind) -> bool:
    return CONSOLE in kind.tabs


def _refuses(target: Target) -> str:
    return "" if running(target.obj) else f"is {health(target.obj).word}"


def _session(plural: str) -> str:
    return f"get {plural}/console"


def _vnc(plural: str) -> str:
    return f"get {plural}/vnc"


def _console(desk: Desk, targets: Sequence[Target], given: Parameters) -> None:
    desk.connect_console(targets[0].key)


def _screen(desk: Desk, targets: Sequence[Target], given: Parameters) -> None:
    desk.show_screen(targets[0].key)


def _attach(desk: Desk, targets: Sequence[Target], given: Parameters) -> None:
    desk.attach_console(targets[0].key)


ACTIONS = (
    action(
        "console", "c", "console", "its console, here", "Machine", _console, Parameters, words="console",
        applies=_has_console, refuses=_refuses, needs=_session, footer=True,
    ),
    action(
        "screen", "v", "screen", "its screen, here: keyboard, mouse, screenshots", "Machine", _screen, Parameters,
        words="screen vga vnc", applies=_has_console, refuses=_refuses, needs=_vnc,
    ),
    action(
        "attach", "C", "raw", "the same on the whole terminal", "Machine", _attach, Parameters, words="attach",
        applies=_has_console, refuses=_refuses, needs=_session,
    ),
)  # fmt: skip
