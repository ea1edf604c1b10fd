"""From what a client sends of an object to what may be stored of it, and what is wrong with it: without waiting.

The functions are pure, so that they can run beside the event loop where an object is large.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from itertools import chain

import orjson

from hyperd.errors import BadRequest, Cause
from hyperd.resources.core.types import core_type_faults
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.schema.metadata import prune_metadata, quoted, type_faults
from hyperd.resources.schema.structural import (
    BLOCKING,
    apply_defaults,
    check_metadata,
    check_rules,
    drop_empty,
    invalid,
    prune,
    validate,
    validate_change,
)
from hyperd.resources.values.meta import now_rfc3339
from hyperd.store.grammar import core_kinds
from hyperd.store.grammar.fields.tracking import FIELD as MANAGED_FIELDS
from hyperd.store.grammar.fields.tracking import track
from hyperd.store.interface import FieldValidation, Write

_SYSTEM_FIELDS = (
    "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink",
    "resourceVersion",
)  # fmt: skip
_MAX_SHOWN = 100
_OMITTED_WHEN_EMPTY = ("labels", "annotations", "finalizers", "ownerReferences", "generateName")
"""Empty says the same as absent; storing one form keeps an unchanged write unchanged."""
_MAX_UNKNOWN = 100
"""So many unknown fields are named."""


def decoded(kind: Kind, namespace: str, new: Object, write: Write, *, applied: bool) -> Object:
    """``new`` pruned and defaulted, in place. Raises BadRequest for what is no ``kind`` at all.

    ``applied`` says that an apply made it, which leaves its nulls to be judged.
    """
    if new.get("metadata") is None:
        new["metadata"] = {}
    meta = new["metadata"]
    if not isinstance(meta, dict):
        raise BadRequest("the object provided is unrecognized: metadata must be an object")
    faults: Iterable[Cause] = type_faults(meta)
    if kind.core:
        faults = chain(faults, core_type_faults(kind.schema, new))
    for fault in faults:
        raise BadRequest(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
            f"{fault.field}: {fault.message}"
        )
    for name in _OMITTED_WHEN_EMPTY:
        if name in meta and not meta[name]:
            del meta[name]
    for name, wanted in (("apiVersion", kind.api_version), ("kind", kind.kind)):
        if new.setdefault(name, wanted) != wanted:
            raise BadRequest(
                f"the {name} in the data ({str(new[name])[:100]}) does not match the expected {name} ({wanted})"
            )
    if kind.namespaced:
        if (meta.get("namespace") or namespace) != namespace:
            raise BadRequest(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        meta["namespace"] = namespace
    else:
        meta.pop("namespace", None)
    if kind.core:
        unknown = [f'unknown field "metadata.{name}"' for name in prune_metadata(meta)]
        drop_empty(kind.schema, new)
    else:
        unknown = prune(kind.schema, new)
    report_unknown(kind, unknown, write)
    if not kind.core:
        apply_defaults(kind.schema, new, keep_nulls=applied)
    return new


def in_version(kind: Kind, obj: Object, write: Write, *, whole: bool) -> Object:
    """``obj``, of a kind in a version that it is not stored in, judged by that one. Raises BadRequest, Invalid.

    Unless it is the ``whole``, without its status: a write of the object itself leaves that as it is, so whatever
    stands there is let go before it is judged, as an API server does.
    """
    if kind.core:
        for fault in core_type_faults(kind.schema, obj):
            raise BadRequest(f"{kind.kind} cannot be handled: {fault.field}: {fault.message}")
        return obj
    report_unknown(kind, prune(kind.schema, obj), write)
    if not whole and "status" in kind.subresources:
        obj = {name: value for name, value in obj.items() if name != "status"}
    apply_defaults(kind.schema, obj)
    causes = validate(kind.schema, obj)
    if causes:
        raise invalid(kind, str((obj.get("metadata") or {}).get("name") or ""), causes)
    return obj


def created(kind: Kind, new: Object, write: Write, *, applied: bool) -> Object:
    """The decoded ``new``, which has its name, as it may be stored for the first time. Raises Invalid.

    ``applied`` says that it has its managedFields already.
    """
    meta = new["metadata"]
    core_kinds.default(kind, new)
    if not applied:
        track(kind, new, None, manager=write.field_manager)
    for name in _SYSTEM_FIELDS:
        meta.pop(name, None)
    if "status" in kind.subresources and not kind.core:
        new.pop("status", None)
    meta["uid"] = str(uuid.uuid4())
    meta["creationTimestamp"] = now_rfc3339()
    if not kind.core:
        meta["generation"] = 1
    core_kinds.before_create(kind, new)
    return _judged(kind, new, None, [], applied=applied)


def updated(kind: Kind, new: Object, old: Object, write: Write, *, applied: bool) -> tuple[Object, bool]:
    """The decoded ``new`` as it may replace ``old``, and whether it differs by nulls that go. Raises Invalid.

    Status stays what it is. ``applied`` is as for ``created``.
    """
    meta, former = new["metadata"], old["metadata"]
    causes = [
        Cause(f"metadata.{name}", f"Invalid value: {quoted(meta[name])}: field is immutable")
        for name in ("deletionTimestamp", "deletionGracePeriodSeconds")
        if meta.get(name) is not None and meta[name] != former.get(name)
    ]
    core_kinds.default(kind, new)
    if not applied:
        track(kind, new, old, manager=write.field_manager)
    _adopt_system_fields(meta, former)
    if "status" in kind.subresources:
        _take(new, old, "status")
    core_kinds.before_update(kind, new, old)
    if former.get("deletionTimestamp"):
        causes += _new_finalizers(meta, former)
    # A null that is applied counts as a change, though it goes before it is stored.
    differs = applied and differs_outside(new, old, "metadata", "status")
    return _judged(kind, new, old, causes, applied=applied), differs


def status_updated(kind: Kind, new: Object, old: Object, write: Write, *, applied: bool) -> Object:
    """``old`` with the status of the decoded ``new``. Raises Invalid.

    ``applied`` is as for ``created``.
    """
    if not applied:
        track(kind, new, old, manager=write.field_manager, subresource="status")
    result = {**old, "metadata": dict(old["metadata"])}
    _take(result, new, "status")
    _take(result["metadata"], new["metadata"], MANAGED_FIELDS)
    if not kind.core and (causes := validate_change(kind.schema, result, old)):
        raise invalid(kind, old["metadata"]["name"], causes)
    return result


def _judged(kind: Kind, new: Object, old: Object | None, causes: list[Cause], *, applied: bool) -> Object:
    if causes := [*causes, *_faults(kind, new, old)]:
        name = new["metadata"].get("name")
        raise invalid(kind, name if isinstance(name, str) else "", causes)
    if applied and not kind.core:
        # What an apply left of nulls and is valid goes now, as a kube-apiserver drops it when it reads again.
        apply_defaults(kind.schema, new)
    return new


def _faults(kind: Kind, new: Object, old: Object | None) -> list[Cause]:
    """What schema and rules refuse of the decoded ``new``, which is to replace ``old``."""
    causes: list[Cause] = []
    if old is None or differs_outside(new["metadata"], old["metadata"], MANAGED_FIELDS):
        causes += check_metadata(kind, new)
    if kind.core:
        causes += core_kinds.check(kind, new, old)
    else:
        causes += validate(kind.schema, new) if old is None else validate_change(kind.schema, new, old)
    # Rules may rely on the types and sizes that the schema promises.
    if kind.validations and not any(cause.reason in BLOCKING for cause in causes):
        causes += check_rules(kind, new, old)
    return causes


def report_unknown(kind: Kind, unknown: list[str], write: Write) -> None:
    """Refuse, warn of or pass over unknown fields, as ``write`` wants it. Raises BadRequest."""
    if not unknown:
        return
    if len(unknown) > _MAX_UNKNOWN:
        unknown = [*unknown[:_MAX_UNKNOWN], f"and {len(unknown) - _MAX_UNKNOWN} more"]
    if write.field_validation is FieldValidation.STRICT:
        raise BadRequest(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
            f"strict decoding error: {', '.join(unknown)}"
        )
    if write.field_validation is FieldValidation.WARN:
        for text in unknown:
            write.warn(text)


def differs_outside(new: Object, old: Object, *apart: str) -> bool:
    """Whether both differ in a field that is not named in ``apart``."""
    for key, value in new.items():
        if key not in apart and value != old.get(key):
            return True
    return any(key not in new and key not in apart and value is not None for key, value in old.items())


def _adopt_system_fields(meta: Object, former: Object) -> None:
    for name in _SYSTEM_FIELDS:
        if name in former:
            meta[name] = former[name]
        elif name in meta:
            del meta[name]


def _take(into: Object, source: Object, name: str) -> None:
    if name in source:
        into[name] = source[name]
    else:
        into.pop(name, None)


def _new_finalizers(meta: Object, former: Object) -> list[Cause]:
    present, wanted = former.get("finalizers") or [], meta.get("finalizers") or []
    if not isinstance(wanted, list):
        return []
    known = {orjson.dumps(name) for name in present}
    added = [name for name in wanted if orjson.dumps(name) not in known][:_MAX_SHOWN]
    if not added:
        return []
    shown = ", ".join(orjson.dumps(name).decode() for name in added)
    text = (
        "Forbidden: no new finalizers can be added if the object is being deleted, "
        f"found new finalizers []string{{{shown}}}"
    )
    return [Cause("metadata.finalizers", text, "FieldValueForbidden")]
