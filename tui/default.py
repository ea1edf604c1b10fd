"""A kind that nobody described: its list has the server's own columns, its detail what every object has."""

from __future__ import annotations

from collections.abc import Sequence

from hyperd.client import sanitize
from hyperd.client.amounts import quantity
from hyperd.client.resource import Resource
from tui.kind import AGE, NAME, NAMESPACE, Field, Kind
from tui.shelf import Object
from tui.widgets.rows import Column

_OURS = frozenset(("name", "namespace", "age", "created at"))
_STATES = frozenset(("phase", "status", "state"))
_NUMBERS = frozenset(("integer", "number"))
_WIDEST = 24
_MOST_COLUMNS = 40
_LONGEST = 32


def described(plural: str, resource: Resource, columns: Sequence[Object]) -> Kind:
    """The kind of ``resource``, which the fleet calls ``plural``; ``columns`` are a Table's definitions."""
    fields = [NAME, NAMESPACE] if resource.namespaced else [NAME]
    for place, column in enumerate(columns[:_MOST_COLUMNS]):
        name = sanitize.line(str(column.get("name") or ""))[:_LONGEST]
        if name and name.lower() not in _OURS:
            fields.append(Field(_column(name, column), cell=place))
    words = (resource.plural, resource.singular, resource.kind.lower(), *resource.short_names)
    named = f"{resource.plural}.{resource.group}" if resource.group else ""
    safe = [sanitize.line(word) for word in (*words, named) if word]
    return Kind(plural, sanitize.line(plural), tuple(dict.fromkeys(safe)), (*fields, AGE))


def _column(name: str, column: Object) -> Column:
    priority = column.get("priority")
    rank = 2 if priority in (None, 0) else 4
    if column.get("type") in _NUMBERS:
        return Column(name.upper(), max(len(name) + 1, 6), right=True, rank=rank, number=quantity)
    state = name.lower() in _STATES
    width = min(max(len(name) + 2, 14 if state else 10), _WIDEST)
    return Column(name.upper(), width, grow=0 if state else 1, rank=rank, state=state, number=quantity)
