"""Who still needs a snapshot that is to go: what is restored from it has lost its former disks by then."""

from __future__ import annotations

from hyperd.controllers.context import Context
from hyperd.resources.all import (
    VIRTUAL_DISK,
    VIRTUAL_DISK_SNAPSHOT,
    VIRTUAL_MACHINE_OPERATION,
    VIRTUAL_MACHINE_SNAPSHOT_OPERATION,
)
from hyperd.resources.kinds.virtual_disk import PROVISIONED, VirtualDiskPhase
from hyperd.resources.kinds.virtual_machine_operation import OperationPhase, OperationType
from hyperd.resources.kinds.virtual_machine_snapshot_operation import SnapshotOperationPhase
from hyperd.resources.values import meta


async def disk_of(context: Context, namespace: str, name: str) -> str:
    """What a disk that is still to be made of a disk's snapshot does, half a sentence; empty without one.

    Who made the disk may take that for done: of a copied machine the operation waits for no disk.
    """
    for disk in await context.store.find_all(VIRTUAL_DISK, namespace):
        ref = (disk["spec"].get("dataSource") or {}).get("objectRef")
        if ref is None or (ref["kind"], ref["name"]) != (VIRTUAL_DISK_SNAPSHOT.kind, name):
            continue
        phase = (disk.get("status") or {}).get("phase")
        if phase not in (*PROVISIONED, VirtualDiskPhase.FAILED) and not meta.is_deleting(disk):
            waits = phase == VirtualDiskPhase.WAIT_FOR_FIRST_CONSUMER
            does = "waits for its first consumer, to be made" if waits else "is being made"
            return f'{VIRTUAL_DISK.kind} "{disk["metadata"]["name"]}" {does}'
    return ""


async def user_of(context: Context, namespace: str, name: str) -> str:
    """Kind and name of an operation in progress that makes objects of the snapshot; empty without one."""
    for op in await context.store.find_all(VIRTUAL_MACHINE_OPERATION, namespace):
        restore, phase = op["spec"].get("restore"), (op.get("status") or {}).get("phase")
        if op["spec"]["type"] != OperationType.RESTORE or restore is None or meta.is_deleting(op):
            continue
        if restore["virtualMachineSnapshotName"] == name and phase == OperationPhase.IN_PROGRESS:
            return f'{VIRTUAL_MACHINE_OPERATION.kind} "{op["metadata"]["name"]}"'
    for made in await context.store.find_all(VIRTUAL_MACHINE_SNAPSHOT_OPERATION, namespace):
        going = (made.get("status") or {}).get("phase") == SnapshotOperationPhase.IN_PROGRESS
        if going and made["spec"]["virtualMachineSnapshotName"] == name and not meta.is_deleting(made):
            return f'{VIRTUAL_MACHINE_SNAPSHOT_OPERATION.kind} "{made["metadata"]["name"]}"'
    return ""
