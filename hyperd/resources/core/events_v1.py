"""Events as ``events.k8s.io/v1`` spells them: the same objects as core Events, which some clients read only so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from hyperd.resources.core import schemas
from hyperd.resources.core.kinds import EVENT
from hyperd.resources.schema.kind import KINDS, Column, Kind, Object, ServedVersion

_FIELDS: Final[Mapping[str, str]] = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
"""Core's name of a field → this version's; all else is called the same."""
_BACK: Final = {here: core for core, here in _FIELDS.items()}


def from_core(event: Object) -> Object:
    """A core Event in this version."""
    return {_FIELDS.get(name, name): value for name, value in event.items()}


def to_core(event: Object) -> Object:
    """An Event of this version as core has it."""
    return {_BACK.get(name, name): value for name, value in event.items()}


def _renamed(path: str, fields: Mapping[str, str]) -> str:
    first, dot, rest = path.partition(".")
    return f"{fields.get(first, first)}{dot}{rest}"


def _column(column: Column) -> Column:
    json_path = f".{_renamed(column.json_path.removeprefix('.'), _FIELDS)}"
    return replace(column, json_path=json_path, cell=None if column.cell is None else _cell(column.cell))


def _cell(cell: Callable[[Object], Any]) -> Callable[[Object], Any]:
    return lambda event: cell(to_core(event))


_PROPERTIES: Final = {_FIELDS.get(name, name): schema for name, schema in schemas.EVENT["properties"].items()}
_SELECTABLE: Final = (
    *(_renamed(path, _FIELDS) for path in EVENT.selectable_fields if path.startswith("involvedObject.")),
    "reason",
    "reportingController",
    "type",
)

EVENT_V1: Final[Kind] = KINDS.serve(
    ServedVersion(
        kind=Kind(
            group="events.k8s.io",
            version="v1",
            kind=EVENT.kind,
            plural=EVENT.plural,
            singular=EVENT.singular,
            namespaced=True,
            short_names=EVENT.short_names,
            columns=tuple(map(_column, EVENT.columns)),
            selectable_fields=_SELECTABLE,
            openapi={**schemas.EVENT, "properties": _PROPERTIES},
        ),
        from_storage=from_core,
        to_storage=to_core,
        fields={path: _renamed(path, _BACK) for path in _SELECTABLE},
    ),
    of=EVENT,
)
