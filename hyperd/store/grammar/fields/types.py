"""What a schema says about ownership: which maps and lists are merged part by part, and which are one field.

Compiled from ``Kind.schema`` once, because every write walks it. A list is one field unless the schema says
``x-kubernetes-list-type: map|set``; a map is merged unless it says ``x-kubernetes-map-type: atomic``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from hyperd.resources.schema.kind import Kind

MAP: Final = "map"
LIST: Final = "list"
SCALAR: Final = "scalar"


class Type:
    """What may stand at one place. A place can allow several of map, list and scalar."""

    __slots__ = (
        "defaults",
        "element",
        "fields",
        "is_list",
        "is_map",
        "item",
        "keys",
        "scalar",
        "whole_list",
        "whole_map",
    )

    def __init__(self) -> None:
        self.scalar = ""
        """"" for none, or numeric, string, boolean, untyped."""
        self.is_map = False
        self.whole_map = False
        """Whether the map is one field."""
        self.fields: dict[str, Type] = {}
        self.element: Type | None = None
        """The type of what ``fields`` does not name; None where nothing else may come."""
        self.defaults: dict[str, Any] = {}
        """Defaults of ``fields``, for those that are keys of a list."""
        self.is_list = False
        self.whole_list = True
        """Whether the list is one field."""
        self.item: Type | None = None
        self.keys: tuple[str, ...] = ()
        """What tells items apart; without keys a list that is no single field is a set."""

    def field(self, name: str) -> Type:
        """The type of the field ``name``; one that the schema does not know is taken as it is."""
        return self.fields.get(name) or self.element or DEDUCED

    def shape(self, value: Any) -> str:
        """Whether ``value`` is looked at here as a map, a list or a scalar."""
        kind = type(value)
        if kind is dict:
            if self.is_map:
                return MAP
        elif kind is list:
            if self.is_list:
                return LIST
        elif value is not None and self.scalar:
            return SCALAR
        if self.is_map:
            return MAP
        return SCALAR if self.scalar else LIST


def _anything(*, whole: bool) -> Type:
    made = Type()
    made.scalar = "untyped"
    made.is_map = made.is_list = True
    made.whole_map = whole
    made.element = made if whole else None
    return made


UNTYPED: Final = _anything(whole=True)
"""Anything, as one field."""
DEDUCED: Final = _anything(whole=False)
"""Anything: maps part by part, lists as one field."""
UNTYPED.item = UNTYPED
DEDUCED.item = UNTYPED
DEDUCED.element = DEDUCED


def _metadata() -> Type:
    text, time = {"type": "string"}, {"type": "string", "format": "date-time"}
    number = {"type": "integer"}
    texts = {"type": "object", "additionalProperties": text}
    owner = {
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "apiVersion": text, "kind": text, "name": text, "uid": text,
            "controller": {"type": "boolean"}, "blockOwnerDeletion": {"type": "boolean"},
        },
    }  # fmt: skip
    return compiled({
        "type": "object",
        "properties": {
            "name": text, "generateName": text, "namespace": text, "selfLink": text, "uid": text,
            "resourceVersion": text, "generation": number, "creationTimestamp": time, "deletionTimestamp": time,
            "deletionGracePeriodSeconds": number, "labels": texts, "annotations": texts,
            "finalizers": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
            "ownerReferences": {
                "type": "array", "items": owner, "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["uid"],
            },
            "managedFields": {"type": "array", "items": {"type": "object"}},
        },
    })  # fmt: skip


@lru_cache(maxsize=128)
def type_of(kind: Kind) -> Type:
    """The type of whole objects of ``kind``."""
    made = compiled(kind.schema)
    made.fields = {**made.fields, "metadata": _metadata()}
    return made


def compiled(schema: Mapping[str, Any], *, open_: bool = False) -> Type:
    """The type that ``schema`` describes; ``open_`` where unknown fields are kept."""
    open_ = open_ or bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    made = Type()
    kind = schema.get("type")
    if kind in ("integer", "number"):
        made.scalar = "numeric"
    elif kind == "boolean":
        made.scalar = "boolean"
    elif kind == "string":
        made.scalar = "string" if schema.get("format", "") in ("", "byte") else "untyped"
    if kind is None:
        made.scalar = "untyped"
    if kind in (None, "object"):
        _compile_map(made, schema, open_=open_)
    if kind in (None, "array"):
        _compile_list(made, schema, open_=open_)
    return made


def _compile_map(made: Type, schema: Mapping[str, Any], *, open_: bool) -> None:
    made.is_map = True
    made.whole_map = schema.get("x-kubernetes-map-type") == "atomic"
    properties = schema.get("properties") or {}
    made.fields = {name: compiled(child, open_=open_) for name, child in properties.items()}
    made.defaults = {name: child["default"] for name, child in properties.items() if "default" in child}
    extra = schema.get("additionalProperties")
    if isinstance(extra, Mapping):
        made.element = compiled(extra, open_=open_)
    elif extra is True or (extra is None and (open_ or not properties)):
        made.element = DEDUCED


def _compile_list(made: Type, schema: Mapping[str, Any], *, open_: bool) -> None:
    made.is_list = True
    made.whole_list = schema.get("x-kubernetes-list-type", "atomic") == "atomic"
    made.keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
    items = schema.get("items")
    made.item = compiled(items, open_=open_) if items else UNTYPED
