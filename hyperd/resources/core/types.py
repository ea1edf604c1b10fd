"""The types of a core kind's fields, as Kubernetes' own decoder insists on them.

What a schema of ours does not list is kept as it comes; what it lists is of its type, so that controllers, tables
and typed clients can rely on it. Base64 is the payload's to judge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hyperd.errors import Cause
from hyperd.resources.schema.formats import FORMATS
from hyperd.resources.schema.kind import Object

_PYTHON_TYPES: Mapping[str, type[Any]] = {
    "object": dict, "array": list, "string": str, "integer": int, "boolean": bool,
}  # fmt: skip


def core_type_faults(schema: Mapping[str, Any], obj: Object) -> Iterator[Cause]:
    """Fields of ``obj`` that are not of the type that ``schema`` gives them; null is a value of every type."""
    yield from _object_faults(schema, obj, "")


def _faults(schema: Mapping[str, Any], value: Any, path: str) -> Iterator[Cause]:
    if value is None:
        return
    wanted = schema.get("type")
    if wanted is None:
        if schema.get("x-kubernetes-int-or-string") and type(value) not in (int, str):
            yield _mistyped(path, "integer or string")
    elif type(value) is not _PYTHON_TYPES[wanted]:
        yield _mistyped(path, wanted)
    elif wanted == "object":
        yield from _object_faults(schema, value, path)
    elif wanted == "array":
        items = schema["items"]
        for index, item in enumerate(value):
            yield from _faults(items, item, f"{path}[{index}]")
    elif "format" in schema:
        yield from _format_faults(schema["format"], value, path)


def _object_faults(schema: Mapping[str, Any], value: Object, path: str) -> Iterator[Cause]:
    properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
    prefix = f"{path}." if path else ""
    for name, child in value.items():
        known = properties.get(name, extra)
        if known is not None:
            yield from _faults(known, child, prefix + name)


def _format_faults(form: str, value: Any, path: str) -> Iterator[Cause]:
    if form == "int32" or form == "int64":
        limit = 1 << (31 if form == "int32" else 63)
        if not -limit <= value < limit:
            yield _mistyped(path, form)
    elif form == "date-time" and not FORMATS[form](value):
        yield _mistyped(path, form)


def _mistyped(path: str, wanted: str) -> Cause:
    return Cause(path, f"Invalid value: must be of type {wanted}", "FieldValueTypeInvalid")
