"""A line that asks for one thing, with a proposal in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.widgets import Input


class AskLine(Input):
    """Hidden until ``ask``; Enter answers, Esc answers with nothing."""

    DEFAULT_CSS = """
    AskLine { height: 1; border: none; padding: 0 1; background: $surface; display: none; }
    AskLine:focus { border: none; background-tint: transparent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self) -> None:
        super().__init__(compact=True, select_on_focus=False)
        self.cursor_blink = False
        self._then: Callable[[str], None] = lambda _: None
        self._question = ""

    def ask(self, question: str, proposal: str, then: Callable[[str], None]) -> None:
        """Show ``question`` and ``proposal``; ``then`` gets the answer, empty where there is none."""
        self._then, self._question = then, question
        self.value = question + proposal
        self.display = True
        self.cursor_position = len(self.value)
        # At once: the next key is on its way.
        self.screen.set_focus(self)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Who erases the question takes it back."""
        event.stop()
        if self.display and not self.value.startswith(self._question):
            self._answer("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._answer(self.value.removeprefix(self._question).strip())

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape":
            event.stop()
            event.prevent_default()
            self._answer("")

    def _answer(self, text: str) -> None:
        self.display = False
        self._then(text)
