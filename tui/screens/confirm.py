"""A question before something is destroyed: it names the object, and no hasty key says yes."""

from __future__ import annotations

import time

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.screens.closing import ClosesOnce

DELIBERATE_SECONDS = 0.5
"""Keys typed before the question can have been read do not count."""


class Confirm(ClosesOnce, ModalScreen[bool]):
    """Asks; ``y`` is yes, any other key is no, ``n`` and Esc at once."""

    DEFAULT_CSS = """
    Confirm { align: center middle; background: $background 60%; }
    Confirm > Vertical { width: auto; max-width: 76; height: auto; padding: 1 3; background: $surface; }
    Confirm Static { width: auto; height: auto; }
    Confirm .confirm--keys { margin-top: 1; color: $text-muted; }
    """

    def __init__(self, question: str, detail: str = "") -> None:
        super().__init__()
        self._question = question
        self._detail = detail
        self._asked = 0.0

    def compose(self) -> ComposeResult:
        """The question and the keys."""
        with Vertical():
            yield Static(Text(self._question, style="bold"))
            if self._detail:
                yield Static(Text(self._detail))
            yield Static(Text("y  yes        any other key  no"), classes="confirm--keys")

    def on_mount(self) -> None:
        """Start the time in which no key counts."""
        self._asked = time.monotonic()

    def on_key(self, event: events.Key) -> None:
        """Decide."""
        event.stop()
        event.prevent_default()
        if event.key in ("escape", "n") or time.monotonic() - self._asked >= DELIBERATE_SECONDS:
            self.dismiss(event.key == "y")
