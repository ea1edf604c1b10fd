"""VirtualDiskSnapshot: a snapshot of a disk's volume, once.

A disk that is missing or not ready when it is first looked at is the end of it, as in the reference: a snapshot
is of one moment, and that has passed. For room in its namespace's quota it waits, as disks do, and is of the
moment at which there is some. One that belongs to a machine's snapshot is taken by that, with the others, and does
not wait.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from hyperd.controllers.claims import AGAIN_SECONDS, Room, no_room
from hyperd.controllers.context import Context
from hyperd.controllers.machine.holders import guest_of
from hyperd.controllers.ownership import disk_node
from hyperd.controllers.readiness import unready
from hyperd.controllers.retries import Retries
from hyperd.controllers.snapshot.operations import TYPES
from hyperd.controllers.snapshot.operations.take import Take, show_failure, show_ready
from hyperd.controllers.snapshot.taking import INCONSISTENT, cannot_freeze
from hyperd.controllers.snapshot.users import disk_of, user_of
from hyperd.errors import PermanentError, QuotaExceeded, TemporaryError
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT, VIRTUAL_MACHINE_SNAPSHOT
from hyperd.resources.kinds.virtual_disk_snapshot import (
    DiskSnapshotCondition,
    DiskSnapshotReadyReason,
    SnapshotDiskReason,
    SnapshotPhase,
)
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values import meta, names
from hyperd.resources.values.conditions import ConditionStatus, find_condition, is_true, set_condition
from hyperd.runtime.controller import Controller, Key, Mapper, Result
from hyperd.runtime.operations.engine import Operations
from hyperd.runtime.operations.record import Record
from hyperd.runtime.status import add_finalizer, make_sure, remove_finalizer, update_status
from hyperd.store.interface import Item, PatchType

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk
    from hyperd.resources.views.virtual_disk_snapshot import SnapshotSource, VirtualDiskSnapshot
    from hyperd.resources.views.virtual_machine_snapshot import VirtualMachineSnapshot

_LOOK_SECONDS = 300.0
"""How often the data of a snapshot is looked for, as that of disks is."""
_AGAIN_SECONDS = 30.0
"""While its pool is away."""
_HELD_SECONDS = 1.0
DISK_INDEX = "disk"


class DiskSnapshotController(Controller):
    """Takes and removes snapshots of disks."""

    name = "virtualdisksnapshot"
    kind = VIRTUAL_DISK_SNAPSHOT

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._snapshots = context.informer(VIRTUAL_DISK_SNAPSHOT)
        self._groups = context.informer(VIRTUAL_MACHINE_SNAPSHOT)
        self._snapshots.add_index(DISK_INDEX, disk_values)
        self._room = Room(context, self._snapshots)
        self._retries = Retries()
        self._operations = Operations(context, TYPES, waits=self._retries, notify=self.enqueue)

    def watches(self) -> Mapping[Kind, Mapper]:
        return {VIRTUAL_MACHINE_SNAPSHOT: self._of_group, **self._room.watches()}

    def _of_group(self, item: Item) -> Iterable[Key]:
        for name in (item.object().get("status") or {}).get("virtualDiskSnapshotNames") or ():
            yield Key(item.namespace, name)

    async def close(self) -> None:
        """Stop what is under way; it is taken up again at the next start."""
        await self._operations.close()

    async def reconcile(self, key: Key) -> Result | None:
        before = self._snapshots.get(*key)
        await self._operations.keep_only(key, "" if before is None else before["metadata"]["uid"])
        if before is None:
            return None
        disk = await self._context.store.find(VIRTUAL_DISK, key.namespace, before["spec"]["virtualDiskName"])
        if not self._mine(before, disk):
            return None
        before = await self._bound(await add_finalizer(self._context.store, self.kind, before), disk)
        after = copy.deepcopy(before)
        status = after.setdefault("status", {})
        status["observedGeneration"] = before["metadata"]["generation"]
        if meta.is_deleting(before) and not self._is_being_taken(before):
            return await self._delete(before, after)
        result = None
        if status.get("phase") == SnapshotPhase.READY or _is_lost(after):
            result = await self._keep(after)
        elif status.get("phase") != SnapshotPhase.FAILED:
            before, after, result = await self._go_on(before, after, disk)
        await update_status(self._context.store, self.kind, before, after)
        self._operations.written(after)
        return result

    def _is_being_taken(self, snapshot: VirtualDiskSnapshot) -> bool:
        """Whether a machine's snapshot needs it to be complete: then it goes only with that."""
        group = self._group(snapshot)
        ended = (SnapshotPhase.READY, SnapshotPhase.FAILED)
        return (
            group is not None
            and not meta.is_deleting(group)
            and (group.get("status") or {}).get("phase") not in ended
        )

    def _group(self, snapshot: VirtualDiskSnapshot) -> VirtualMachineSnapshot | None:
        uid = group_of(snapshot)
        return next((item.object() for item in self._groups.items() if item.uid == uid), None) if uid else None

    def _mine(self, snapshot: VirtualDiskSnapshot, disk: VirtualDisk | None) -> bool:
        """Whether it is this node's: where its data is, or the disk's; the leader's where there is neither."""
        ownership = self._context.ownership
        node = disk_node(snapshot) or ("" if disk is None else disk_node(disk))
        return not ownership.binds or (node == self._context.node_name if node else ownership.leads())

    async def _bound(self, snapshot: VirtualDiskSnapshot, disk: VirtualDisk | None) -> VirtualDiskSnapshot:
        """With the node that its data will be on: it outlives the disk."""
        node = "" if disk is None else disk_node(disk)
        if not node or disk_node(snapshot) or meta.is_deleting(snapshot):
            return snapshot
        seen = snapshot["metadata"]
        body = {"resourceVersion": seen["resourceVersion"], "annotations": {names.SELECTED_NODE_ANNOTATION: node}}
        where = (self.kind, seen["namespace"], seen["name"])
        return (await self._context.store.patch(*where, PatchType.MERGE, {"metadata": body})).object()

    async def _go_on(
        self, before: VirtualDiskSnapshot, snapshot: VirtualDiskSnapshot, disk: VirtualDisk | None
    ) -> tuple[VirtualDiskSnapshot, VirtualDiskSnapshot, Result | None]:
        """Take it, once it is written down of what: the store judges that very write by the namespace's quota."""
        if Record.of(snapshot) is None and not snapshot["status"].get("source"):
            if not self._accept(snapshot, disk):
                return before, snapshot, None
            assert disk is not None  # noqa: S101  it was accepted
            snapshot["status"]["source"] = _source(disk)
            try:
                before = await update_status(self._context.store, self.kind, before, snapshot)
            except QuotaExceeded as err:
                del snapshot["status"]["source"]
                return before, snapshot, self._without_room(snapshot, err)
            snapshot = copy.deepcopy(before)
        return before, snapshot, await self._take(snapshot)

    def _without_room(self, snapshot: VirtualDiskSnapshot, err: QuotaExceeded) -> Result | None:
        if group_of(snapshot):  # its machine's is of one moment
            self._fail(snapshot, PermanentError(f"{err.message}."))
            return None
        snapshot["status"]["phase"] = SnapshotPhase.PENDING
        condition = DiskSnapshotCondition.VIRTUAL_DISK_SNAPSHOT_READY
        reason = DiskSnapshotReadyReason.QUOTA_EXCEEDED
        set_condition(snapshot, condition, False, reason=reason, message=no_room(err, "snapshot"))
        return Result(AGAIN_SECONDS)

    async def _take(self, snapshot: VirtualDiskSnapshot) -> Result | None:
        status = snapshot["status"]
        if group_of(snapshot):
            return self._wait_for_group(snapshot)
        if Record.of(snapshot) is None and snapshot["spec"]["requiredConsistency"]:
            where = snapshot["metadata"]["namespace"], snapshot["spec"]["virtualDiskName"]
            guest = await guest_of(self._context, *where, status["source"]["uid"])
            if guest is not None and (why := cannot_freeze(guest)):
                self._fail(snapshot, PermanentError(why, key=INCONSISTENT))
                return None
        return await self._operations.advance(snapshot, Take.kind)

    def _accept(self, snapshot: VirtualDiskSnapshot, disk: VirtualDisk | None) -> bool:
        """Whether the disk may be snapshotted now; there is no later."""
        name = snapshot["spec"]["virtualDiskName"]
        why = unready(VIRTUAL_DISK, name, disk)
        ready = DiskSnapshotCondition.VIRTUAL_DISK_READY
        if not why:
            set_condition(snapshot, ready, True, reason=SnapshotDiskReason.VIRTUAL_DISK_READY)
            return True
        set_condition(snapshot, ready, False, reason=SnapshotDiskReason.NOT_READY_FOR_SNAPSHOTTING, message=why)
        snapshot["status"]["phase"] = SnapshotPhase.FAILED
        reason = DiskSnapshotReadyReason.WAITING_FOR_THE_VIRTUAL_DISK
        condition = DiskSnapshotCondition.VIRTUAL_DISK_SNAPSHOT_READY
        set_condition(
            snapshot, condition, False, reason=reason, message=f"{why} Take another one when it is Ready."
        )
        self._context.events.event(snapshot, "Warning", DiskSnapshotReadyReason.FAILED, why)
        return False

    def _wait_for_group(self, snapshot: VirtualDiskSnapshot) -> Result | None:
        """The snapshot of the machine takes it, and says so in its status."""
        group = self._group(snapshot)
        status = {} if group is None else group.get("status") or {}
        if status.get("phase") == SnapshotPhase.READY:
            show_ready(snapshot, consistent=bool(status.get("consistent")))
            return Result(_LOOK_SECONDS)
        snapshot["status"]["phase"] = SnapshotPhase.IN_PROGRESS
        condition = DiskSnapshotCondition.VIRTUAL_DISK_SNAPSHOT_READY
        set_condition(snapshot, condition, False, reason=DiskSnapshotReadyReason.SNAPSHOTTING)
        if group is None or status.get("phase") == SnapshotPhase.FAILED:
            self._fail(snapshot, PermanentError("The snapshot of the virtual machine failed."))
        return None

    async def _keep(self, snapshot: VirtualDiskSnapshot) -> Result | None:
        """Notice its loss, and its return: a pool may be away for a while."""
        status, ready = snapshot["status"], DiskSnapshotCondition.VIRTUAL_DISK_SNAPSHOT_READY
        try:
            found = await self._context.volumes.find_snapshot(snapshot["metadata"]["uid"])
        except TemporaryError as err:  # its pool is away: nobody knows
            unknown, reason = ConditionStatus.UNKNOWN, DiskSnapshotReadyReason.UNKNOWN
            set_condition(snapshot, ready, unknown, reason=reason, message=err.message)
            return Result(_AGAIN_SECONDS)
        if found is None and status["phase"] == SnapshotPhase.READY:
            status["phase"] = SnapshotPhase.FAILED
            message = "The snapshot of the volume is gone from the node's pool."
            set_condition(snapshot, ready, False, reason=DiskSnapshotReadyReason.LOST, message=message)
            self._context.events.event(snapshot, "Warning", DiskSnapshotReadyReason.LOST, message)
        elif found is not None and status["phase"] == SnapshotPhase.FAILED:
            show_ready(snapshot, consistent=bool(status.get("consistent")))
            message = "The snapshot of the volume is in the node's pool again."
            self._context.events.event(snapshot, "Normal", DiskSnapshotReadyReason.READY, message)
        elif found is not None and not is_true(snapshot, ready):
            show_ready(snapshot, consistent=bool(status.get("consistent")))
        return Result(_LOOK_SECONDS)

    async def _delete(self, before: VirtualDiskSnapshot, snapshot: VirtualDiskSnapshot) -> Result | None:
        group = self._group(snapshot)
        if group is not None and await user_of(
            self._context, group["metadata"]["namespace"], group["metadata"]["name"]
        ):
            return Result(_HELD_SECONDS)  # and it stays Ready: disks are made of it
        self._retries.forget(snapshot)
        await self._operations.undo(snapshot)
        if group is not None and not meta.is_deleting(group):
            # It is as good as before, also to restore the machine from: its phase stays.
            taken = group.get("status") or {}
            if taken.get("phase") == SnapshotPhase.READY and not snapshot["status"].get("volumeSnapshotName"):
                show_ready(snapshot, consistent=bool(taken.get("consistent")))
            message = f'VirtualMachineSnapshot "{group["metadata"]["name"]}" holds it; delete that.'
            condition = DiskSnapshotCondition.VIRTUAL_DISK_SNAPSHOT_READY
            is_ready = snapshot["status"].get("volumeSnapshotName") is not None
            reason = DiskSnapshotReadyReason.READY if is_ready else DiskSnapshotReadyReason.SNAPSHOTTING
            set_condition(snapshot, condition, is_ready, reason=reason, message=message)
            await update_status(self._context.store, self.kind, before, snapshot)
            return None
        if snapshot["status"].get("phase") == SnapshotPhase.READY and (
            disk := await disk_of(self._context, before["metadata"]["namespace"], before["metadata"]["name"])
        ):
            message = f"{disk} of it; it goes once that is made, or deleted."
            condition = DiskSnapshotCondition.VIRTUAL_DISK_SNAPSHOT_READY
            set_condition(snapshot, condition, True, reason=DiskSnapshotReadyReason.READY, message=message)
            await update_status(self._context.store, self.kind, before, snapshot)
            return Result(_HELD_SECONDS)
        snapshot["status"]["phase"] = SnapshotPhase.TERMINATING
        await make_sure(self._context.store, self.kind, before)
        source = snapshot["status"].get("source")
        disk = "" if source is None else source["uid"]
        await self._context.volumes.delete_snapshot(before["metadata"]["uid"], of=disk)
        await remove_finalizer(self._context.store, self.kind, before)
        return None

    def _fail(self, snapshot: VirtualDiskSnapshot, err: PermanentError) -> None:
        show_failure(snapshot, err, final=True)
        self._context.events.event(snapshot, "Warning", DiskSnapshotReadyReason.FAILED, err.message)


def group_of(snapshot: VirtualDiskSnapshot) -> str:
    """uid of the snapshot of a machine that takes this one; empty where it is taken by itself."""
    for owner in snapshot["metadata"].get("ownerReferences") or ():
        named = f"{snapshot['spec']['virtualDiskName']}-{owner['uid']}" == snapshot["metadata"]["name"]
        if named and owner["kind"] == VIRTUAL_MACHINE_SNAPSHOT.kind:
            return owner["uid"]
    return ""


def _source(disk: VirtualDisk) -> SnapshotSource:
    """What a disk is made like again."""
    source: SnapshotSource = {"uid": disk["metadata"]["uid"], "size": disk["status"].get("capacity", "")}
    if class_ := disk["status"].get("storageClassName"):
        source["storageClassName"] = class_
    if found := meta.labels(disk):
        source["labels"] = dict(found)
    if found := _told(meta.annotations(disk)):
        source["annotations"] = found
    if disk["metadata"].get("ownerReferences"):
        source["owned"] = True
    return source


def _is_lost(snapshot: VirtualDiskSnapshot) -> bool:
    """Whether it was taken, and its data was not found since."""
    told = find_condition(snapshot, DiskSnapshotCondition.VIRTUAL_DISK_SNAPSHOT_READY)
    return told is not None and told["reason"] == DiskSnapshotReadyReason.LOST


def disk_values(snapshot: VirtualDiskSnapshot) -> list[str]:
    """The disk that is snapshotted, for an index."""
    return [f"{snapshot['metadata']['namespace']}/{snapshot['spec']['virtualDiskName']}"]


def _told(found: Mapping[str, str]) -> dict[str, str]:
    """Of a disk's annotations those that are its user's."""
    ours = (names.SELECTED_NODE_ANNOTATION, "kubectl.kubernetes.io/last-applied-configuration")
    return {name: value for name, value in found.items() if name not in ours}
