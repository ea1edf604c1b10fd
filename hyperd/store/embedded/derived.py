"""Kinds that nobody writes and nothing stores: each object is made, when it is read, from one that is stored.

On one machine claims and volumes are so: a disk's status names its claim, and clients of Kubernetes look for it.
The resourceVersion is the disk's, so lists and watches are as consistent as its own.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from hyperd.resources.core.storage_class import PROVISIONER
from hyperd.resources.schema.kind import Kind, Object, Registry, V
from hyperd.resources.values.charges import MADE, claim_of, claimed_bytes
from hyperd.resources.values.names import GROUP, STORAGE_CLASS_VOLUME_MODE_ANNOTATION, SYSTEM_NAMESPACE
from hyperd.resources.values.quantity import format_bytes
from hyperd.slices import sliced
from hyperd.store.embedded.memory import not_found
from hyperd.store.interface import EVERYTHING, EventType, Item, Listing, Selector, Store, Watch, WatchEvent
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
Derive = Callable[[Object, Classes], Object | None]
"""From a stored object to the derived one without apiVersion and kind; None where there is none."""

_LOST: Final = "PVCLost"


class DerivedStore(ReadOnly):
    """``Store`` of one such kind; it is only read."""

    def __init__(self, store: Store, source: Kind, kind: Kind, derive: Derive, *, classes: Kind | None) -> None:
        """``classes`` are StorageClasses, where the registry of kinds has them."""
        self._store = store
        self._classes = classes
        self._source = source
        self._kind = kind
        self._derive = derive
        self._known: dict[str, tuple[str, Volumes, Stored | None]] = {}
        """uid of the source → its version and what its class makes, what was made of it."""

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
        found = await self._store.list(self._source, namespace, resource_version=resource_version, match=match)
        self._forget(found.items, namespace)
        made = await self._made_of(found.items)
        chosen = [one for one in made if selects(self._kind, selector, one)]
        version = str(first) if first > 0 else found.resource_version
        return page(chosen, version, after=after, limit=limit, counted=not selector)

    @asynccontextmanager
    async def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        selector: Selector = EVERYTHING,
        resource_version: str = "",
        bookmarks: bool = False,
        send_initial: bool | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Watch]:
        check_selector(self._kind, selector)
        watching = self._store.watch(
            self._source,
            namespace,
            resource_version=resource_version,
            bookmarks=bookmarks,
            send_initial=send_initial,
            timeout=timeout,
        )
        async with watching as watch:
            yield self._events(watch, selector)

    async def _events(self, watch: Watch, selector: Selector) -> AsyncIterator[WatchEvent]:
        """What enters is ADDED; what was there before the watch began may be ADDED again, which clients take."""
        shown: dict[str, Stored] = {}
        """By the uid of the source."""
        async for event in watch:
            classes = await self._volumes()
            if event.type is EventType.BOOKMARK:
                version, ends = event.item.resource_version, event.initial_events_end
                yield WatchEvent.bookmark(self._kind, version, initial_events_end=ends)
                continue
            made = self._made(event.item, classes)
            uid = event.item.uid
            there = made is not None and selects(self._kind, selector, made)
            if made is None:
                continue
            if event.type is EventType.DELETED or not there:
                if uid in shown or (there and event.type is EventType.DELETED):
                    yield WatchEvent(EventType.DELETED, made)
                shown.pop(uid, None)
                self._known.pop(uid, None)
                continue
            before = shown.get(uid)
            if before is not None and before.uid != made.uid:
                gone = Stored.encode(self._kind, before.object(), int(made.resource_version))
                yield WatchEvent(EventType.DELETED, gone)
                before = None
            yield WatchEvent(EventType.ADDED if before is None else EventType.MODIFIED, made)
            shown[uid] = made

    async def _all(self, namespace: str | None) -> Sequence[Stored]:
        return await self._made_of((await self._store.list(self._source, namespace)).items)

    async def _made_of(self, items: Sequence[Item]) -> Sequence[Stored]:
        make = partial(self._made, classes=await self._volumes())
        made = await sliced(items, make, lambda item: len(item.raw))
        return [one for one in made if one is not None]

    async def _volumes(self) -> Classes:
        if self._classes is None:
            return {}
        found = await self._store.find_all(self._classes)
        return {class_["metadata"]["name"]: _volumes_of(class_) for class_ in found}

    def _made(self, item: Item, classes: Classes) -> Stored | None:
        source = item.object()
        volumes = _volumes(source, classes)
        known = self._known.get(item.uid)
        if known is not None and known[:2] == (item.resource_version, volumes):
            return known[2]
        made = self._derive(source, classes)
        encoded = None
        if made is not None:
            body = {"apiVersion": self._kind.api_version, "kind": self._kind.kind, **made}
            encoded = Stored.encode(self._kind, body, int(item.resource_version))
        self._known[item.uid] = (item.resource_version, volumes, encoded)
        return encoded

    def _forget(self, items: Sequence[Item], namespace: str | None) -> None:
        """Drop what was made of objects that are gone, once there is much of it."""
        if namespace is None and len(self._known) > 2 * len(items) + 64:
            there = {item.uid for item in items}
            self._known = {uid: known for uid, known in self._known.items() if uid in there}

    def refusal(self) -> str:
        return f"{self._kind.plural} are made from {self._source.plural} and cannot be written"


def derived_of(store: Store, kinds: Registry) -> Mapping[Kind, Store]:
    """The stores of claims and volumes, where the registry has them and disks."""
    source = kinds.by_resource(GROUP, "virtualdisks")
    wanted = {"persistentvolumeclaims": _claim, "persistentvolumes": _volume}
    found = {plural: kinds.by_resource("", plural) for plural in wanted}
    classes = kinds.by_resource("storage.k8s.io", "storageclasses")
    return {
        kind: DerivedStore(store, source, kind, wanted[plural], classes=classes)
        for plural, kind in found.items()
        if kind is not None and source is not None
    }


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
    uid, lost, made = _claim_uid(disk), status.get("phase") == _LOST, _is_made(disk)
    size, capacity = format_bytes(claimed_bytes(disk)), status.get("capacity")
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
            **({"volumeName": _volume_name(disk)} if made else {}),
        },
        "status": {
            "phase": "Lost" if lost else "Bound" if made else "Pending",
            **({"accessModes": ["ReadWriteOnce"]} if made else {}),
            **({"capacity": {"storage": capacity}} if made and capacity else {}),
        },
    }


def _volume(disk: Object, classes: Classes) -> Object | None:
    """The PersistentVolume behind that claim."""
    provisioner = _volumes(disk, classes).provisioner
    claim, meta, status = _claim(disk, classes), disk["metadata"], disk.get("status") or {}
    if (
        claim is None
        or not _is_made(disk)
        or status.get("phase") == _LOST
        or meta["namespace"] == SYSTEM_NAMESPACE
    ):
        # Of the system's namespace nothing shows where everybody looks.
        return None
    size = status.get("capacity")
    return {
        "metadata": {
            "name": _volume_name(disk),
            "uid": _uid(_claim_uid(disk), "volume"),
            "creationTimestamp": meta["creationTimestamp"],
            "annotations": {"pv.kubernetes.io/provisioned-by": provisioner},
        },
        "spec": {
            **_common(status, _volumes(disk, classes).mode),
            "capacity": {"storage": size} if size else {},
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


def _is_made(disk: Object) -> bool:
    """Whether it has had its volume; one that goes has that until the end."""
    status = disk.get("status") or {}
    return bool(status.get("capacity")) and status.get("phase") in (*MADE, "Terminating")


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
