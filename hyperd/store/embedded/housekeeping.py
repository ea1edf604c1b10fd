"""What Kubernetes' garbage collector and namespace controller do, for the home that has neither.

The rule it keeps: level-triggered. A change only says "look here"; what is to be done follows from the objects as
they are, so a restart in the middle finds the same work again and finishes it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from hyperd.background import Background
from hyperd.backoff import backoff
from hyperd.errors import Conflict, HyperdError, NotFound
from hyperd.resources.schema.kind import Kind, Object
from hyperd.slices import STEP_BYTES
from hyperd.store.embedded.deletion import FOREGROUND, ORPHAN
from hyperd.store.embedded.ledger import Ledger
from hyperd.store.embedded.memory import Memory, Place
from hyperd.store.grammar.core_kinds import is_namespace
from hyperd.store.interface import EventType, Item, PatchType, Preconditions, Propagation
from hyperd.store.records import Change, Stored

_log = logging.getLogger(__name__)

_FIRST_RETRY_SECONDS = 0.05
_LAST_RETRY_SECONDS = 30.0
_AT_ONCE = 64
"""Deletions that share a commit."""
_TELL_SECONDS = 2.0
"""A namespace that is gone sooner shows nothing of what is left, and one with much not each object that goes."""


class Writer(Protocol):
    """What housekeeping needs of the store."""

    async def patch(self, kind: Kind, namespace: str, name: str, patch_type: PatchType, patch: object) -> Item: ...

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        preconditions: Preconditions,
        propagation: Propagation,
    ) -> tuple[Item, bool]: ...

    async def finalize_namespace(self, name: str) -> None: ...

    async def tell_of_namespace(self, name: str, left: Iterable[tuple[Kind, Item]]) -> None: ...


class Housekeeper:
    """One task that looks at the places which changes point to."""

    def __init__(self, store: Writer, memory: Memory, ledger: Ledger) -> None:
        self._store = store
        self._memory = memory
        self._ledger = ledger
        self._queue: deque[Place] = deque()
        self._queued: set[Place] = set()
        self._failures: dict[Place, int] = {}
        self._timers: dict[Place, asyncio.TimerHandle] = {}
        self._telling: dict[Place, float] = {}
        """Namespaces that are being deleted, and when they show what is left, by the loop's clock."""
        self._more = asyncio.Event()
        self._background = Background()

    def start(self) -> None:
        """Look at everything once, then at what changes."""
        for place, item in self._memory.places():
            if item.owners or item.deleting:
                self._look(place)
        self._background.spawn(self._run, "store housekeeping")

    async def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        await self._background.stop()

    def observe(self, changes: Sequence[Change]) -> None:
        """Note where the changes may leave work."""
        for change in changes:
            item = change.item
            if change.type is EventType.DELETED:
                for place in self._memory.owned(item.uid):
                    self._look(place)
                self._look_at_owners(item.owners)
                self._look_at_namespace(item.namespace)
            elif item.owners or item.deleting:
                self._look(Place(change.kind, item.namespace, item.name))
                self._look_at_owners(item.owners)

    def _look_at_owners(self, owners: Sequence[str]) -> None:
        for uid in owners:
            place = self._memory.place(uid)
            if place is not None:
                owner = self._memory.get(*place)
                if owner is not None and owner.deleting:
                    self._look(place)

    def _look_at_namespace(self, namespace: str) -> None:
        for kind in self._memory.kinds() if namespace else ():
            if is_namespace(kind):
                home = self._memory.get(kind, "", namespace)
                if home is not None and home.deleting:
                    self._look(Place(kind, "", namespace))

    def _look(self, place: Place) -> None:
        if place not in self._queued:
            self._queued.add(place)
            self._queue.append(place)
            self._more.set()

    async def _run(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._queue:
                place = self._queue.popleft()
                self._queued.discard(place)
                try:
                    await self._tend(place)
                except (NotFound, Conflict):
                    # It changed meanwhile; look at what it is now.
                    self._later(place)
                except HyperdError as err:
                    delay = self._later(place)
                    _log.warning(
                        "Cleaning up %s %s failed, trying again in %.1f s: %s",
                        place.kind.plural, place.name, delay, err,
                    )  # fmt: skip
                except Exception:  # noqa: BLE001  border: one object's fault must not stop the collection
                    self._later(place)
                    _log.exception("Cleaning up %s %s failed", place.kind.plural, place.name)
                else:
                    self._failures.pop(place, None)

    def _later(self, place: Place) -> float:
        failures = self._failures[place] = self._failures.get(place, 0) + 1
        delay = backoff(failures, first=_FIRST_RETRY_SECONDS, last=_LAST_RETRY_SECONDS)
        pending = self._timers.pop(place, None)
        if pending is not None:
            pending.cancel()
        self._timers[place] = asyncio.get_running_loop().call_later(delay, self._due, place)
        return delay

    def _due(self, place: Place) -> None:
        self._timers.pop(place, None)
        self._look(place)

    async def _tend(self, place: Place) -> None:
        item = self._memory.get(*place)
        if item is None:
            self._failures.pop(place, None)
            return
        if not item.deleting:
            if item.owners:
                await self._collect(place, item)
            return
        finalizers = item.object()["metadata"].get("finalizers") or ()
        if ORPHAN in finalizers:
            await self._orphan(place, item)
        elif FOREGROUND in finalizers:
            await self._delete_owned_first(place, item)
        elif is_namespace(place.kind):
            await self._empty(place)

    async def _collect(self, place: Place, item: Item) -> None:
        """Delete an object all of whose owners are gone; forget owners that are gone while others stay."""
        obj = item.object()
        references = obj["metadata"]["ownerReferences"]
        alive = [ref for ref in references if self._alive(ref, item.namespace)]
        if len(alive) == len(references):
            return
        if alive:
            await self._set_owners(place, obj, alive)
        else:
            await self._delete(place, item.uid, Propagation.BACKGROUND)

    async def _orphan(self, place: Place, item: Item) -> None:
        for child in self._memory.owned(item.uid):
            owned = self._memory.get(*child)
            if owned is not None:
                obj = owned.object()
                kept = [ref for ref in obj["metadata"]["ownerReferences"] if ref["uid"] != item.uid]
                await self._set_owners(child, obj, kept)
        await self._drop_finalizer(place, item, ORPHAN)

    async def _delete_owned_first(self, place: Place, item: Item) -> None:
        """Foreground: the owned objects go first, and those that block are waited for."""
        stored = self._memory.get(*place)
        blocking, awaiting = False, set() if stored is None else await self._awaiting(stored)
        for child in self._memory.owned(item.uid):
            await asyncio.sleep(0)
            owned = self._memory.get(*child)
            if owned is None:
                continue
            obj = owned.object()
            references = obj["metadata"]["ownerReferences"]
            others = [ref for ref in references if ref["uid"] != item.uid]
            if any(self._stays(ref, owned.namespace) for ref in others):
                await self._set_owners(child, obj, others)
                continue
            blocks = any(ref["uid"] == item.uid and ref.get("blockOwnerDeletion") for ref in references)
            blocking |= blocks and owned.uid not in awaiting
            if not owned.deleting:
                await self._delete(child, owned.uid, Propagation.FOREGROUND)
        if not blocking or not self._memory.owned(item.uid):
            await self._drop_finalizer(place, item, FOREGROUND)

    async def _awaiting(self, item: Stored) -> set[str]:
        """Uids of what waits for the object to go, by way of others or not: they own each other. Its own is one.

        Looked for from there upwards, each of them once: who may write owners may have many own many.
        """
        found, ahead, spent = {item.uid}, [item], 0
        while ahead:
            one = ahead.pop()
            for uid in one.owners:
                place = self._memory.place(uid)
                if uid in found or place is None or place.namespace not in ("", one.namespace):
                    continue
                owner = self._memory.get(*place)
                if owner is None or not owner.deleting:
                    continue
                spent += len(owner.raw)
                if FOREGROUND in (owner.object()["metadata"].get("finalizers") or ()):
                    found.add(owner.uid)
                    ahead.append(owner)
            if spent > STEP_BYTES:
                spent = 0
                await asyncio.sleep(0)
        return found

    async def _empty(self, place: Place) -> None:
        """Delete a namespace's content, and let it go when nothing is left or on its way in."""
        doomed = [
            (Place(kind, stored.namespace, stored.name), stored.uid)
            for kind, stored in self._content(place.name)
            if not stored.deleting
        ]
        for start in range(0, len(doomed), _AT_ONCE):
            results = await asyncio.gather(
                *(
                    self._delete(child, uid, Propagation.BACKGROUND)
                    for child, uid in doomed[start : start + _AT_ONCE]
                ),
                return_exceptions=True,
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result
        if self._ledger.writing_in(place.name):
            self._later(place)
            return
        left = self._content(place.name)
        if left:
            await self._tell(place, left)
        else:
            self._telling.pop(place, None)
            await self._store.finalize_namespace(place.name)

    def _content(self, namespace: str) -> list[tuple[Kind, Stored]]:
        kinds = [kind for kind in self._memory.kinds() if kind.namespaced]
        return [(kind, stored) for kind in kinds for stored in self._memory.table(kind).walk(namespace)]

    async def _tell(self, place: Place, left: list[tuple[Kind, Stored]]) -> None:
        loop = asyncio.get_running_loop()
        due = self._telling.setdefault(place, loop.time() + _TELL_SECONDS)
        if loop.time() >= due:
            self._telling[place] = loop.time() + _TELL_SECONDS
            await self._store.tell_of_namespace(place.name, left)
        elif place not in self._timers:
            self._timers[place] = loop.call_at(due, self._due, place)

    def _alive(self, ref: Object, namespace: str) -> bool:
        """Whether an owner exists. An owner of a kind that is not served here is nobody's to judge."""
        group = ref["apiVersion"].rpartition("/")[0]
        if not any(kind.group == group and kind.kind == ref["kind"] for kind in self._memory.kinds()):
            return True
        place = self._memory.place(ref["uid"])
        return place is not None and place.namespace in ("", namespace)

    def _stays(self, ref: Object, namespace: str) -> bool:
        if not self._alive(ref, namespace):
            return False
        place = self._memory.place(ref["uid"])
        owner = self._memory.get(*place) if place is not None else None
        return owner is None or not owner.deleting

    async def _delete(self, place: Place, uid: str, propagation: Propagation) -> None:
        with suppress(NotFound):
            await self._store.delete(*place, preconditions=Preconditions(uid=uid), propagation=propagation)

    async def _set_owners(self, place: Place, obj: Object, owners: list[Object]) -> None:
        version = obj["metadata"]["resourceVersion"]
        patch = {"metadata": {"ownerReferences": owners or None, "resourceVersion": version}}
        await self._store.patch(*place, PatchType.MERGE, patch)

    async def _drop_finalizer(self, place: Place, item: Item, finalizer: str) -> None:
        kept = [name for name in item.object()["metadata"]["finalizers"] if name != finalizer]
        patch = {"metadata": {"finalizers": kept or None, "resourceVersion": item.resource_version}}
        await self._store.patch(*place, PatchType.MERGE, patch)
