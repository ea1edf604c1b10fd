"""What the fleet tells, brought to the list, the detail and the lines around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperd.client.operations import OPERATION
from tui.fleet import Changes
from tui.screens.learning import learn
from tui.screens.measuring import measure
from tui.screens.naming import open_first

if TYPE_CHECKING:
    from tui.screens.main import MainScreen

_SHOWN_BESIDE = ("events", "virtualdisks")
"""Kinds that the detail tells of beside its own object."""


def hear(screen: MainScreen, changes: Changes) -> None:
    """Show what has changed."""
    learn(screen, changes.kinds)
    screen.area.tell(changes)
    here = measure(screen, changes)
    if screen.machine and screen.fleet.listed("virtualmachines"):
        name, screen.machine = screen.machine, ""
        open_first(screen, name)
    screen.news.hear(changes.keys.get(OPERATION.plural, ()))
    screen.redraw_bars()
    beside = any(plural in changes.keys for plural in _SHOWN_BESIDE)
    if beside or here or screen.cursor in changes.keys.get(screen.kind.plural, ()):
        screen.detail.redraw()
