"""Several objects at once: the list of what will happen to each, and then what came of it."""

from __future__ import annotations

import time
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
from tui.bulk import Deed, Line, Stand, do_all, summary
from tui.desk import Desk
from tui.screens.closing import ClosesOnce
from tui.screens.confirm import DELIBERATE_SECONDS
from tui.widgets.lines import LinesView

_LOOKS = {
    Stand.WAITING: ("·", "dim"), Stand.LEFT_OUT: ("–", "dim"), Stand.BUSY: ("◐", "cyan"),
    Stand.DONE: ("●", "green"), Stand.FAILED: ("✖", "red"),
}  # fmt: skip
_NAME_WIDTH = 28
_GATHER_SECONDS = 0.1
"""How often the list is drawn at most: each time costs a walk over all of it."""


class Bulk(ClosesOnce, ModalScreen[None]):
    """Nothing happens before the list was seen: what loses something wants its words typed. Results stay."""

    DEFAULT_CSS = """
    Bulk { align: center middle; background: $background 60%; }
    Bulk > Vertical {
        width: 96%; max-width: 110; height: auto; max-height: 90%; padding: 1 2; background: $surface;
    }
    Bulk Static { height: auto; }
    Bulk LinesView { background: $surface; height: auto; max-height: 30; margin: 1 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self, desk: Desk, deed: Deed, lines: Sequence[Line]) -> None:
        super().__init__()
        self._desk = desk
        self._deed = deed
        self._lines = lines
        self._able = sum(line.stand is Stand.WAITING for line in lines)
        self._words = f"{deed.title} {self._able}" if deed.asks else "y"
        self._typed = ""
        self._asked = 0.0
        self._begun = False
        self._changes = False

    def compose(self) -> ComposeResult:
        """The question, the list, and what to type."""
        with Vertical():
            question = Text(f"{self._deed.title} {self._able} of {len(self._lines)}?", style="bold")
            yield Static(question.append(f"   {self._deed.asks}", style="not bold"), id="question")
            yield LinesView()
            yield Static("", id="prompt")

    def on_mount(self) -> None:
        """Start the time in which no key counts."""
        self._asked = time.monotonic()
        self._redraw()

    def on_resize(self) -> None:
        """Leave room for question and prompt."""
        self.query_one(LinesView).styles.max_height = max(3, self.size.height * 9 // 10 - 9)

    def on_key(self, event: events.Key) -> None:
        """Type the words, scroll, or leave."""
        event.stop()
        event.prevent_default()
        if event.key == "escape" or (self._finished and event.key in ("enter", "q")):
            self.dismiss()
        elif self.query_one(LinesView).scroll_by(event.key):
            return
        elif not self._begun and self._able and time.monotonic() - self._asked >= DELIBERATE_SECONDS:
            self._type(event)

    def _type(self, event: events.Key) -> None:
        if event.key == "backspace":
            self._typed = self._typed[:-1]
        elif event.key == "enter" and self._typed == self._words:
            self._begin()
        elif event.character is not None and event.is_printable and len(self._typed) < len(self._words):
            self._typed += event.character
            if self._words == "y" and self._typed == "y":
                self._begin()
            elif not self._words.startswith(self._typed):
                self._typed = ""
        self._redraw()

    def _begin(self) -> None:
        self._begun = True
        self._desk.unmark()
        # The desk's own work: who leaves this screen does not end what was begun.
        self._desk.work(self._do(), "write")

    async def _do(self) -> None:
        await do_all(self._deed, self._lines, self._changed)
        self._redraw()
        self._desk.say(
            summary(self._deed, self._lines), error=any(line.stand is Stand.FAILED for line in self._lines)
        )

    @property
    def _finished(self) -> bool:
        return self._begun and not any(line.stand in (Stand.WAITING, Stand.BUSY) for line in self._lines)

    def _changed(self) -> None:
        if self.is_attached and not self._changes:
            self._changes = True
            self.set_timer(_GATHER_SECONDS, self._redraw)

    def _redraw(self) -> None:
        self._changes = False
        if not self.is_attached or not self.query(LinesView):
            return
        self.query_one(LinesView).set_lines([self._line(line) for line in self._lines])
        self.query_one("#prompt", Static).update(self._prompt())

    def _line(self, line: Line) -> Text:
        glyph, style = _LOOKS[line.stand]
        name = self._desk.named(line.target.key)
        text = Text(f"{glyph} ", style=style).append(f"{name:<{_NAME_WIDTH}}  ", style="")
        return text.append(sanitize.line(line.text), style=style if line.stand is Stand.FAILED else "dim")

    def _prompt(self) -> Text:
        if self._begun:
            left = "Enter closes; what is listed stays as it is." if self._finished else "Esc closes; it goes on."
            return Text(f"{summary(self._deed, self._lines)}   ").append(left, style="dim")
        if not self._able:
            return Text("Nothing can be done to any of them.   ").append("Esc closes", style="dim")
        text = Text("type  ").append(self._words, style="bold")
        text.append("  and Enter" if len(self._words) > 1 else "").append("    Esc no", style="dim")
        return text.append(f"\n> {self._typed}" if len(self._words) > 1 else "")
