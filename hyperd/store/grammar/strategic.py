"""Strategic merge patch, for the kinds that Kubernetes owns.

kubectl sends it for a changed Secret, for ``patch namespace``, for labels of a Node. What makes it strategic are
the lists: some merge by a key, some are sets, all others are replaced. The table below says which, by field name,
for the core kinds that are served here.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from hyperd.errors import BadRequest
from hyperd.resources.schema.kind import Object

MERGE_KEYS = {
    "ownerReferences": "uid",
    "conditions": "type",
    "ports": "port",
    "addresses": "type",
    "imagePullSecrets": "name",
    "secrets": "name",
}
"""Lists of objects that merge, and the field that tells their items apart."""

SETS = frozenset(("finalizers", "podCIDRs", "mountOptions"))
"""Lists of plain values that merge as sets."""

_PATCH = "$patch"
_ORDER = "$setElementOrder/"
_DELETE_VALUES = "$deleteFromPrimitiveList/"
_RETAIN = "$retainKeys"
_GONE: Final = object()


def merge(target: object, patch: Object) -> Object:
    """``target`` after ``patch``. Raises BadRequest for directives that make no sense."""
    directive = patch.get(_PATCH, "merge")
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != _PATCH}
    if directive == "delete":
        return {}
    if directive != "merge":
        raise BadRequest(f"unknown $patch directive {str(directive)[:32]!r}; known are merge, replace and delete")
    merged = dict(target) if isinstance(target, dict) else {}
    _retain(merged, patch)
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = merge(merged.get(key), value)
        elif isinstance(value, list):
            merged[key] = _merge_list(key, merged.get(key), value)
        else:
            merged[key] = value
    for key, value in patch.items():
        if key.startswith(_DELETE_VALUES):
            _delete_values(merged, key.removeprefix(_DELETE_VALUES), _list(key, value))
        elif key.startswith(_ORDER):
            name = key.removeprefix(_ORDER)
            former = target.get(name) if isinstance(target, dict) else None
            _reorder(merged, name, _list(key, value), former)
    return merged


def _retain(merged: Object, patch: Object) -> None:
    keys = patch.get(_RETAIN)
    if keys is None:
        return
    kept = {_hashable(key) for key in _list(_RETAIN, keys)}
    for key in patch:
        if not key.startswith("$") and key not in kept and patch[key] is not None:
            raise BadRequest(f"$retainKeys must name every field of the patch; {key[:64]} is missing")
    for key in [key for key in merged if key not in kept]:
        del merged[key]


def _merge_list(name: str, present: object, patch: list[object]) -> list[object]:
    if not isinstance(present, list):
        present = []
    if name in SETS and all(not isinstance(item, dict | list) for item in patch):
        known = {_hashable(item) for item in present}
        added = (item for item in dict.fromkeys(patch) if item not in known)
        return _placed([*present, *added], patch, present, "")
    key = MERGE_KEYS.get(name)
    items: list[Object] = [item for item in patch if isinstance(item, dict)]
    if key is None or len(items) != len(patch):
        return patch
    if any(item.get(_PATCH) == "replace" for item in items):
        return [item for item in items if _PATCH not in item]
    merged = _merged_items(name, key, present, items)
    return _placed(merged, [item[key] for item in items], present, key)


def _merged_items(name: str, key: str, present: list[object], patch: list[Object]) -> list[object]:
    """Each item of ``patch`` merged into the first of ``present`` that has its key, or added."""
    merged = list(present)
    places: dict[object, deque[int]] = {}
    for place, item in enumerate(present):
        if isinstance(item, dict):
            places.setdefault(_hashable(item.get(key)), deque()).append(place)
    for item in patch:
        if key not in item:
            raise BadRequest(f"an item of the list {name} in the patch lacks its merge key {key}")
        found = places.setdefault(_hashable(item[key]), deque())
        if item.get(_PATCH) == "delete":
            if found:
                merged[found.popleft()] = _GONE
        elif found:
            merged[found[0]] = merge(merged[found[0]], item)
        else:
            found.append(len(merged))
            merged.append(merge({}, item))
    return [item for item in merged if item is not _GONE]


def _delete_values(merged: Object, name: str, values: list[object]) -> None:
    present = merged.get(name)
    if isinstance(present, list):
        unwanted = {_hashable(value) for value in values}
        merged[name] = [item for item in present if _hashable(item) not in unwanted]


def _reorder(merged: Object, name: str, order: list[object], former: object) -> None:
    """Put the items that the order names into it."""
    present = merged.get(name)
    if not isinstance(present, list):
        return
    key = MERGE_KEYS.get(name, "")
    wanted = [_identity(item, key) for item in order]
    merged[name] = _placed(present, wanted, former if isinstance(former, list) else [], key)


def _identity(item: object, key: str) -> object:
    return item.get(key) if isinstance(item, dict) and key else item


def _placed(items: list[object], order: list[object], former: list[object], key: str) -> list[object]:
    """Items that ``order`` names come as it says; before each come those others that it followed in ``former``."""
    wanted = {_hashable(value): place for place, value in reversed([*enumerate(order)])}
    before = {_hashable(_identity(item, key)): place for place, item in reversed([*enumerate(former)])}
    named: list[tuple[int, int, object]] = []
    rest: list[tuple[int, object]] = []
    for item in items:
        identity = _hashable(_identity(item, key))
        if identity in wanted:
            named.append((wanted[identity], before.get(identity, -1), item))
        else:
            rest.append((before.get(identity, -1), item))
    named.sort(key=lambda one: one[0])
    placed: list[object] = []
    taken = 0
    for _, place, item in named:
        while taken < len(rest) and 0 <= rest[taken][0] < place:
            placed.append(rest[taken][1])
            taken += 1
        placed.append(item)
    return placed + [item for _, item in rest[taken:]]


def _hashable(value: object) -> object:
    """What is equal where ``value`` is, and may be a key; text never equals what is no text."""
    return ("", repr(value)) if isinstance(value, dict | list) else value


def _list(name: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise BadRequest(f"{name[:64]} in the patch must be a list")
    return value
