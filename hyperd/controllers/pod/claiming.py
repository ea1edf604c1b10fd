"""The leader's part of disks that are claims: each has its claim before there is a node for it.

The scheduler then gives a machine's Pod a node where the claim can be had, and the disk is bound to that. Until
then the leader says what a disk waits for; from then on its node does.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from hyperd.controllers.context import Context
from hyperd.controllers.disk.source import Waiting, requested_size, source_of
from hyperd.controllers.disk.storage_class import PROVISIONED, DiskClasses
from hyperd.controllers.ownership import bind_disk, disk_node
from hyperd.controllers.placement.interface import Placement
from hyperd.controllers.placement.placing import Nodes
from hyperd.controllers.pod.claims import Claims, is_of, make_claim
from hyperd.controllers.pod.filling import Filling, Problem, refused
from hyperd.controllers.pod.reading import claims_of
from hyperd.controllers.usage import IMAGE_KINDS
from hyperd.errors import AlreadyExists, Forbidden, Invalid, NotFound, ServiceUnavailable
from hyperd.resources.all import PERSISTENT_VOLUME_CLAIM, POD, STORAGE_CLASS, VIRTUAL_DISK
from hyperd.resources.core import storage_class
from hyperd.resources.kinds.data_source import ReadyReason
from hyperd.resources.kinds.virtual_disk import DiskReadyReason, VirtualDiskCondition, VirtualDiskPhase
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.conditions import set_condition
from hyperd.resources.values.quantity import round_up
from hyperd.runtime.controller import Controller, Key, Mapper, Result, owner_keys
from hyperd.runtime.status import update_status
from hyperd.store.interface import Item

if TYPE_CHECKING:
    from hyperd.resources.views.core import StorageClass
    from hyperd.resources.views.virtual_disk import VirtualDisk

_AGAIN_SECONDS = 10.0
_AWAITED = "The volume is made once a virtual machine uses the disk."
_BROUGHT = "The disk is made once a Pod has its claim on a node."


class ClaimController(Controller):
    """Makes disks' claims."""

    name = "virtualdisk-claim"
    kind = VIRTUAL_DISK
    cluster_wide = True
    writes: ClassVar = {
        PERSISTENT_VOLUME_CLAIM: ("create", "delete", "get", "list", "patch", "watch"),
        POD: ("create", "delete", "get", "list", "watch"),
        VIRTUAL_DISK: ("patch",),
    }

    def __init__(self, context: Context, placement: Placement, nodes: Nodes) -> None:
        super().__init__()
        self._context = context
        self._disks = context.informer(VIRTUAL_DISK)
        self._rules = DiskClasses(context, placement)
        self._claims = Claims(context)
        self._filling = Filling(context, nodes)

    def watches(self) -> Mapping[Kind, Mapper]:
        return {
            STORAGE_CLASS: lambda _: self._without_volume(),
            PERSISTENT_VOLUME_CLAIM: owner_keys(VIRTUAL_DISK),
            POD: self._of_pod,
        }

    def _of_pod(self, pod: Item) -> Iterable[Key]:
        seen = self._context.informer(PERSISTENT_VOLUME_CLAIM)
        for name in claims_of(pod.object()):
            if (claim := seen.item(pod.namespace, name)) is not None:
                yield from owner_keys(VIRTUAL_DISK)(claim)

    def _without_volume(self) -> Iterable[Key]:
        for item in self._disks.items():
            if (item.object().get("status") or {}).get("phase") not in PROVISIONED:
                yield Key(item.namespace, item.name)

    def takes(self, disk: VirtualDisk) -> bool:
        """Whether the disk is a claim, or is to be one."""
        seen = copy.deepcopy(disk)
        seen.setdefault("status", {})
        return self._class(seen) is not None

    def _class(self, disk: VirtualDisk) -> StorageClass | None:
        """The disk's class, if that makes claims; what is said of it is set in ``disk``."""
        class_ = self._rules.of(disk)
        if class_ is None or not storage_class.is_others(class_, self._context.volumes.provisioners):
            return None
        return class_

    async def reconcile(self, key: Key) -> Result | None:
        before = self._disks.get(*key)
        if before is None:
            return None
        gone = before["metadata"].get("deletionTimestamp")
        if gone or (before.get("status") or {}).get("phase") in PROVISIONED:
            await self._filling.end(before)
            return None  # a claim that is gone by now took its data with it
        after = copy.deepcopy(before)
        after.setdefault("status", {})
        class_ = self._class(after)
        if class_ is None:
            return None
        claim = self._claims.of(before)
        if claim is None:
            problem = await self._make(after, class_)
        elif node := self._filling.chosen(before, claim):
            await bind_disk(self._context.store, before, node)
            return None
        else:
            problem = await self._filling.look(before, claim, class_)
        if not disk_node(before):
            _tell(after, class_, problem)
            await update_status(self._context.store, VIRTUAL_DISK, before, after)
        return None if problem is None else Result(_AGAIN_SECONDS)

    async def _make(self, disk: VirtualDisk, class_: StorageClass) -> Problem | None:
        """The claim, or why there is none."""
        size = self._size(disk)
        if not isinstance(size, int):
            return size
        claim = make_claim(disk, class_, size)
        try:
            await self._context.store.create(PERSISTENT_VOLUME_CLAIM, disk["metadata"]["namespace"], claim)
        except AlreadyExists:
            return await self._meet_another(disk, claim)
        except ServiceUnavailable:
            raise
        except (Forbidden, Invalid, NotFound) as error:
            return refused("claim", error)
        return None

    async def _meet_another(self, disk: VirtualDisk, claim: Object) -> Problem | None:
        """The informer is behind, or somebody else's claim has the name."""
        name = claim["metadata"]["name"]
        found = await self._context.store.find(PERSISTENT_VOLUME_CLAIM, disk["metadata"]["namespace"], name)
        if found is None or is_of(found, disk):
            return None
        message = f"PersistentVolumeClaim {name} is not the disk's, but has its claim's name: delete it."
        return ReadyReason.PROVISIONING_NOT_STARTED, message

    def _size(self, disk: VirtualDisk) -> int | Problem:
        """Bytes of the disk, which a claim must name before anybody can look at its image."""
        if (requested := requested_size(disk)) is not None:
            return round_up(requested)
        source = source_of(self._context, disk)
        if isinstance(source, Waiting):
            return source.ready_reason, source.message
        ref = (disk["spec"].get("dataSource") or {}).get("objectRef") or {"kind": "", "name": ""}
        if (kind := IMAGE_KINDS.get(ref["kind"])) is not None:
            namespace = disk["metadata"]["namespace"] if kind.namespaced else ""
            image = self._context.informer(kind).get(namespace, ref["name"])
            known = {} if image is None else (image.get("status") or {}).get("size") or {}
            if (unpacked := known.get("unpackedBytes")) is not None:
                return round_up(int(unpacked))
        message = "The disk's claim needs a size before its source is read: set spec.persistentVolumeClaim.size."
        return ReadyReason.PROVISIONING_NOT_STARTED, message


def _tell(disk: VirtualDisk, class_: StorageClass, problem: Problem | None) -> None:
    waits = problem is None and storage_class.waits_for_consumer(class_)
    awaited = (DiskReadyReason.WAITING_FOR_FIRST_CONSUMER, _AWAITED)
    reason, message = problem or (awaited if waits else (ReadyReason.PROVISIONING_NOT_STARTED, _BROUGHT))
    disk["status"]["phase"] = VirtualDiskPhase.WAIT_FOR_FIRST_CONSUMER if waits else VirtualDiskPhase.PENDING
    disk["status"]["observedGeneration"] = disk["metadata"]["generation"]
    set_condition(disk, VirtualDiskCondition.READY, False, reason=reason, message=message)
