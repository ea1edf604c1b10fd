"""The rows of one kind's list, made when they are asked for and kept until their object changes."""

from __future__ import annotations

import time
from collections.abc import Iterable

from hyperd.client import ages, sanitize
from hyperd.client.health import Level
from tui.fleet import Fleet
from tui.kind import HOME, Kind, Value
from tui.shelf import Key
from tui.usage import Reading, Usage
from tui.widgets.rows import Column, Row

_UNWELL = (Level.BUSY, Level.WAITING, Level.BAD)


class Listing:
    """Rows and single values of ``kind``'s objects, all text safe. ``made`` counts rows that were made."""

    def __init__(self, fleet: Fleet, usage: Usage, kind: Kind) -> None:
        self.kind = kind
        self.made = 0
        self._fleet = fleet
        self._usage = usage
        self.several = len(fleet.homes) > 1
        self._rows: dict[Key, Row] = {}

    @property
    def columns(self) -> tuple[Column, ...]:
        """The kind's columns; with several homes, the home is the second."""
        first, *rest = self.kind.columns
        return (first, HOME, *rest) if self.several else self.kind.columns

    def value(self, key: Key, index: int) -> Value:
        """What one column says of an object: enough to put a row in its place."""
        if self.several and index == 1:
            return sanitize.line(key.home)
        obj = self._fleet.get(self.kind.plural, key)
        if obj is None:
            return None
        field = self.kind.fields[index - 1 if self.several and index > 1 else index]
        if field.live is not None:
            course = self._usage.of(self.kind.plural, key)
            return field.live(course) if course is not None else None
        value = field.get(obj) if field.cell is None else self._cell(key, field.cell)
        return sanitize.line(value) if isinstance(value, str) else value

    def live(self, index: int) -> bool:
        """Whether the column at ``index`` is measured."""
        if self.several:
            index = index - 1 if index > 1 else 0
        return self.kind.fields[index].live is not None

    def _cell(self, key: Key, place: int) -> Value:
        cells = self._fleet.shelf(self.kind.plural).cells.get(key, ())
        value = cells[place] if place < len(cells) else None
        return value if value is None or isinstance(value, str | int | float) else str(value)

    def row(self, key: Key) -> Row | None:
        """The whole row; None for what is not there any more."""
        home = self._fleet.homes[key.home]
        if not home.stale and (kept := self._rows.get(key)) is not None:
            return kept
        obj = self._fleet.get(self.kind.plural, key)
        if obj is None:
            return None
        self.made += 1
        state = self.kind.health(obj)
        note = ""
        stale = f"{ages.span(time.monotonic() - home.since)} old" if home.stale else ""
        if not stale and self.kind.noted and state.level in _UNWELL:
            note = sanitize.line(" · ".join(part for part in (state.progress, state.reason) if part))
        values = tuple(self.value(key, index) for index in range(len(self.columns)))
        measured = tuple(value for value in values if isinstance(value, Reading))
        version = (str((obj.get("metadata") or {}).get("resourceVersion") or ""), note, stale, measured)
        row = Row(key, version, values, state.level, note, stale)
        if not stale:
            self._rows[key] = row
        return row

    def forget(self, keys: Iterable[Key]) -> None:
        """These have changed."""
        for key in keys:
            self._rows.pop(key, None)

    def forget_all(self) -> None:
        """Anything may have changed."""
        self._rows.clear()


def order_of(key: Key) -> tuple[str, ...]:
    """What puts equal rows in order, and makes every place one row's own."""
    return key.name.lower(), key.name, key.namespace, key.home, key.uid
