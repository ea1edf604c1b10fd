"""Lines of an overview: a label and what it says, all of it safe for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from hyperd.client import sanitize
from hyperd.client.amounts import quantity
from hyperd.client.health import Health, Level
from hyperd.client.rates import binary
from hyperd.resources.values.jsonpath import value_at
from tui.shelf import Object

COLOURS = {
    Level.GOOD: "green",
    Level.BUSY: "cyan",
    Level.WAITING: "yellow",
    Level.OFF: "dim",
    Level.BAD: "red",
}
LABEL_WIDTH = 11


def pair(label: str, value: Text) -> Text:
    """One line; what has a long label stands apart from it all the same."""
    return Text("  ").append(f"{label:<{LABEL_WIDTH - 1}} ", style="dim").append_text(value)


def pairs(facts: Sequence[tuple[str, str]], obj: Object) -> list[Text]:
    """A line for each (label, JSONPath) that has something."""
    found = ((label, value_at(obj, path)) for label, path in facts)
    return [pair(label, Text(sanitize.line(_legible(value)))) for label, value in found if value not in (None, "")]


def _legible(value: object) -> str:
    """What nodes say in Ki in a unit that people read."""
    text = str(value)
    number = quantity(text) if text.endswith("Ki") else None
    return binary(number) if number is not None else text


def state_of(health: Health) -> Text:
    """Glyph and word, in their colour."""
    return Text(f"{health.glyph} {sanitize.line(health.word)}", style=COLOURS[health.level])
