"""What happens to an object between the client and the commit, in the order of a kube-apiserver.

Decode, prune, default, metadata, schema, cross-field rules, admission. The rule it keeps: nothing reaches the
file that did not pass all of it, and what a client may not set (uid, times, generation, status) it cannot set.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Literal, ParamSpec, TypeVar

import orjson

from hyperd.errors import BadRequest, Cause, Conflict, Forbidden
from hyperd.resources.core_types import core_type_faults
from hyperd.resources.kind import Kind, Object
from hyperd.resources.meta import now_rfc3339
from hyperd.resources.metadata import prune_metadata, quoted, type_faults
from hyperd.resources.structural import (
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
from hyperd.store import core_kinds
from hyperd.store.fields.tracking import FIELD as MANAGED_FIELDS
from hyperd.store.fields.tracking import track
from hyperd.store.interface import AdmissionRequest, Admit, FieldValidation, Reader, Write

P = ParamSpec("P")
T = TypeVar("T")

LARGE_BYTES = 64 << 10
"""From here on an object is judged, and who owns what in it found out, beside the event loop."""
NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_RANDOM_LENGTH = 5
_PREFIX_LENGTH = 63 - _RANDOM_LENGTH
_SYSTEM_FIELDS = (
    "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink",
    "resourceVersion",
)  # fmt: skip
_OMITTED_WHEN_EMPTY = ("labels", "annotations", "finalizers", "ownerReferences", "generateName")
"""Empty says the same as absent; storing one form keeps an unchanged write unchanged."""


class Pipeline:
    """Prepares objects for the ledger; ``admit`` is asked for at each write, so it may be set late."""

    def __init__(self, reader: Reader, admit: Callable[[], Admit | None]) -> None:
        self._reader = reader
        self._admit = admit

    async def decode(
        self, kind: Kind, namespace: str, obj: Object, write: Write, *, applied: bool = False
    ) -> tuple[Object, bool]:
        """A pruned and defaulted copy, and whether it is large. Raises BadRequest for what is no ``kind`` at all.

        ``applied`` says that an apply made it, which leaves its nulls to be judged.
        """
        copied, size = _copy(obj)
        large = size > LARGE_BYTES
        return await aside(large, self._decode, kind, namespace, copied, write, applied=applied), large

    def _decode(self, kind: Kind, namespace: str, new: Object, write: Write, *, applied: bool) -> Object:
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
                    f"the {name} in the data ({str(new[name])[:100]}) does not match "
                    f"the expected {name} ({wanted})"
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

    async def create(
        self, kind: Kind, new: Object, write: Write, *, applied: bool = False, large: bool = False
    ) -> Object:
        """Make the decoded ``new``, which has its name, ready to be stored for the first time.

        ``applied`` says that it has its managedFields already, ``large`` that it is not for the event loop.
        """
        meta = new["metadata"]
        core_kinds.default(kind, new)
        if not applied:
            await aside(large, track, kind, new, None, manager=write.field_manager)
        for name in _SYSTEM_FIELDS:
            meta.pop(name, None)
        if "status" in kind.subresources and not kind.core:
            new.pop("status", None)
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = now_rfc3339()
        if not kind.core:
            meta["generation"] = 1
        core_kinds.before_create(kind, new)
        return await self._judge("CREATE", kind, new, None, write, applied=applied, large=large)

    async def update(
        self, kind: Kind, new: Object, old: Object, write: Write, *, applied: bool = False, large: bool = False
    ) -> Object:
        """Make the decoded ``new`` ready to replace ``old``; status stays what it is.

        ``applied`` says that it has its managedFields already, ``large`` that both are not for the event loop.
        """
        meta, former = new["metadata"], old["metadata"]
        causes = [
            Cause(f"metadata.{name}", f"Invalid value: {quoted(meta[name])}: field is immutable")
            for name in ("deletionTimestamp", "deletionGracePeriodSeconds")
            if meta.get(name) is not None and meta[name] != former.get(name)
        ]
        core_kinds.default(kind, new)
        if not applied:
            await aside(large, track, kind, new, old, manager=write.field_manager)
        _adopt_system_fields(meta, former)
        if "status" in kind.subresources:
            _take(new, old, "status")
        core_kinds.before_update(kind, new, old)
        if former.get("deletionTimestamp"):
            causes += _new_finalizers(meta, former)
        # A null that is applied counts as a change, though it goes before it is stored.
        differs = applied and _differs_outside(new, old, "metadata", "status")
        new = await self._judge("UPDATE", kind, new, old, write, causes, applied=applied, large=large)
        if not kind.core and (differs or _differs_outside(new, old, "metadata", "status")):
            new["metadata"]["generation"] = former.get("generation", 0) + 1
        return new

    async def update_status(
        self, kind: Kind, new: Object, old: Object, write: Write, *, applied: bool = False, large: bool = False
    ) -> Object:
        """``old`` with the status of the decoded ``new``. Admission has no say in status.

        ``applied`` and ``large`` are as for ``update``.
        """
        if not applied:
            await aside(large, track, kind, new, old, manager=write.field_manager, subresource="status")
        result = {**old, "metadata": dict(old["metadata"])}
        _take(result, new, "status")
        _take(result["metadata"], new["metadata"], MANAGED_FIELDS)
        if not kind.core and (causes := await aside(large, validate_change, kind.schema, result, old)):
            raise invalid(kind, old["metadata"]["name"], causes)
        return result

    async def delete(self, kind: Kind, old: Object, write: Write) -> None:
        """Ask admission whether ``old`` may be deleted."""
        await self._ask("DELETE", kind, None, old, write)

    async def _judge(
        self,
        operation: Literal["CREATE", "UPDATE"],
        kind: Kind,
        new: Object,
        old: Object | None,
        write: Write,
        causes: list[Cause] | None = None,
        *,
        applied: bool,
        large: bool,
    ) -> Object:
        name = new["metadata"].get("name")
        shown = name if isinstance(name, str) else ""
        # Admission may rely on what schema and rules promise.
        if causes := [*(causes or ()), *await aside(large, _faults, kind, new, old)]:
            raise invalid(kind, shown, causes)
        if applied and not kind.core:
            # What an apply left of nulls and is valid goes now, as a kube-apiserver drops it when it reads again.
            apply_defaults(kind.schema, new)
        new, causes = await self._ask(operation, kind, new, old, write)
        if causes:
            raise invalid(kind, shown, causes)
        return new

    async def _ask(
        self,
        operation: Literal["CREATE", "UPDATE", "DELETE"],
        kind: Kind,
        new: Object | None,
        old: Object | None,
        write: Write,
    ) -> tuple[Object, list[Cause]]:
        subject: Object = new if new is not None else old  # type: ignore[assignment]  # one of them is there
        admit = self._admit()
        if admit is None:
            return subject, []
        meta = subject["metadata"]
        response = await admit(
            AdmissionRequest(
                operation,
                kind,
                meta.get("namespace", ""),
                meta["name"],
                new,
                # A rule must not be able to change what is stored.
                old if old is None else orjson.loads(orjson.dumps(old)),
                write.user,
                self._reader,
                dry_run=write.dry_run,
            )
        )
        for warning in response.warnings:
            write.warn(warning)
        if response.forbidden:
            raise Forbidden(response.forbidden, kind=kind.plural, group=kind.group, name=meta["name"])
        if response.causes and operation == "DELETE":
            raise invalid(kind, meta["name"], response.causes)
        return (response.object if response.object is not None else subject), response.causes


async def aside(large: bool, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``fn`` returns; in a thread for what is ``large``, so that other requests are answered meanwhile."""
    if large:
        return await asyncio.to_thread(fn, *args, **kwargs)
    return fn(*args, **kwargs)


def random_name(prefix: str) -> str:
    """A name made from ``generateName``."""
    suffix = "".join(secrets.choice(NAME_ALPHABET) for _ in range(_RANDOM_LENGTH))
    return prefix[:_PREFIX_LENGTH] + suffix


def precondition_failed(kind: Kind, name: str, text: str) -> Conflict:
    """A 409, worded as a kube-apiserver does."""
    return Conflict(
        f'Operation cannot be fulfilled on {kind.qualified_resource} "{name}": {text}',
        kind=kind.plural,
        group=kind.group,
        name=name,
    )


def _faults(kind: Kind, new: Object, old: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    if old is None or _differs_outside(new["metadata"], old["metadata"], MANAGED_FIELDS):
        causes += check_metadata(kind, new)
    if kind.core:
        causes += core_kinds.check(kind, new, old)
    else:
        causes += validate(kind.schema, new) if old is None else validate_change(kind.schema, new, old)
    # Rules may rely on the types and sizes that the schema promises.
    if kind.rules and not any(cause.reason in BLOCKING for cause in causes):
        causes += check_rules(kind, new, old)
    return causes


def _copy(obj: Object) -> tuple[Object, int]:
    """A copy but for the managedFields, which are the same, and the bytes of what was copied."""
    if not isinstance(obj, dict):
        raise BadRequest("the object provided is unrecognized: it must be an object with apiVersion and kind")
    meta = obj.get("metadata")
    entries = meta.get(MANAGED_FIELDS) if isinstance(meta, dict) else None
    if entries and meta:
        # The longest part by far, which nobody changes in place; what is wrong in it is found by who reads it.
        obj = {**obj, "metadata": {name: value for name, value in meta.items() if name != MANAGED_FIELDS}}
    try:
        # Encoding also refuses what could not be stored: deep nesting, numbers and keys that are not JSON.
        encoded = orjson.dumps(obj)
        copied: Object = orjson.loads(encoded)
    except (orjson.JSONEncodeError, orjson.JSONDecodeError) as err:
        raise BadRequest(f"the object provided cannot be encoded as JSON: {err}") from err
    if entries:
        copied["metadata"][MANAGED_FIELDS] = entries
    return copied, len(encoded)


def report_unknown(kind: Kind, unknown: list[str], write: Write) -> None:
    """Refuse, warn of or pass over unknown fields, as ``write`` wants it. Raises BadRequest."""
    if not unknown:
        return
    if write.field_validation is FieldValidation.STRICT:
        raise BadRequest(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
            f"strict decoding error: {', '.join(unknown)}"
        )
    if write.field_validation is FieldValidation.WARN:
        for text in unknown:
            write.warn(text)


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
    added = [name for name in wanted if name not in present]
    if not added:
        return []
    shown = ", ".join(orjson.dumps(name).decode() for name in added)
    text = (
        "Forbidden: no new finalizers can be added if the object is being deleted, "
        f"found new finalizers []string{{{shown}}}"
    )
    return [Cause("metadata.finalizers", text, "FieldValueForbidden")]


def _differs_outside(new: Object, old: Object, *apart: str) -> bool:
    for key, value in new.items():
        if key not in apart and value != old.get(key):
            return True
    return any(key not in new and key not in apart and value is not None for key, value in old.items())
