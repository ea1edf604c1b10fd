"""How list and detail share the screen: one below the other, beside each other, or the detail alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.geometry import Size

if TYPE_CHECKING:
    from tui.screens.main import MainScreen

_ROOMY_ROWS = 34
"""From this height on the detail is open from the start."""
WIDE_COLUMNS = 140
"""From this width on it is beside the list: a key in the list then repaints fewer cells."""


def fit(screen: MainScreen, size: Size) -> None:
    """Choose by the size of the terminal."""
    tall = size.height >= _ROOMY_ROWS
    if tall and not screen.has_class("tall"):
        screen.add_class("opened")
    screen.set_class(tall, "tall")
    screen.set_class(size.width >= WIDE_COLUMNS, "wide")


def open_detail(screen: MainScreen, tab: str) -> None:
    """Open the detail; once more without a tab, the keys go to it."""
    if not tab and screen.has_class("opened"):
        screen.detail.focus_content()
    screen.add_class("opened")
    screen.detail.present(screen.kind, screen.cursor)
    if tab:
        screen.detail.choose(tab)
    screen.redraw_bars()
    screen.call_after_refresh(screen.detail.redraw)


def zoom(screen: MainScreen) -> None:
    """The detail over the list's place too, with the keys in it; once more, and the list is there again."""
    if screen.has_class("zoomed"):
        screen.remove_class("zoomed")
        screen.table.focus()
    else:
        screen.add_class("opened", "zoomed")
        screen.detail.present(screen.kind, screen.cursor)
        screen.detail.focus_content()
    screen.call_after_refresh(screen.detail.redraw)
    screen.redraw_bars()


def share_height(screen: MainScreen) -> None:
    """The detail gets what a short list does not need; at most half is the list's."""
    area = screen.area
    if not screen.has_class("opened") or screen.has_class("wide"):
        area.styles.height = "1fr"
        return
    half = max(8, screen.size.height // 2 - 2) if screen.has_class("tall") else 9
    area.styles.height = min(max(screen.table.total + 2, 8), half)
