"""The lines around consoles: which there are, and what keys do now."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual import events
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static

_SAID_SECONDS = 5.0
_COMMON = (("c", "type"), ("Esc", "lists"), ("v", ""), ("x", "close"))
_OF_CONSOLE = (("/", "search"), ("s", "save"), ("y", "stty"))
_OF_SCREEN = (("d", "Ctrl+Alt+Del"), ("p", "pixels"), ("s", "shot"))
_OF_TABS = (("1-9", "tab"), ("t", "tiles"))


class TabsBar(Static):
    """One line of tabs; a click chooses."""

    DEFAULT_CSS = "TabsBar { height: 1; padding: 0 1; background: $surface; }"

    class Chosen(Message):
        """A tab was clicked."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self) -> None:
        super().__init__("")
        self._spans: list[tuple[int, int]] = []

    def present(self, tabs: Sequence[tuple[str, str, bool]], current: int) -> None:
        """``tabs`` are (name, what is shown, whether connected)."""
        line = Text("consoles ", style="bold")
        self._spans = []
        for index, (name, what, connected) in enumerate(tabs):
            start = line.cell_len
            line.append(" ")
            line.append(f"{index + 1} {name}", style="bold underline" if index == current else "")
            line.append(" ▦" if what == "screen" else "", style="dim")
            line.append(" ●" if connected else " ○", style="green" if connected else "yellow").append(" ")
            self._spans.append((start, line.cell_len))
        self.update(line)

    def on_click(self, event: events.Click) -> None:
        """Choose the tab under the pointer."""
        for index, (start, end) in enumerate(self._spans):
            if start <= event.x - 1 < end:
                self.post_message(self.Chosen(index))


class KeysBar(Static):
    """What keys do now, or what was just said."""

    DEFAULT_CSS = "KeysBar { height: 1; padding: 0 1; background: $surface; }"

    _keys = Text()
    _timer: Timer | None = None

    def say(self, text: str, *, error: bool = False) -> None:
        """A sentence, for some seconds in the place of the keys."""
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(_SAID_SECONDS, self._said)
        self.update(Text(("✖ " if error else "") + text, style="red" if error else "", no_wrap=True))

    def hush(self) -> None:
        """The keys again, whatever was said."""
        if self._timer is not None:
            self._timer.stop()
            self._said()

    def _said(self) -> None:
        self._timer = None
        self.update(self._keys)

    def present(self, *, label: str, live: bool, connected: bool, commanding: bool, screen: bool) -> None:
        """Of the tile that has the keys."""
        if commanding:
            other = "serial" if screen else "screen"
            line = Text(no_wrap=True, overflow="ellipsis")
            for key, what in (*_COMMON, *(_OF_SCREEN if screen else _OF_CONSOLE), *_OF_TABS, (label, "send")):
                line.append(f"{key} ", style="bold").append(f"{what or other}  ", style="dim")
        elif connected:
            back = "" if screen else " · Shift+PgUp looks back"
            line = Text(f"keys go to the guest · {label} commands{back}")
        elif live:
            line = Text(f"not connected yet, keys go nowhere · {label} commands")
        else:
            line = Text("not connected · c opens the session · x closes the tab · Esc goes back")
        self._keys = line
        if self._timer is None:
            self.update(line)
