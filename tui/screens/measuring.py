"""What objects use, as homes tell it, brought to the rows that show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.fleet import Changes
from tui.usage import SOURCES

if TYPE_CHECKING:
    from tui.screens.main import MainScreen


def measure(screen: MainScreen, changes: Changes) -> bool:
    """Take the counters that came; whether some are of the object under the cursor."""
    found = {
        SOURCES[plural]: screen.usage.take(plural, keys)
        for plural, keys in changes.keys.items()
        if plural in SOURCES
    }
    measured = found.get(screen.kind.plural, set())
    if measured:
        screen.area.measured(measured)
    return screen.cursor in measured
