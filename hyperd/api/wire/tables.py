"""Objects in the forms that ``kubectl get`` asks for: Table rows and metadata alone.

Columns come from the kind; nothing here knows a field of any kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import orjson

from hyperd import clock
from hyperd.api.wire.negotiate import Accepted, Form
from hyperd.errors import BadRequest
from hyperd.resources.schema.kind import Column, Kind, Object
from hyperd.resources.values import jsonpath
from hyperd.store.interface import Item

_NAME = Column(
    "Name",
    ".metadata.name",
    format="name",
    description="Name must be unique within a namespace, and is required when creating resources.",
)
_AGE = Column(
    "Age",
    ".metadata.creationTimestamp",
    type="date",
    description="How long ago the object was created.",
)
_META_GROUP = "meta.k8s.io"


class IncludeObject(StrEnum):
    """How much of the object a Table row carries."""

    NONE = "None"
    METADATA = "Metadata"
    OBJECT = "Object"


def include_object(value: str) -> IncludeObject:
    """The ``includeObject`` parameter. Raises BadRequest."""
    try:
        return IncludeObject(value or IncludeObject.METADATA)
    except ValueError:
        raise BadRequest(
            f'unrecognized includeObject value "{value}": must be one of None, Metadata, Object'
        ) from None


def columns_of(kind: Kind) -> tuple[Column, ...]:
    """The kind's columns, the name first unless they place it; a kind without columns has an age."""
    columns = kind.columns or (_AGE,)
    return columns if any(column.name == _NAME.name for column in columns) else (_NAME, *columns)


def human_duration(seconds: float) -> str:
    """``5m12s``, ``3h4m``, ``12d``: at most two units, as kubectl prints ages."""
    if seconds < -1:
        return "<invalid>"
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return _pair(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _pair(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 8 * 365:
        return _pair(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _pair(major: int, major_unit: str, minor: int, minor_unit: str) -> str:
    return f"{major}{major_unit}{minor}{minor_unit}" if minor else f"{major}{major_unit}"


def _age(value: object, now: float) -> str:
    try:
        return human_duration(now - datetime.fromisoformat(value if isinstance(value, str) else "").timestamp())
    except (TypeError, ValueError):
        return "<unknown>" if not value else "<invalid>"


def _cell(column: Column, obj: Object, now: float) -> object:
    if column.cell is not None:
        value = column.cell(obj)
    else:
        found = jsonpath.find(column.json_path, obj)
        if not found:
            return None
        value = found[0]
    if column.type == "date":
        return _age(value, now)
    if column.type == "string" and not isinstance(value, str) and value is not None:
        if isinstance(value, bool):
            return "true" if value else "false"
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return value


def partial(obj: Object, version: str) -> Object:
    """PartialObjectMetadata of an object."""
    return {
        "kind": Form.PARTIAL.value,
        "apiVersion": f"{_META_GROUP}/{version}",
        "metadata": obj.get("metadata", {}),
    }


class Formatter:
    """Turns items into the form one request accepts. ``form`` is a Table, or metadata alone."""

    def __init__(self, kind: Kind, accepted: Accepted, include: IncludeObject) -> None:
        self._kind = kind
        self._accepted = accepted
        self._include = include
        self._columns = columns_of(kind)
        self._headed = False

    def _row(self, obj: Object, now: float) -> Object:
        row: Object = {"cells": [_cell(column, obj, now) for column in self._columns]}
        if self._include is IncludeObject.METADATA:
            row["object"] = partial(obj, self._accepted.version)
        elif self._include is IncludeObject.OBJECT:
            row["object"] = obj
        return row

    def _table(self, objects: Sequence[Object], metadata: Object, *, heads: bool) -> Object:
        now = clock.wall()
        definitions = [
            {
                "name": column.name,
                "type": column.type,
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            }
            for column in self._columns
        ]
        return {
            "kind": Form.TABLE.value,
            "apiVersion": f"{_META_GROUP}/{self._accepted.version}",
            "metadata": metadata,
            "columnDefinitions": definitions if heads else None,
            "rows": [self._row(obj, now) for obj in objects],
        }

    def one(self, item: Item) -> bytes:
        """A single object."""
        obj = item.object()
        if self._accepted.form is Form.TABLE:
            metadata = {"resourceVersion": item.resource_version}
            return orjson.dumps(self._table([obj], metadata, heads=True))
        return orjson.dumps(partial(obj, self._accepted.version))

    def head(self, metadata: Object) -> tuple[bytes, bytes]:
        """What stands before and behind the entries of a list, whose metadata this is."""
        version = self._accepted.version
        if self._accepted.form is Form.TABLE:
            listed = self._table([], metadata, heads=True)
        else:
            group_version = f"{_META_GROUP}/{version}"
            kind = Form.PARTIAL_LIST.value
            listed = {"kind": kind, "apiVersion": group_version, "metadata": metadata, "items": []}
        return orjson.dumps(listed)[:-2], b"]}"

    def entry(self, item: Item) -> bytes:
        """A row of a list that is a Table, an item of another one."""
        obj = item.object()
        if self._accepted.form is Form.TABLE:
            return orjson.dumps(self._row(obj, clock.wall()))
        return orjson.dumps(partial(obj, self._accepted.version))

    def event(self, item: Item) -> bytes:
        """The object of a watch event; a Table names its columns in the first event only."""
        if self._accepted.form is not Form.TABLE:
            return self.one(item)
        metadata = {"resourceVersion": item.resource_version}
        table = self._table([item.object()], metadata, heads=not self._headed)
        self._headed = True
        return orjson.dumps(table)
