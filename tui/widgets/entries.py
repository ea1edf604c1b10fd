"""Lines of a form: a label, and a box for a text, or for one of some words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.suggester import Suggester
from textual.widgets import Input, Static

from hyperd.client import sanitize

_WIDEST_LABEL = 28
_MOST_SHOWN = 8


@dataclass(frozen=True)
class Entry:
    """What one line asks for.

    Attributes:
        name: By what its value is found.
        value: What is in the box at first.
        help: What it means, in a sentence.
        choices: Words to choose from; what is typed must be one of them if it is ``closed``.
        default: What counts where the box is empty.
    """

    name: str
    label: str
    value: str = ""
    help: str = ""
    choices: tuple[str, ...] = ()
    closed: bool = False
    default: str = ""
    needed: bool = False

    @property
    def hint(self) -> str:
        """The help, and what there is to choose from."""
        shown = ", ".join(self.choices[:_MOST_SHOWN])
        more = ", …" if len(self.choices) > _MOST_SHOWN else ""
        how = "← → choose" if self.closed else "→ completes"
        return " ".join(part for part in (self.help, f"{how}: {shown}{more}" if shown else "") if part)


class _Choices(Suggester):
    def __init__(self, choices: Sequence[str]) -> None:
        super().__init__(case_sensitive=True)
        self._choices = choices

    async def get_suggestion(self, value: str) -> str | None:
        """The first choice that goes on as ``value`` does."""
        return next((choice for choice in self._choices if choice.startswith(value)), None) if value else None


class Box(Input):
    """Where a value is typed, or turned through with ← and →."""

    DEFAULT_CSS = """
    Box { height: 1; border: none; padding: 0 1; width: 1fr; background: $boost; }
    Box:focus { border: none; background-tint: $foreground 10%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self, entry: Entry) -> None:
        super().__init__(
            value=entry.value, compact=True, select_on_focus=False, placeholder=entry.default,
            suggester=_Choices(entry.choices) if entry.choices and not entry.closed else None,
        )  # fmt: skip
        self.cursor_blink = False
        self.entry = entry

    def have(self, value: str, default: str = "") -> None:
        """Another value, and another one that counts where there is none; the cursor stays where it can."""
        self.placeholder = default or self.entry.default
        if value != self.value:
            self.value = value

    def on_key(self, event: events.Key) -> None:
        """← → and Space turn through words; a letter goes to the next one that begins with it."""
        words = self.entry.choices
        if not self.entry.closed or not words:
            return
        step = {"right": 1, "space": 1, "left": -1}.get(event.key)
        at = words.index(self.value) if self.value in words else -1 if step == 1 else 0
        if step is not None:
            self.value = words[(at + step) % len(words)]
        elif event.is_printable and event.character is not None:
            after = [*words[at + 1 :], *words[: at + 1]]
            self.value = next((w for w in after if w.lower().startswith(event.character.lower())), self.value)
        elif event.key not in ("backspace", "delete"):
            return
        else:
            self.value = ""
        event.stop()
        event.prevent_default()


class EntryLine(Horizontal):
    """A label and its box, and below them what is wrong with it."""

    DEFAULT_CSS = """
    EntryLine { height: 1; }
    EntryLine Static { width: auto; height: 1; }
    """

    def __init__(self, entry: Entry, width: int) -> None:
        """``width`` is that of the labels, in cells."""
        super().__init__()
        self.entry = entry
        self._width = width
        self.box = Box(entry)
        self._label = Static()
        self.faulty(wrong=False)

    def compose(self) -> ComposeResult:
        """The label before the box."""
        yield self._label
        yield self.box

    def faulty(self, *, wrong: bool) -> None:
        """Whether the home refuses what is in it."""
        mark = "✖ " if wrong else "* " if self.entry.needed else "  "
        label = sanitize.line(self.entry.label)
        if len(label) > self._width:
            label = f"{label[: self._width - 1]}…"
        self._label.update(Text(f"{mark}{label:<{self._width}} ", style="red" if wrong else ""))


def lines_of(entries: Sequence[Entry]) -> list[EntryLine]:
    """Their lines, with boxes below each other."""
    width = min(max((len(entry.label) for entry in entries), default=0) + 1, _WIDEST_LABEL)
    return [EntryLine(entry, width) for entry in entries]
