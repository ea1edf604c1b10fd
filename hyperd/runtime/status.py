"""How controllers write back: status and finalizers, and only what changed.

The rule it keeps: a write that changes nothing is not made, and a write that lost a race is tried again soon from
the newer object, never forced over it.
"""

from __future__ import annotations

from contextlib import suppress

import orjson

from hyperd.errors import Conflict, NotFound, TemporaryError
from hyperd.resources.schema.kind import AnyObject, Kind, V
from hyperd.store.interface import BY_SYSTEM, PatchType, Preconditions, Store, Write

RACE = "Conflict"
"""Key of the TemporaryError of a lost race, which is nothing to tell an administrator about."""
RACE_DELAY_SECONDS = 0.02


def _lost(kind: Kind, obj: AnyObject) -> TemporaryError:
    meta = obj["metadata"]
    where = f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else meta["name"]
    return TemporaryError(
        f"{kind.kind} {where} changed while its status was made; looking again.",
        key=RACE,
        delay=RACE_DELAY_SECONDS,
    )


async def update_status(store: Store, kind: Kind[V], before: V, after: V) -> V:
    """Write ``after['status']`` if it differs from ``before``'s; returns the object as it is stored now.

    Raises TemporaryError when the object changed since ``before`` was read. An object that is gone has no
    status to write: ``after`` comes back as it is.
    """
    if before.get("status") == after.get("status"):
        return before
    meta = before["metadata"]
    # Controllers write enums, and what is stored are the strings that they stand for.
    body = {**before, "status": orjson.loads(orjson.dumps(after.get("status", {})))}
    try:
        item = await store.update(kind, meta.get("namespace", ""), meta["name"], body, subresource="status")
    except Conflict as err:
        raise _lost(kind, before) from err
    except NotFound:
        return after
    return item.object()


async def make_sure(store: Store, kind: Kind, obj: AnyObject) -> None:
    """Where no write proves it: the store itself has ``obj`` as it was seen. Raises TemporaryError if not."""
    meta = obj["metadata"]
    try:
        item = await store.get(kind, meta.get("namespace", ""), meta["name"])
    except NotFound as err:
        raise _lost(kind, obj) from err
    if (item.uid, item.resource_version) != (meta["uid"], meta["resourceVersion"]):
        raise _lost(kind, obj)


async def delete_this(store: Store, kind: Kind, obj: AnyObject, *, write: Write = BY_SYSTEM) -> None:
    """Delete this very object: one that is gone, or another one of its name by now, is no concern of ours."""
    known = obj["metadata"]
    with suppress(Conflict, NotFound):
        only = Preconditions(uid=known["uid"])
        await store.delete(kind, known.get("namespace", ""), known["name"], preconditions=only, write=write)


async def add_finalizer(store: Store, kind: Kind[V], obj: V) -> V:
    """Make sure that ``obj`` has its kind's finalizer; returns the object as it is stored now.

    An object that is being deleted gets no new finalizer and is returned as it is.
    """
    meta = obj["metadata"]
    present = meta.get("finalizers", [])
    if kind.finalizer in present or meta.get("deletionTimestamp"):
        return obj
    return await _set_finalizers(store, kind, obj, [*present, kind.finalizer])


async def remove_finalizer(store: Store, kind: Kind[V], obj: V, *, finalizer: str = "") -> V | None:
    """Make sure that ``obj`` has not its kind's ``finalizer``, or the one named; None if it was gone already.

    Removing the last one of an object that is being deleted deletes it; its last state comes back.
    """
    present, finalizer = obj["metadata"].get("finalizers", []), finalizer or kind.finalizer
    if finalizer not in present:
        return obj
    try:
        return await _set_finalizers(store, kind, obj, [name for name in present if name != finalizer])
    except NotFound:
        return None


async def _set_finalizers(store: Store, kind: Kind[V], obj: V, finalizers: list[str]) -> V:
    meta = obj["metadata"]
    patch = {"metadata": {"finalizers": finalizers, "resourceVersion": meta["resourceVersion"]}}
    try:
        item = await store.patch(kind, meta.get("namespace", ""), meta["name"], PatchType.MERGE, patch)
    except Conflict as err:
        raise _lost(kind, obj) from err
    return item.object()
