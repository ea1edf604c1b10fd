"""Some lines to look at, sought in by what is typed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from hyperd.client import sanitize
from tui.detail import fold
from tui.screens.closing import ClosesOnce
from tui.widgets.lines import LinesView

_LONGEST = 80
_INDENT = 4


class Page(ClosesOnce, ModalScreen[None]):
    """Only lines with what was typed in them are shown; it begins at the end."""

    DEFAULT_CSS = """
    Page { align: center middle; background: $background 60%; }
    Page > Vertical { width: 100%; height: 100%; padding: 0 1; background: $surface; }
    Page Static { height: 1; }
    Page LinesView { background: $surface; height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self, title: str, lines: Sequence[str]) -> None:
        super().__init__()
        self._title = title
        self._lines = [sanitize.line(line) for line in lines]
        self._typed = ""

    def compose(self) -> ComposeResult:
        """Title, lines, keys."""
        with Vertical():
            yield Static(id="title")
            yield LinesView()
            yield Static(Text("letters keep lines with them   ↑ ↓ PgUp PgDn scroll   Esc close", style="dim"))

    def on_resize(self) -> None:
        """Fold to the width there is."""
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        wanted = self._typed.lower()
        kept = [line for line in self._lines if wanted in line.lower()]
        title = Text(sanitize.line(self._title), style="bold").append(f"   {len(kept)} of {len(self._lines)}")
        self.query_one("#title", Static).update(title.append(f"   {self._typed}▏", style="cyan"))
        view = self.query_one(LinesView)
        view.set_lines(fold(map(Text, kept), max(20, self.size.width - 6), indent=_INDENT))
        view.scroll_end(animate=False)

    def on_key(self, event: events.Key) -> None:
        """Seek, scroll, or leave."""
        event.stop()
        event.prevent_default()
        if event.key == "escape":
            self.dismiss()
            return
        if self.query_one(LinesView).scroll_by(event.key):
            return
        if event.key == "backspace":
            self._typed = self._typed[:-1]
        elif event.character is not None and event.is_printable and len(self._typed) < _LONGEST:
            self._typed += event.character
        else:
            return
        self._draw()
