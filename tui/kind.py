"""What the UI knows of a kind: how it is called, listed, ordered and opened. One file a kind in ``tui/kinds``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from hyperd.client import ages
from hyperd.client.amounts import quantity
from hyperd.client.health import Health, health
from hyperd.resources.values.jsonpath import value_at
from tui.shelf import Object
from tui.widgets.rows import Column

if TYPE_CHECKING:
    from tui.usage import Course

OVERVIEW, YAML, EVENTS, CONSOLE = "Overview", "YAML", "Events", "Console"
TABS = (OVERVIEW, YAML, EVENTS)

Value = str | int | float | None
Relatives = dict[str, Health]
"""How the objects are that one refers to, by ``Kind/name``."""


@dataclass(frozen=True)
class Field:
    """One column of a list, and what an object has in it."""

    column: Column
    get: Callable[[Object], Value] = lambda _: None
    cell: int | None = None
    """The place of its text among the cells of the server's own columns; None where ``get`` has it."""
    live: Callable[[Course], Value] | None = None
    """What is measured of it; None where ``get`` or ``cell`` has it."""


@dataclass(frozen=True)
class Kind:
    """One kind. ``words`` open its list from the command line, ``digit`` (if it has one) from the keyboard."""

    plural: str
    title: str
    words: tuple[str, ...]
    fields: tuple[Field, ...]
    digit: str = ""
    sort: str = ""
    """The title of the column that puts it in order at first; the first one where it names none."""
    reverse: bool = False
    empty: tuple[str, ...] = ()
    """What to say where there is none yet."""
    facts: tuple[tuple[str, str], ...] = ()
    """Label and JSONPath of what the overview tells."""
    tabs: tuple[str, ...] = TABS
    relations: Callable[[Object], Iterable[str]] = lambda _: ()
    """Objects of the same home and namespace (or of none) that it refers to, as ``Kind/name``."""
    overview: Callable[[Object, Relatives], list[Text]] | None = None
    """What the overview tells instead of ``facts``."""
    health: Callable[[Object], Health] = health
    called: Callable[[Object], str] = lambda _: ""
    """What one is called above its details, where its own name tells nobody anything."""
    noted: bool = True
    """Whether a row that is not well says why, in the cells after its state."""
    counted: str = ""
    """The word that counts it in the line at the top; empty where it is not counted."""
    running: Callable[[Object, Health], str] | None = None
    """What the line at the bottom says of one that is on its way; None where that is nobody's concern."""
    deletable: bool = True
    editable: bool = True
    loss: str = "What it holds is lost."
    """What somebody should know who is about to delete one."""
    uses: Callable[[Object], str] = lambda _: ""
    """Who uses it, and what that means for its deletion; empty where nobody does."""

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(field.column for field in self.fields)


def progress(obj: Object, state: Health) -> str:
    """How far an import is."""
    return f"{(obj.get('metadata') or {}).get('name')} {state.progress}" if state.progress else ""


def at(path: str) -> Callable[[Object], Value]:
    """The value at a JSONPath; of what is no text and no number, its words."""
    names = path.removeprefix(".").split(".")
    plain = all(name.isalnum() for name in names)

    def get(obj: Object) -> Value:
        if plain:  # most are, and lists ask for thousands
            value: object = obj
            for name in names:
                value = value.get(name) if isinstance(value, dict) else None
        else:
            value = value_at(obj, path)
        return value if value is None or isinstance(value, str | int | float) else str(value)

    return get


def first(*getters: Callable[[Object], Value]) -> Callable[[Object], Value]:
    """The first that has something."""
    return lambda obj: next((value for get in getters if (value := get(obj))), None)


def moment(*paths: str) -> Callable[[Object], Value]:
    """The first of these times, in epoch seconds."""

    def get(obj: Object) -> Value:
        for path in paths:
            if stamp := value_at(obj, path):
                return ages.parse(str(stamp))
        return None

    return get


def size(path: str) -> Callable[[Object], Value]:
    """A quantity of bytes in the unit that people read; what is none stays as it is."""
    get = at(path)

    def read(obj: Object) -> Value:
        value = get(obj)
        number = quantity(value)
        if number is None:
            return value
        for unit, length in (("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)):
            if number >= length:
                return f"{number / length:.4g}{unit}"
        return f"{number:.0f}"

    return read


NAME = Field(Column("NAME", 16, grow=3), at(".metadata.name"))
NAMESPACE = Field(Column("NAMESPACE", 12, grow=1, rank=3), at(".metadata.namespace"))
STATE = Field(Column("STATE", 14, state=True), lambda obj: health(obj).word)
AGE = Field(Column("AGE", 5, right=True, rank=2, age=True), moment(".metadata.creationTimestamp"))
HOME = Column("HOME", 10, rank=2)
