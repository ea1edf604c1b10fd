"""What an edit would change, as the home would store it: nothing is written before it was seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from hyperd.client import sanitize
from hyperd.client.change import Difference, text_of
from tui.screens.closing import ClosesOnce
from tui.screens.confirm import DELIBERATE_SECONDS
from tui.widgets.lines import LinesView


class Diff(ClosesOnce, ModalScreen[None]):
    """``answer`` becomes ``apply``, ``edit`` or empty."""

    DEFAULT_CSS = """
    Diff { align: center middle; background: $background 60%; }
    Diff > Vertical {
        width: 96%; max-width: 120; height: auto; max-height: 90%; padding: 1 2; background: $surface;
    }
    Diff Static { height: auto; }
    Diff LinesView { background: $surface; height: auto; max-height: 30; margin: 1 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(
        self,
        name: str,
        mine: Sequence[Difference],
        theirs: Sequence[Difference],
        warnings: Sequence[str],
        answer: asyncio.Future[str],
    ) -> None:
        super().__init__()
        self._name = name
        self._lines = diff_lines(mine, theirs, warnings)
        self._changes = bool(mine)
        self._answer = answer
        self._shown = 0.0

    def compose(self) -> ComposeResult:
        """The object, what differs, and the keys."""
        with Vertical():
            yield Static(Text(f"Your change of {self._name}", style="bold"))
            yield LinesView()
            keys = "Enter apply   e edit again   Esc drop" if self._changes else "e edit again   Esc drop"
            yield Static(Text(keys, style="dim"))

    def on_mount(self) -> None:
        """Fill it; start the time in which no key applies anything."""
        self._shown = time.monotonic()
        self.query_one(LinesView).set_lines(self._lines)

    def on_resize(self) -> None:
        """Leave room for the name and the keys."""
        self.query_one(LinesView).styles.max_height = max(3, self.size.height * 9 // 10 - 7)

    def on_unmount(self) -> None:
        """Whatever closed it, somebody waits for the answer."""
        self._decide("")

    def on_key(self, event: events.Key) -> None:
        """Decide, or scroll."""
        event.stop()
        event.prevent_default()
        deliberate = time.monotonic() - self._shown >= DELIBERATE_SECONDS
        if self.query_one(LinesView).scroll_by(event.key):
            return
        if event.key in ("escape", "q"):
            self._close("")
        elif event.key == "e":
            self._close("edit")
        elif event.key == "enter" and deliberate and self._changes:
            self._close("apply")

    def _close(self, answer: str) -> None:
        self._decide(answer)
        self.dismiss()

    def _decide(self, answer: str) -> None:
        if not self._answer.done():
            self._answer.set_result(answer)


def diff_lines(mine: Sequence[Difference], theirs: Sequence[Difference], warnings: Sequence[str]) -> list[Text]:
    """What would change, what others changed meanwhile and keeps, and what the home warns of."""
    lines = [line for difference in mine for line in _pair(difference)]
    if not lines:
        lines = [Text("Nothing that the home keeps.", style="dim")]
    if theirs:
        lines += [Text(""), Text("Changed by others meanwhile, and kept:", style="dim")]
        lines += [line for difference in theirs for line in _pair(difference)]
    if warnings:
        lines += [Text(""), *(Text(f"! {sanitize.line(warning)}", style="yellow") for warning in warnings)]
    return lines


def _pair(difference: Difference) -> Iterable[Text]:
    yield Text(sanitize.line(difference.path))
    for sign, value, colour in (("-", difference.before, "red"), ("+", difference.after, "green")):
        if value is not None:
            yield Text(f"  {sign} {sanitize.line(text_of(value))}", style=colour)
