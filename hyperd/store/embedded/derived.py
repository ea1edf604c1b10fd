"""Kinds that nobody writes and nothing stores: each object is made, when it is read, from one that is stored.

On one machine claims and volumes are so: the status of a disk, or of an image on a volume, names its claim, and
clients of Kubernetes look for it; and so are machines' instances (``instances.py``). The resourceVersion is that
object's, so lists and watches are as consistent as its own.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, TypeVar, Unpack

from hyperd.resources.core.storage_class import PROVISIONER
from hyperd.resources.schema.kind import Kind, Object, Registry, V
from hyperd.resources.values.charges import MADE, claim_of, claimed_bytes
from hyperd.resources.values.names import (
    GROUP,
    INSTANCE_GROUP,
    STORAGE_CLASS_VOLUME_MODE_ANNOTATION,
    SYSTEM_NAMESPACE,
)
from hyperd.resources.values.quantity import format_bytes
from hyperd.slices import sliced
from hyperd.store.embedded.instances import (
    DEVICES,
    INSTANCES,
    MACHINES,
    Devices,
    devices_of,
    instance_of,
    machine_of,
    used_by,
)
from hyperd.store.embedded.memory import not_found
from hyperd.store.embedded.reading import EmbeddedReader
from hyperd.store.interface import (
    EVERYTHING,
    EventType,
    Following,
    Item,
    Listing,
    Selector,
    Store,
    Watch,
    WatchEvent,
)
from hyperd.store.paging import read_token
from hyperd.store.records import Stored
from hyperd.store.selecting import check_selector, selects
from hyperd.store.unstored import ReadOnly, page


@dataclass(frozen=True, slots=True)
class Volumes:
    """What a StorageClass makes: by whom, and of which ``volumeMode``."""

    provisioner: str = PROVISIONER
    mode: str = "Filesystem"


Classes = Mapping[str, Volumes]
"""By their names."""
A = TypeVar("A")

_LOST: Final = "PVCLost"


@dataclass(frozen=True, slots=True)
class Derivation(Generic[A]):
    """How objects are made."""

    derive: Callable[[Object, A], Object | None]
    """From a stored object to the derived one without apiVersion and kind; None where there is none."""
    around: Callable[[Sequence[Item]], Awaitable[A]]
    """What else of the store is needed to derive from these."""
    part: Callable[[Object, A], Hashable]
    """What of that decides about the one that is derived from an object."""


class DerivedStore(ReadOnly, Generic[A]):
    """``Store`` of one such kind; it is only read."""

    def __init__(
        self,
        store: EmbeddedReader,
        sources: Sequence[Kind],
        kind: Kind,
        derivation: Derivation[A],
    ) -> None:
        self._store = store
        self._sources = sources
        self._kind = kind
        self._derivation = derivation
        self._last: dict[str, Stored] = {}
        """uid of the source → what was made of it last, also where by now there is nothing to be made of it."""
        self._known: dict[str, tuple[str, Hashable, Stored | None]] = {}
        """uid of the source → its version and what else decided, what was made of it."""

    async def get(self, kind: Kind, namespace: str, name: str, *, subresource: str = "") -> Item:
        for made in await self._all(namespace or None):
            if made.name == name:
                return made
        raise not_found(self._kind, name)

    async def find(self, kind: Kind[V], namespace: str, name: str) -> V | None:
        found = (made for made in await self._all(namespace or None) if made.name == name)
        return next((made.object() for made in found), None)

    async def find_all(self, kind: Kind[V], namespace: str | None = None) -> Sequence[V]:
        return [made.object() for made in await self._all(namespace)]

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        selector: Selector = EVERYTHING,
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
        match: str = "",
    ) -> Listing:
        """Pages are of their own moment; all name the first one's version, as those of stored kinds."""
        check_selector(self._kind, selector)
        first, after = read_token(continue_token) if continue_token else (0, ("", ""))
        found = [
            await self._store.list(source, namespace, resource_version=resource_version, match=match)
            for source in self._sources
        ]
        items = [item for one in found for item in one.items]
        self._forget(items, namespace)
        made = await self._made_of(items)
        chosen = [one for one in made if selects(self._kind, selector, one)]
        # What a later one has seen beyond the first is told again by a watch from here.
        version = str(first) if first > 0 else min((one.resource_version for one in found), key=int)
        return page(chosen, version, after=after, limit=limit, counted=not selector)

    @asynccontextmanager
    async def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        selector: Selector = EVERYTHING,
        **asked: Unpack[Following],
    ) -> AsyncIterator[Watch]:
        check_selector(self._kind, selector)
        async with self._store.watch_all(self._sources, namespace, **asked) as watch:
            yield self._events(watch, selector)

    async def _events(self, watch: Watch, selector: Selector) -> AsyncIterator[WatchEvent]:
        """What enters is ADDED; what was there before the watch began may be ADDED again, which clients take."""
        shown: dict[str, Stored] = {}
        """By the uid of the source."""
        ended: set[str] = set()
        """Sources of which nothing is made any more, as was told."""
        async for event in watch:
            if event.type is EventType.BOOKMARK:
                version, ends = event.item.resource_version, event.initial_events_end
                yield WatchEvent.bookmark(self._kind, version, initial_events_end=ends)
                continue
            uid, last = event.item.uid, self._last.get(event.item.uid)
            made = self._made(event.item, await self._derivation.around([event.item]))
            if made is None:
                if last is not None and uid not in ended:  # who has listed it is to know
                    gone = Stored.encode(self._kind, last.object(), int(event.item.resource_version))
                    if selects(self._kind, selector, gone):
                        yield WatchEvent(EventType.DELETED, gone)
                ended.add(uid)
                shown.pop(uid, None)
                continue
            ended.discard(uid)
            there = selects(self._kind, selector, made)
            if event.type is EventType.DELETED or not there:
                if uid in shown or (there and event.type is EventType.DELETED):
                    yield WatchEvent(EventType.DELETED, made)
                shown.pop(uid, None)
                self._known.pop(uid, None)
                if event.type is EventType.DELETED:
                    self._last.pop(uid, None)
                continue
            before = shown.get(uid)
            if before is not None and before.uid != made.uid:
                gone = Stored.encode(self._kind, before.object(), int(made.resource_version))
                yield WatchEvent(EventType.DELETED, gone)
                before = None
            yield WatchEvent(EventType.ADDED if before is None else EventType.MODIFIED, made)
            shown[uid] = made

    async def _all(self, namespace: str | None) -> Sequence[Stored]:
        found = [await self._store.list(source, namespace) for source in self._sources]
        return await self._made_of([item for one in found for item in one.items])

    async def _made_of(self, items: Sequence[Item]) -> Sequence[Stored]:
        make = partial(self._made, around=await self._derivation.around(items))
        made = await sliced(items, make, lambda item: len(item.raw))
        return [one for one in made if one is not None]

    def _made(self, item: Item, around: A) -> Stored | None:
        source = item.object()
        part = self._derivation.part(source, around)
        known = self._known.get(item.uid)
        if known is not None and known[:2] == (item.resource_version, part):
            return known[2]
        made = self._derivation.derive(source, around)
        encoded = None
        if made is not None:
            body = {"apiVersion": self._kind.api_version, "kind": self._kind.kind, **made}
            encoded = self._last[item.uid] = Stored.encode(self._kind, body, int(item.resource_version))
        self._known[item.uid] = (item.resource_version, part, encoded)
        return encoded

    def _forget(self, items: Sequence[Item], namespace: str | None) -> None:
        """Drop what was made of objects that are gone, once there is much of it."""
        if namespace is None and len(self._known) > 2 * len(items) + 64:
            there = {item.uid for item in items}
            self._known = {uid: known for uid, known in self._known.items() if uid in there}
            self._last = {uid: made for uid, made in self._last.items() if uid in there}

    def refusal(self) -> str:
        sources = " and ".join(source.plural for source in self._sources)
        return f"{self._kind.plural} are made from {sources} and cannot be written"


def derived_of(store: Store, kinds: Registry) -> Mapping[Kind, Store]:
    """The stores of such kinds, where the registry has them; a cluster's home has its own, or none."""
    if not isinstance(store, EmbeddedReader):
        return {}
    found: dict[Kind, Store] = {}
    sources = _found(kinds, GROUP, "virtualdisks", "virtualimages")
    classes = kinds.by_resource("storage.k8s.io", "storageclasses")

    async def volumes(_: Sequence[Item]) -> Classes:
        listed = [] if classes is None else await store.find_all(classes)
        return {class_["metadata"]["name"]: _volumes_of(class_) for class_ in listed}

    for plural, derive in (("persistentvolumeclaims", _claim), ("persistentvolumes", _volume)):
        if sources and (kind := kinds.by_resource("", plural)) is not None:
            found[kind] = DerivedStore(store, sources, kind, Derivation(derive, volumes, _volumes))
    machines = _found(kinds, GROUP, "virtualmachines")
    devices = {kind.kind: kind for kind in _found(kinds, GROUP, *DEVICES)}

    async def used(items: Sequence[Item]) -> Devices:
        return await devices_of(store, devices, items)

    internal: Mapping[str, Callable[[Object, Devices], Object | None]]
    internal = {INSTANCES: instance_of, MACHINES: machine_of}
    for plural, make in internal.items():
        if machines and (kind := kinds.by_resource(INSTANCE_GROUP, plural)) is not None:
            found[kind] = DerivedStore(store, machines, kind, Derivation(make, used, used_by))
    return found


def _found(kinds: Registry, group: str, *plurals: str) -> Sequence[Kind]:
    named = (kinds.by_resource(group, plural) for plural in plurals)
    return [kind for kind in named if kind is not None]


def _volumes_of(class_: Object) -> Volumes:
    told = (class_["metadata"].get("annotations") or {}).get(STORAGE_CLASS_VOLUME_MODE_ANNOTATION)
    return Volumes(class_.get("provisioner") or PROVISIONER, "Block" if told == "Block" else "Filesystem")


def _volumes(disk: Object, classes: Classes) -> Volumes:
    """Who has made the disk's volume; of a class that is gone, who made that of the first one."""
    return classes.get((disk.get("status") or {}).get("storageClassName") or "") or Volumes()


def _claim(disk: Object, classes: Classes) -> Object | None:
    """The PersistentVolumeClaim that the disk's status names."""
    meta, status = disk["metadata"], disk.get("status") or {}
    if not (name := claim_of(disk)):
        return None
    uid, lost, capacity = _claim_uid(disk), status.get("phase") == _LOST, _capacity(disk)
    size = format_bytes(claimed_bytes(disk))
    owner = {"apiVersion": disk["apiVersion"], "kind": disk["kind"], "name": meta["name"], "uid": meta["uid"]}
    return {
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "uid": uid,
            "creationTimestamp": meta["creationTimestamp"],
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
            **_inherited(meta),
        },
        "spec": {
            **_common(status, _volumes(disk, classes).mode),
            "resources": {"requests": {"storage": size}},
            **({"volumeName": _volume_name(disk)} if capacity else {}),
        },
        "status": {
            "phase": "Lost" if lost else "Bound" if capacity else "Pending",
            **({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": capacity}} if capacity else {}),
        },
    }


def _volume(disk: Object, classes: Classes) -> Object | None:
    """The PersistentVolume behind that claim."""
    provisioner = _volumes(disk, classes).provisioner
    claim, meta, status = _claim(disk, classes), disk["metadata"], disk.get("status") or {}
    lost, size = status.get("phase") == _LOST, _capacity(disk)
    if claim is None or not size or lost or meta["namespace"] == SYSTEM_NAMESPACE:
        # Of the system's namespace nothing shows where everybody looks.
        return None
    return {
        "metadata": {
            "name": _volume_name(disk),
            "uid": _uid(_claim_uid(disk), "volume"),
            "creationTimestamp": meta["creationTimestamp"],
            "annotations": {"pv.kubernetes.io/provisioned-by": provisioner},
        },
        "spec": {
            **_common(status, _volumes(disk, classes).mode),
            "capacity": {"storage": size},
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": meta["namespace"],
                "name": claim["metadata"]["name"],
                "uid": claim["metadata"]["uid"],
            },
            "csi": {"driver": provisioner, "volumeHandle": meta["uid"]},
        },
        "status": {"phase": "Bound"},
    }


def _capacity(source: Object) -> str:
    """Of a disk or image that has had its volume, which one that goes has until the end; else empty."""
    status = source.get("status") or {}
    there = status.get("capacity") or (status.get("size") or {}).get("unpackedBytes")
    if not there or status.get("phase") not in (*MADE, "Terminating"):
        return ""
    return str(status.get("capacity") or format_bytes(claimed_bytes(source)))


def _common(status: Object, mode: str) -> Object:
    class_ = status.get("storageClassName")
    return {
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": mode,
        **({"storageClassName": class_} if class_ else {}),
    }


def _inherited(meta: Object) -> Object:
    return {name: meta[name] for name in ("labels", "deletionTimestamp") if name in meta}


def _volume_name(disk: Object) -> str:
    return f"pvc-{_claim_uid(disk)}"


def _claim_uid(disk: Object) -> str:
    """Another one each time that the disk is moved, as its name then is."""
    uid, name = disk["metadata"]["uid"], disk["status"]["target"]["persistentVolumeClaimName"]
    return _uid(uid if name.endswith(uid) else name, "claim")


def _uid(of: str, what: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{GROUP}/{what}/{of}"))
