"""What became of each object of a restore or copy, or would become of it: then somebody may say yes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from hyperd.client import sanitize, snapshots
from tui.detail import fold
from tui.screens.closing import ClosesOnce
from tui.screens.confirm import DELIBERATE_SECONDS
from tui.shelf import Object
from tui.widgets.lines import LinesView

_LOOKS = {"Completed": ("●", "green"), "Failed": ("✖", "red")}
_INDENT = 4


class Trial(ClosesOnce, ModalScreen[None]):
    """``op`` tells of each object; ``y`` does ``then``, where there is something to do."""

    DEFAULT_CSS = """
    Trial { align: center middle; background: $background 60%; }
    Trial > Vertical {
        width: 96%; max-width: 110; height: auto; max-height: 96%; padding: 1 2; background: $surface;
    }
    Trial Static { height: auto; }
    Trial LinesView { background: $surface; height: auto; max-height: 30; margin: 1 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self, title: str, detail: str, op: Object, then: Callable[[], None] | None) -> None:
        super().__init__()
        self._title = title
        self._detail = detail
        self._op = op
        self._then = then
        self._shown = 0.0

    def compose(self) -> ComposeResult:
        """The question, what is lost, the objects, and the keys."""
        with Vertical():
            yield Static(Text(sanitize.line(self._title), style="bold"))
            yield Static(Text(sanitize.text(self._detail)))
            yield LinesView()
            keys = "y  yes        any other key  no" if self._then is not None else "Esc closes"
            yield Static(Text(keys, style="dim"))

    def on_mount(self) -> None:
        """Start the time in which no key counts."""
        self._shown = time.monotonic()

    def on_resize(self) -> None:
        """Leave room for the question and the keys."""
        view = self.query_one(LinesView)
        view.styles.max_height = max(3, self.size.height * 96 // 100 - 11)
        view.set_lines(fold(lines(self._op), max(20, min(self.size.width * 96 // 100, 110) - 7), indent=_INDENT))

    def on_key(self, event: events.Key) -> None:
        """Decide, or scroll."""
        event.stop()
        event.prevent_default()
        if self.query_one(LinesView).scroll_by(event.key):
            return
        if event.key == "escape" or time.monotonic() - self._shown >= DELIBERATE_SECONDS:
            agreed = event.key == "y" and self.app.screen is self
            self.dismiss()
            if agreed and self._then is not None:
                self._then()


def lines(op: Object) -> list[Text]:
    """A line for each object: which one, how it is, and what was said of it."""
    found = []
    for kind, name, status, message in snapshots.results(op):
        glyph, style = _LOOKS.get(status, ("◐", "cyan"))
        line = Text(f"{glyph} ", style=style).append(sanitize.line(f"{kind}/{name}"), style="")
        found.append(line.append(f"  {sanitize.line(message)}", style=style if status == "Failed" else "dim"))
    return found or [Text(sanitize.line(snapshots.verdict(op)), style="dim")]
