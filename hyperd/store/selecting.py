"""Label and field selectors over stored objects.

The rule it keeps: a selector that is not understood is refused, never ignored. A client that deletes "what the
selector lists" would otherwise delete everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from hyperd.errors import BadRequest
from hyperd.resources.schema.kind import Kind
from hyperd.store.interface import EventType, Selector
from hyperd.store.records import Change, Stored

_AT_ONCE: Final = 256
"""Objects that are looked at in one go: some hundred microseconds."""


def always_selectable(kind: Kind) -> tuple[str, ...]:
    """The fields that every object of the scope of ``kind`` can be selected by."""
    return ("metadata.name", "metadata.namespace") if kind.namespaced else ("metadata.name",)


def check_selector(kind: Kind, selector: Selector) -> None:
    """Raise BadRequest for a field that ``kind`` cannot be selected by."""
    known = (*always_selectable(kind), *kind.selectable_fields)
    for term in selector.fields:
        if term.path not in known:
            listed = ", ".join(f'"{path}"' for path in known)
            raise BadRequest(f'"{term.path}" is not a known field selector: only {listed}')


def selects(kind: Kind, selector: Selector, item: Stored) -> bool:
    """Whether ``item`` has what ``selector`` asks; its fields must have passed ``check_selector``."""
    labels, fields = item.facts
    for term in selector.fields:
        if term.path == "metadata.name":
            value = item.name
        elif term.path == "metadata.namespace":
            value = item.namespace
        else:
            value = fields[kind.selectable_fields.index(term.path)]
        if (value == term.value) != term.equal:
            return False
    if selector.labels:
        own = dict(labels)
        return all(term.matches(own) for term in selector.labels)
    return True


async def chosen(kind: Kind, selector: Selector, items: Sequence[Stored]) -> list[Stored]:
    """Those of ``items`` that ``selector`` asks for; others' work comes in between where they are many."""
    found: list[Stored] = []
    for start in range(0, len(items), _AT_ONCE):
        if start:
            await asyncio.sleep(0)
        found += [item for item in items[start : start + _AT_ONCE] if selects(kind, selector, item)]
    return found


def exact_name(selector: Selector) -> str | None:
    """The one name that ``selector`` allows, or None when it does not name one."""
    for term in selector.fields:
        if term.path == "metadata.name" and term.equal:
            return term.value
    return None


def seen_as(change: Change, selector: Selector) -> EventType | None:
    """What a watcher with ``selector`` sees: entering is ADDED, leaving is DELETED, None is nothing."""
    after = selects(change.kind, selector, change.item)
    if change.type is not EventType.MODIFIED:
        return change.type if after else None
    before = after if change.previous is None else selects(change.kind, selector, change.previous)
    if before and after:
        return EventType.MODIFIED
    if after:
        return EventType.ADDED
    return EventType.DELETED if before else None
