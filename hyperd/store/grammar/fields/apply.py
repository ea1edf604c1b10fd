"""Server-side apply: an object after one of its appliers said what it wants.

Applied fields are merged into the object; what the applier applied before and now leaves out goes, unless others
own it too; a value that another manager set otherwise is a conflict, unless it is forced.
"""

from __future__ import annotations

import json
from typing import Final

import orjson

from hyperd.errors import BadRequest, Cause, Conflict, Invalid
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.meta import now_rfc3339
from hyperd.store.grammar.fields import managers as owners
from hyperd.store.grammar.fields.check import faults
from hyperd.store.grammar.fields.compare import Comparison, compare, fields_of, with_named_fields
from hyperd.store.grammar.fields.managers import APPLY, UPDATE, ManagerId, Managers, Owned, manager_id
from hyperd.store.grammar.fields.merge import cut, merged
from hyperd.store.grammar.fields.sets import (
    Fields,
    difference,
    has,
    intersection,
    ordered,
    paths,
    shown,
    union,
    union_all,
)
from hyperd.store.grammar.fields.tracking import FIELD
from hyperd.store.grammar.fields.types import Type, type_of

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_KUBECTL: Final = "kubectl"
_BEFORE: Final = "before-first-apply"

_Conflicts = list[tuple[ManagerId, tuple[str, ...]]]


def apply(
    kind: Kind, live: Object | None, config: object, *, manager: str, subresource: str = "", force: bool = False
) -> Object:
    """The object that ``manager``'s ``config`` makes of ``live`` (None: of nothing), with its managedFields.

    Raises BadRequest for what is no configuration of ``kind``, Conflict for fields that others set otherwise.
    ``live`` is not changed; the result shares parts with it.
    """
    if not manager:
        text = "fieldManager: Required value: is required for apply patch"
        cause = Cause("fieldManager", text.partition(" ")[2], "FieldValueRequired")
        raise Invalid(f'PatchOptions.meta.k8s.io "" is invalid: {text}', causes=[cause])
    wanted = _checked(kind, config)
    type_ = type_of(kind)
    base: Object = live if live is not None else {"apiVersion": kind.api_version, "kind": kind.kind}
    managers = owners.decoded((base.get("metadata") or {}).get(FIELD))
    if not managers and live is not None:
        managers = _first(kind, live, subresource)
    who = manager_id(kind, manager, APPLY, subresource)
    last = managers.get(who)
    owned = ordered(owners.ownable(kind, fields_of(type_, wanted), subresource))
    managers = {**managers, who: Owned(owned, kind.api_version, last.time if last else "")}
    new = _object(merged(type_, base, wanted))
    if last is not None:
        new = _pruned(type_, new, managers, last.fields)
    changes = owners.differing(kind, base, new, subresource)
    conflicts = _conflicts(managers, who, changes)
    if conflicts and not force:
        conflicts = _real_conflicts(kind, base, conflicts) if manager == _KUBECTL else conflicts
        if conflicts:
            raise _refused(conflicts)
    changed = new != base
    managers = _settled(managers, who, changes, now_rfc3339() if changed else "")
    result = {**(new if changed else base)}
    result["metadata"] = {**(result.get("metadata") or {})}
    result["metadata"].pop(FIELD, None)
    if manager == _KUBECTL:
        _renew_last_applied(result, wanted)
    if entries := owners.encoded(managers):
        result["metadata"][FIELD] = entries
    return result


def _checked(kind: Kind, config: object) -> Object:
    """The configuration of ``kind``. Raises BadRequest for what is none."""
    if not isinstance(config, dict | None):
        raise BadRequest("error decoding YAML: an apply patch must be an object")
    config = config or {}
    version, name = str(config.get("apiVersion") or "")[:100], str(config.get("kind") or "")[:100]
    if (version, name) != (kind.api_version, kind.kind):
        raise BadRequest(f"invalid object type: {_qualified(version)}, Kind={name}")
    meta = config.get("metadata")
    if isinstance(meta, dict) and isinstance(meta.get(FIELD), list):
        raise BadRequest("metadata.managedFields must be nil")
    found = faults(type_of(kind), config)
    if found:
        shown_meta = meta if isinstance(meta, dict) else {}
        place = f"{shown_meta.get('namespace', '')}/{shown_meta.get('name', '')}"
        listed = found[0] if len(found) == 1 else "\n  ".join(["errors:", *found])
        raise BadRequest(
            f"failed to create typed patch object ({place}; {_qualified(version)}, Kind={name}): {listed}"
        )
    return config


def _object(value: object) -> Object:
    """What is made of an object is one: it names its kind."""
    assert isinstance(value, dict)  # noqa: S101
    return value


def _qualified(version: str) -> str:
    return version if "/" in version else f"/{version}"


def _first(kind: Kind, live: Object, subresource: str) -> Managers:
    """One owner for all that is there when an object without owners is applied for the first time."""
    nothing: Object = {"apiVersion": kind.api_version, "kind": kind.kind}
    who = manager_id(kind, _BEFORE, UPDATE, subresource)
    changes = owners.differing(kind, nothing, live, subresource)
    return owners.updated({}, who, changes, kind.api_version, now_rfc3339())


def _pruned(type_: Type, new: Object, managers: Managers, last: Fields) -> Object:
    """``new`` without what was applied last and nobody owns now."""
    had = with_named_fields(type_, fields_of(type_, new))
    last = with_named_fields(type_, last)
    kept = with_named_fields(type_, fields_of(type_, cut(type_, new, last)))
    kept = union_all((kept, *(with_named_fields(type_, owned.fields) for owned in managers.values())))
    # What hangs below a removed field without an owner of its own goes with it, and nothing else does.
    left = with_named_fields(type_, fields_of(type_, cut(type_, new, difference(had, kept))))
    return _object(cut(type_, new, intersection(difference(had, left), last)))


def _conflicts(managers: Managers, who: ManagerId, changes: Comparison) -> _Conflicts:
    others = sorted(((other, owned) for other, owned in managers.items() if other != who), key=_by_identifier)
    return [(other, path) for other, owned in others for path in paths(owners.overlapping(owned, changes))]


def _by_identifier(pair: tuple[ManagerId, Owned]) -> str:
    return owners.identifier(pair[0])


def _settled(managers: Managers, who: ManagerId, changes: Comparison, now: str) -> Managers:
    """Others lose what was changed or removed; ``who`` has what it applied."""
    lost = union(union(changes.modified, changes.added), changes.removed)
    settled: Managers = {}
    for other, owned in managers.items():
        fields = owners.stripped(owned.fields) if other == who else difference(owned.fields, lost)
        if fields:
            settled[other] = Owned(fields, owned.api_version, now if other == who and now else owned.time)
    return settled


def _refused(conflicts: _Conflicts) -> Conflict:
    causes = [
        Cause(shown(path), f"conflict with {_named(who)}", "FieldManagerConflict") for who, path in conflicts
    ]
    if len(conflicts) == 1:
        who, path = conflicts[0]
        return Conflict(f"Apply failed with 1 conflict: conflict with {_named(who)}: {shown(path)}", causes=causes)
    lines: list[str] = []
    previous = None
    for who, path in conflicts:
        if who != previous:
            lines.append(f"conflicts with {_named(who)}:")
            previous = who
        lines.append(f"- {shown(path)}")
    text = "\n".join(lines)
    return Conflict(f"Apply failed with {len(conflicts)} conflicts: {text}", causes=causes)


def _named(who: ManagerId) -> str:
    identifier = json.dumps(who.manager, ensure_ascii=False)
    if who.subresource:
        identifier += f' with subresource "{who.subresource}"'
    return f"{identifier} using {who.api_version}" if who.operation == UPDATE else identifier


def _real_conflicts(kind: Kind, live: Object, conflicts: _Conflicts) -> _Conflicts:
    """Without those about fields that kubectl itself set by a client-side apply and nobody changed since."""
    try:
        config = orjson.loads(_last_applied(live))
    except orjson.JSONDecodeError:
        return conflicts
    type_ = type_of(kind)
    if not isinstance(config, dict) or config.get("apiVersion") != kind.api_version or faults(type_, config):
        return conflicts
    changes = compare(type_, config, live)
    own = fields_of(type_, config)
    for part in changes:
        own = difference(own, part)
    return [(who, path) for who, path in conflicts if not has(own, path)]


def _last_applied(obj: Object) -> str:
    annotations = (obj.get("metadata") or {}).get("annotations")
    text = annotations.get(LAST_APPLIED) if isinstance(annotations, dict) else None
    return text if isinstance(text, str) else ""


def _renew_last_applied(obj: Object, config: Object) -> None:
    """Keep the annotation of client-side apply current, so that a user may go back to it; in place."""
    if not _last_applied(obj):
        return
    meta = dict(config.get("metadata") or {})
    if meta.get("annotations"):
        meta["annotations"] = {key: text for key, text in meta["annotations"].items() if key != LAST_APPLIED}
    text = json.dumps({**config, "metadata": meta}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for char in "&<>":
        text = text.replace(char, f"\\u{ord(char):04x}")
    obj["metadata"]["annotations"] = {**obj["metadata"]["annotations"], LAST_APPLIED: f"{text}\n"}
