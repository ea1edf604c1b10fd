"""Who owns which fields of an object: ``metadata.managedFields``, read, changed and written.

An entry belongs to a manager, an operation, a subresource and, for updates, an API version. Whoever changes a
field by an update takes it from all others; whoever applies it shares it with those that want the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import orjson

from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.meta import parse_time
from hyperd.store.grammar.fields.compare import Comparison, compare
from hyperd.store.grammar.fields.sets import (
    Fields,
    difference,
    intersection,
    named,
    ordered,
    parse,
    union,
    union_all,
    without,
)
from hyperd.store.grammar.fields.types import type_of

APPLY: Final = "Apply"
UPDATE: Final = "Update"
MAX_UPDATERS: Final = 10
"""Entries of updates beyond which the oldest become one."""
_ANCIENT: Final = "ancient-changes"
_UNKNOWN: Final = "unknown"
_STATUS: Final = "status"

_NEVER_OWNED: Final[Fields] = {
    named("apiVersion"): {},
    named("kind"): {},
    named("metadata"): {".": {}} | {
        named(name): {}
        for name in (
            "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation",
            "managedFields", "resourceVersion",
        )
    },
}  # fmt: skip

_ALWAYS_THERE: Final[Mapping[str, Object]] = {
    "Namespace": {"spec": {}, "status": {}},
    "Node": {"spec": {}, "status": {}},
    "Service": {"spec": {}, "status": {"loadBalancer": {}}},
    "Event": {"involvedObject": {}, "source": {}, "reportingComponent": "", "reportingInstance": ""},
    "Lease": {"spec": {}},
}
"""Parts of core kinds that Kubernetes takes for present even where nothing is written, so nobody adds them."""


class ManagerId(NamedTuple):
    """What one entry is about. ``api_version`` is empty for an applier, which has one entry for all versions."""

    manager: str
    operation: str
    api_version: str
    subresource: str


@dataclass(frozen=True, slots=True)
class Owned:
    """What a manager owns, ``ordered``, in which version of the API, since when (RFC 3339, "" for unknown)."""

    fields: Fields
    api_version: str
    time: str = ""


Managers = dict[ManagerId, Owned]


def manager_id(kind: Kind, manager: str, operation: Literal["Apply", "Update"], subresource: str) -> ManagerId:
    """The entry that a write of ``manager`` is booked on."""
    version = kind.api_version if operation == UPDATE else ""
    return ManagerId(manager or _UNKNOWN, operation, version, subresource)


def decoded(entries: Sequence[Object] | None) -> Managers:
    """From what is stored, which is in canonical form."""
    return {
        ManagerId(
            entry.get("manager", ""),
            entry["operation"],
            entry["apiVersion"] if entry["operation"] == UPDATE else "",
            entry.get("subresource", ""),
        ): Owned(entry["fieldsV1"], entry["apiVersion"], entry.get("time", ""))
        for entry in entries or ()
    }


def decoded_of_client(entries: Sequence[Object]) -> Managers:
    """From what a client sent, brought to canonical form. Raises ValueError for what is no list of entries."""
    stored: list[Object] = []
    for entry in entries:
        if entry.get("operation") not in (APPLY, UPDATE):
            raise ValueError("operation must be `Apply` or `Update`")
        if not entry.get("apiVersion"):
            raise ValueError("apiVersion must not be empty")
        if entry.get("fieldsType") != "FieldsV1":
            raise ValueError("fieldsType must be FieldsV1")
        clean = {**entry, "fieldsV1": ordered(parse(entry.get("fieldsV1") or {}))}
        if entry.get("time"):
            clean["time"] = parse_time(entry["time"]).strftime("%Y-%m-%dT%H:%M:%SZ")
        else:
            clean.pop("time", None)
        stored.append(clean)
    return decoded(stored)


def encoded(managers: Managers) -> list[Object]:
    """As it is stored and shown: appliers first, then by time."""

    def place(pair: tuple[ManagerId, Owned]) -> tuple[str, str, str, str, str]:
        who, owned = pair
        return (who.operation, owned.time, who.manager, owned.api_version, who.subresource)

    return [_entry(who, owned) for who, owned in sorted(managers.items(), key=place)]


def _entry(who: ManagerId, owned: Owned) -> Object:
    entry: Object = {"manager": who.manager} if who.manager else {}
    entry |= {"operation": who.operation, "apiVersion": owned.api_version}
    if owned.time:
        entry["time"] = owned.time
    entry |= {"fieldsType": "FieldsV1", "fieldsV1": owned.fields}
    if who.subresource:
        entry["subresource"] = who.subresource
    return entry


def same_but_times(left: Sequence[Object], right: Sequence[Object]) -> bool:
    """Whether both lists say the same, whenever it was."""
    return len(left) == len(right) and all(
        {**one, "time": ""} == {**other, "time": ""} for one, other in zip(left, right, strict=True)
    )


def asks_for_reset(kind: Kind, entries: object) -> bool:
    """Whether a client wants all ownership forgotten: by one empty entry, or by none for core kinds."""
    return entries == [{}] or (entries == [] and kind.core)


def differing(kind: Kind, old: Object, new: Object, subresource: str) -> Comparison:
    """What a write changes, but for the part that it has no say in."""
    if kind.core and (always := _ALWAYS_THERE.get(kind.kind)):
        old, new = {**always, **old}, {**always, **new}
    found = compare(type_of(kind), old, new)
    if _STATUS in kind.subresources:
        reset = named("spec" if subresource == _STATUS else _STATUS)
        if reset in found.added or reset in found.modified or reset in found.removed:
            return Comparison(*(without(part, reset) for part in found))
    return found


def ownable(kind: Kind, fields: Fields, subresource: str) -> Fields:
    """``fields`` but for the part that a write to ``subresource`` has no say in."""
    if _STATUS not in kind.subresources:
        return fields
    return without(fields, named("spec" if subresource == _STATUS else _STATUS))


def stripped(fields: Fields) -> Fields:
    """``fields`` but for those that have no owner: names, versions, what only the server sets."""
    return difference(fields, _NEVER_OWNED)


def keeps_owners(managers: Managers, who: ManagerId, changes: Comparison, now: str) -> bool:
    """Whether ``who`` changes only values of fields that it owns alone, again in the same second.

    Entries stay what they are then. It is what a controller does that writes a status over and over.
    """
    own = managers.get(who)
    if own is None or own.time != now or changes.added or changes.removed:
        return False
    if difference(changes.modified, own.fields):
        return False
    return all(
        other == who or not intersection(owned.fields, changes.modified) for other, owned in managers.items()
    )


def updated(managers: Managers, who: ManagerId, changes: Comparison, api_version: str, now: str) -> Managers:
    """``managers`` after ``who`` made ``changes`` by an update."""
    taken = union(changes.modified, changes.added)
    if not (taken or changes.removed):
        return managers
    lost = union(taken, changes.removed)
    left = dict(managers)
    for other, owned in managers.items():
        if other == who or lost.keys().isdisjoint(owned.fields):
            continue
        fields = difference(owned.fields, lost)
        if fields:
            left[other] = Owned(fields, owned.api_version, owned.time)
        else:
            del left[other]
    _book(left, who, stripped(taken), changes.removed, api_version, now)
    return _capped(left)


def _book(managers: Managers, who: ManagerId, own: Fields, removed: Fields, api_version: str, now: str) -> None:
    """Have ``who`` own ``own`` too, and no longer what is ``removed``, in place."""
    present = managers.get(who)
    fields = difference(present.fields, removed) if present else {}
    if more := difference(own, fields):
        fields = ordered(union(fields, more))
    if not fields:
        managers.pop(who, None)
    elif own or present is None:
        managers[who] = Owned(fields, api_version, now)
    else:
        managers[who] = Owned(fields, api_version, present.time)


def _capped(managers: Managers) -> Managers:
    """With at most ``MAX_UPDATERS`` updaters: the oldest of a version are joined."""
    updaters = [who for who in managers if who.operation == UPDATE]
    surplus = len(updaters) - MAX_UPDATERS
    if surplus <= 0:
        return managers
    left = dict(managers)
    first: dict[str, ManagerId] = {}
    joined: dict[ManagerId, list[Owned]] = {}
    for who in sorted(updaters, key=lambda one: (managers[one].time, identifier(one))):
        if surplus <= 0:
            break
        version = managers[who].api_version
        if version not in first:
            first[version] = who
            continue
        bucket = ManagerId(_ANCIENT, UPDATE, version, "")
        if bucket not in left:
            left[bucket] = left.pop(first[version])
        if who != bucket:
            joined.setdefault(bucket, [left[bucket]]).append(left.pop(who))
        surplus -= 1
    for bucket, parts in joined.items():
        fields = ordered(union_all(owned.fields for owned in parts))
        left[bucket] = Owned(fields, bucket.api_version, parts[-1].time)
    return left


def identifier(who: ManagerId) -> str:
    """Sorts entries as a kube-apiserver does."""
    parts = {
        "manager": who.manager,
        "operation": who.operation,
        "apiVersion": who.api_version,
        "subresource": who.subresource,
    }
    return orjson.dumps({key: value for key, value in parts.items() if value}).decode()


def overlapping(owned: Owned, changes: Comparison) -> Fields:
    """Which of the fields of ``owned`` somebody else changes."""
    return intersection(owned.fields, union(changes.modified, changes.added))
