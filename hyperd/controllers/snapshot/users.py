"""Who still needs a machine's snapshot: what is restored from it has lost its former disks by then."""

from __future__ import annotations

from hyperd.controllers.context import Context
from hyperd.resources.all import VIRTUAL_MACHINE_OPERATION, VIRTUAL_MACHINE_SNAPSHOT_OPERATION
from hyperd.resources.kinds.virtual_machine_operation import OperationPhase, OperationType
from hyperd.resources.kinds.virtual_machine_snapshot_operation import SnapshotOperationPhase
from hyperd.resources.values import meta


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
