"""A few things to say before something is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from hyperd.client import sanitize
from tui.screens.closing import ClosesOnce
from tui.widgets.entries import Box, Entry, lines_of

Values = dict[str, str]


class Form(ClosesOnce, ModalScreen[None]):
    """Asks, and gives ``then`` what was said; ``check`` says what is wrong with it, or nothing."""

    DEFAULT_CSS = """
    Form { align: center middle; background: $background 60%; }
    Form > Vertical {
        width: 96%; max-width: 84; height: auto; max-height: 96%; padding: 1 2; background: $surface;
    }
    Form VerticalScroll { height: auto; max-height: 16; margin: 1 0; scrollbar-size: 1 1; }
    Form Static { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(
        self,
        title: str,
        entries: Sequence[Entry],
        then: Callable[[Values], None],
        *,
        check: Callable[[Values], str] = lambda _: "",
        note: str = "",
    ) -> None:
        super().__init__()
        self._title = title
        self._lines = lines_of(entries)
        self._then = then
        self._check = check
        self._note = note

    def compose(self) -> ComposeResult:
        """The question, the boxes, what the one with the cursor means, and the keys."""
        with Vertical():
            yield Static(Text(sanitize.line(self._title), style="bold"))
            if self._note:
                yield Static(Text(sanitize.line(self._note)))
            with VerticalScroll(can_focus=False):
                yield from self._lines
            yield Static(id="hint")
            yield Static(Text("Enter does it   ↑ ↓ move   Esc drops it", style="dim"))

    def on_mount(self) -> None:
        """Begin at the first box."""
        self._lines[0].box.focus()

    @property
    def values(self) -> Values:
        """What is in the boxes, or counts where nothing is."""
        return {line.entry.name: line.box.value.strip() or line.entry.default for line in self._lines}

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Say what this box is for."""
        if isinstance(event.widget, Box):
            self._hint(event.widget.entry.hint)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Do it, or say why not."""
        event.stop()
        values = self.values
        missing = next((line for line in self._lines if line.entry.needed and not values[line.entry.name]), None)
        wrong = f"{missing.entry.label} is missing" if missing is not None else self._check(values)
        if wrong:
            self._hint(wrong, error=True)
        elif self.app.screen is self:
            self.dismiss()
            self._then(values)

    def on_key(self, event: events.Key) -> None:
        """Move, or leave."""
        if event.key == "escape":
            self.dismiss()
        elif event.key in ("down", "tab"):
            self.focus_next(Box)
        elif event.key in ("up", "shift+tab"):
            self.focus_previous(Box)
        else:
            return
        event.stop()
        event.prevent_default()

    def _hint(self, text: str, *, error: bool = False) -> None:
        self.query_one("#hint", Static).update(Text(sanitize.line(text) or " ", style="red" if error else "dim"))
