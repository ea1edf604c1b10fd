"""The line at the bottom where a filter or a command is typed."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message
from textual.suggester import Suggester
from textual.widgets import Input

_KEPT = 50


class _Words(Suggester):
    def __init__(self, words: list[str]) -> None:
        super().__init__(case_sensitive=True)
        self._words = words

    async def get_suggestion(self, value: str) -> str | None:
        """The first known word that goes on as ``value`` does."""
        if not value.startswith(":") or len(value) < 2:
            return None
        return next((f":{word}" for word in self._words if word.startswith(value[1:])), None)


class CommandLine(Input):
    """Starts with ``/`` (a filter, live) or ``:`` (a command). Hidden until it is needed."""

    DEFAULT_CSS = """
    CommandLine { height: 1; border: none; padding: 0 1; background: $surface; display: none; }
    CommandLine:focus { border: none; background-tint: transparent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []

    class Filtered(Message):
        """The filter as it is typed, or what is sought ``within`` the detail."""

        def __init__(self, query: str, *, within: bool) -> None:
            super().__init__()
            self.query = query
            self.within = within

    class Entered(Message):
        """A command, without its colon."""

        def __init__(self, command: str) -> None:
            super().__init__()
            self.command = command

    class Closed(Message):
        """The line is gone; ``kept`` is False when it was cancelled."""

        def __init__(self, *, kept: bool, within: bool) -> None:
            super().__init__()
            self.kept = kept
            self.within = within

    def __init__(self, words: list[str]) -> None:
        super().__init__(suggester=_Words(sorted(words)), compact=True, select_on_focus=False)
        self.cursor_blink = False
        self._past: list[str] = []
        """What was entered, the last one at the end."""
        self._at = 0
        self._within = False

    def learn(self, words: list[str]) -> None:
        """Complete these."""
        self.suggester = _Words(sorted(words))

    def open(self, text: str, *, within: bool = False) -> None:
        """Show the line with ``text`` in it; ``within`` the detail, ``/`` seeks instead of filtering."""
        self._within = within
        self.value = text
        self._at = len(self._past)
        self.display = True
        self.cursor_position = len(text)
        # At once: the next key is on its way.
        self.screen.set_focus(self)

    def on_input_changed(self, event: Input.Changed) -> None:
        """A filter works while it is typed; an emptied line goes away."""
        event.stop()
        if not self.display:
            return
        if event.value.startswith("/"):
            self.post_message(self.Filtered(event.value[1:], within=self._within))
        elif not event.value:
            self._close(kept=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter, or run the command."""
        event.stop()
        text = self.value
        if len(text.strip()) > 1:
            self._past = [*(past for past in self._past if past != text), text][-_KEPT:]
        self._close(kept=True)
        if text.startswith(":") and text[1:].strip():
            self.post_message(self.Entered(text[1:].strip()))

    def _recall(self, by: int) -> None:
        """An earlier line of this sort, command or filter, or a later one."""
        at = self._at + by
        while 0 <= at < len(self._past) and self._past[at][:1] != self.value[:1]:
            at += by
        if 0 <= at < len(self._past):
            self._at = at
            self.value = self._past[at]
            self.cursor_position = len(self.value)

    def on_key(self, event: events.Key) -> None:
        """Esc takes it back; Tab takes the suggestion; up and down bring what was entered before."""
        if event.key == "escape":
            event.stop()
            event.prevent_default()
            self._close(kept=False)
        elif event.key == "tab":
            event.stop()
            event.prevent_default()
            self.action_cursor_right()
        elif event.key in ("up", "down"):
            event.stop()
            event.prevent_default()
            self._recall(-1 if event.key == "up" else 1)

    def close(self) -> None:
        """Take it back."""
        self._close(kept=False)

    def _close(self, *, kept: bool) -> None:
        self.display = False
        self.post_message(self.Closed(kept=kept, within=self._within))
