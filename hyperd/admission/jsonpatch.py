"""The difference of two JSON objects as a JSON patch (RFC 6902), which is how a webhook changes an object.

By hand, as the jsonpatch package looks for the shortest patch: 130 ms for two lists of 1,000 entries, on the event
loop, at the wish of whoever sends them. This takes 1.6 ms: a list that differs goes as a whole.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from hyperd.resources.schema.kind import AnyObject
from hyperd.resources.values.equality import same


class Operation(TypedDict):
    """One step of a JSON patch; ``remove`` has no value."""

    op: Literal["add", "remove", "replace"]
    path: str
    value: NotRequired[object]


def difference(before: AnyObject, after: AnyObject) -> list[Operation]:
    """Operations that make ``after`` of ``before``; a list that differs is replaced as a whole."""
    operations: list[Operation] = []
    _compare(before, after, "", operations)
    return operations


def _compare(before: AnyObject, after: AnyObject, path: str, operations: list[Operation]) -> None:
    for name, value in before.items():
        here = f"{path}/{_escaped(name)}"
        if name not in after:
            operations.append({"op": "remove", "path": here})
            continue
        wanted = after[name]
        if isinstance(value, dict) and isinstance(wanted, dict):
            _compare(value, wanted, here, operations)
        elif not same(value, wanted):
            operations.append({"op": "replace", "path": here, "value": wanted})
    for name, wanted in after.items():
        if name not in before:
            operations.append({"op": "add", "path": f"{path}/{_escaped(name)}", "value": wanted})


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
