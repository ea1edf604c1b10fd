"""The claims of the disks that are bound to this node, and the Pods here by which their volumes are reached."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hyperd.background import to_the_end
from hyperd.controllers import usage
from hyperd.controllers.claims import first_claim
from hyperd.controllers.context import Context
from hyperd.controllers.ownership import disk_node
from hyperd.controllers.pod import claims
from hyperd.controllers.pod.claims import Claims, Mount, is_of
from hyperd.errors import Conflict, NotFound, TemporaryError
from hyperd.launcher import mounts
from hyperd.launcher.connection import Launcher
from hyperd.resources.all import PERSISTENT_VOLUME_CLAIM, VIRTUAL_DISK, VIRTUAL_MACHINE
from hyperd.resources.core import storage_class
from hyperd.resources.schema.kind import Object
from hyperd.resources.values import names
from hyperd.resources.values.quantity import format_bytes
from hyperd.runtime.status import delete_this
from hyperd.storage.claims import Claim
from hyperd.storage.claims import Claims as NodesClaims
from hyperd.store.interface import PatchType

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk
    from hyperd.resources.views.virtual_machine import VirtualMachine

_NOTES = 1_000
"""So many are kept at most."""
Find = Callable[["VirtualMachine", str], Launcher | None]
"""The launcher of the machine's Pod on this node, if that has the claim of that name."""
FindFilling = Callable[["VirtualDisk"], Launcher | None]
"""That of the disk's filling Pod on this node."""
Told = Callable[["VirtualMachine", str], str]
"""Why the Pod by which that claim comes to the machine's guest is not there, as a sentence; empty for nothing."""


class NodeClaims(NodesClaims):
    """As the storage of claims asks for them. Found anew each time; others know the Pods."""

    def __init__(
        self, context: Context, find: Find, find_filling: FindFilling, told: Told = lambda *_: ""
    ) -> None:
        self._context = context
        self._told = told
        self._find = find
        self._find_filling = find_filling
        self._disks = context.informer(VIRTUAL_DISK)
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._claims = Claims(context)
        self._noted: dict[str, int] = {}
        """By claims' uids, of which the informer may not have heard yet."""
        self._disks.add_index(usage.UID_INDEX, usage.uid_of)
        usage.index_machines(self._machines)

    def get(self, uid: str) -> Claim | None:
        found = self._bound(uid)
        if found is None or claims.is_lost(found):
            return None
        made = max(claims.made(found), self._noted.get(found["metadata"]["uid"], 0))
        return Claim(found["metadata"]["name"], claims.is_block(found), claims.capacity(found), made)

    def kept(self) -> Collection[str]:
        here = (item.object() for item in self._disks.items())
        mine = [disk["metadata"]["uid"] for disk in here if disk_node(disk) == self._context.node_name]
        return [uid for uid in mine if self.get(uid) is not None]

    @asynccontextmanager
    async def place(self, uid: str) -> AsyncIterator[Path]:
        disk, found = self._disk(uid), self._bound(uid)
        launcher = None if disk is None else self.launcher(disk)
        if found is None or launcher is None:
            name = uid if found is None else found["metadata"]["name"]
            raise TemporaryError(f"No Pod on node {self._context.node_name} has the claim {name} now.")
        mount = Mount(uid, found["metadata"]["name"])
        if claims.is_block(found):
            device = await asyncio.to_thread(self._device, launcher, mount, found["spec"].get("volumeName") or "")
            _require_there(launcher, mount)
            yield device
            return
        folder = await to_the_end(mounts.open_volume, launcher.sandbox.pid, mount.path)
        try:
            _require_there(launcher, mount)
            yield Path(f"/proc/self/fd/{folder}")
        finally:
            await asyncio.to_thread(os.close, folder)

    def _device(self, launcher: Launcher, mount: Mount, volume: str) -> Path:
        kubelet_dir, there = self._context.settings.kubernetes.kubelet_dir, launcher.sandbox
        recorded = mounts.device_record(kubelet_dir, there.pod_uid, volume)
        return mounts.find_device(there.pid, mount.path, recorded)

    def launcher(self, disk: VirtualDisk) -> Launcher | None:
        """That of a Pod on this node which has the disk's claim."""
        where, name = disk["metadata"], first_claim(disk)
        for machine in usage.machines_using(self._machines, VIRTUAL_DISK, where["namespace"], where["name"]):
            if (found := self._find(machine.object(), name)) is not None:
                return found
        return self._find_filling(disk)

    def awaited(self, uid: str) -> str:
        disk = self._disk(uid)
        claim = None if disk is None else self._claims.of(disk)
        if disk is None or claim is None or self.launcher(disk) is not None:
            return ""
        where, name = disk["metadata"], claim["metadata"]["name"]
        users = usage.machines_using(self._machines, VIRTUAL_DISK, where["namespace"], where["name"])
        told = (self._told(item.object(), name) for item in users)
        soon = f"PersistentVolumeClaim {name} comes to node {self._context.node_name} by a Pod."
        return next(filter(None, told), soon)

    async def note(self, uid: str, size: int) -> None:
        found = self._require(uid)
        await self._patch(found, {"metadata": {"annotations": {names.CLAIM_MADE_ANNOTATION: str(size)}}})
        self._noted = {**dict(list(self._noted.items())[-_NOTES:]), found["metadata"]["uid"]: size}

    async def grow(self, uid: str, capacity: int) -> None:
        found = self._require(uid)
        wanted = claims.asked(capacity, found["spec"].get("volumeMode") or storage_class.FILESYSTEM)
        if claims.requested(found) < wanted:
            storage = {"resources": {"requests": {"storage": format_bytes(wanted)}}}
            await self._patch(found, {"spec": storage})

    async def delete(self, uid: str) -> None:
        """By the store's word. One that is not seen here goes by its owner, the disk."""
        disk, store = self._disk(uid), self._context.store
        if disk is None or self._claims.of(disk) is None:
            return
        known = disk["metadata"]
        disk = await store.find(VIRTUAL_DISK, known["namespace"], known["name"]) or disk
        if disk["metadata"]["uid"] != uid or disk_node(disk) != self._context.node_name:
            return  # another node's, whose guest may have it
        where = disk["metadata"]["namespace"], first_claim(disk)
        found = await store.find(PERSISTENT_VOLUME_CLAIM, *where)
        if found is None or not is_of(found, disk) or found["metadata"].get("deletionTimestamp"):
            return
        await delete_this(store, PERSISTENT_VOLUME_CLAIM, found)

    def _disk(self, uid: str) -> VirtualDisk | None:
        return next((item.object() for item in self._disks.by_index(usage.UID_INDEX, uid)), None)

    def _bound(self, uid: str) -> Object | None:
        """The claim of a disk that is bound here, or that a guest has which is on its way here."""
        disk = self._disk(uid)
        mine = disk is not None and (disk_node(disk) == self._context.node_name or uid in self._context.coming)
        return self._claims.of(disk) if disk is not None and mine else None

    def _require(self, uid: str) -> Object:
        if (found := self._bound(uid)) is None:
            raise TemporaryError(f"The claim of the disk {uid} is not there.")
        return found

    async def _patch(self, claim: Object, patch: Object) -> None:
        where = claim["metadata"]
        patch = {**patch, "metadata": {**patch.get("metadata", {}), "uid": where["uid"]}}
        try:
            await self._context.store.patch(
                PERSISTENT_VOLUME_CLAIM, where["namespace"], where["name"], PatchType.MERGE, patch
            )
        except (Conflict, NotFound) as error:
            raise TemporaryError(f"The claim {where['name']} is gone, or another one by now.") from error


def _require_there(launcher: Launcher, mount: Mount) -> None:
    """The process may be another Pod's, once the launcher is gone."""
    if launcher.gone:
        raise TemporaryError(f"The Pod that had the claim {mount.claim} has just ended.")
