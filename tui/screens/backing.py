"""What Esc closes: the innermost thing that is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.widgets.command import CommandLine

if TYPE_CHECKING:
    from tui.screens.main import MainScreen


def back(screen: MainScreen) -> None:
    """Out of what has the keys, then off a filter that leaves nothing, the marks, the detail, the filter."""
    filtered = bool(screen.table.query_text)
    line = screen.query_one(CommandLine)
    if line.display:
        # The list took the keys from it: its own focus came after the line had opened.
        line.close()
    elif screen.focused is not None and screen.focused is not screen.table:
        screen.table.focus()
        screen.remove_class("zoomed")
    elif screen.has_class("zoomed"):
        screen.remove_class("zoomed")
        screen.call_after_refresh(screen.detail.redraw)
    elif filtered and not screen.table.count:
        screen.filter("")
    elif screen.trail.current.marks:
        screen.unmark()
    elif screen.has_class("opened"):
        screen.remove_class("opened", "zoomed")
        screen.detail.console.disconnect()
        screen.redraw_bars()
    elif filtered:
        screen.filter("")
