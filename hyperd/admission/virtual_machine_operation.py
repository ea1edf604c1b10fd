"""Rules of VirtualMachineOperation: one at a time for a machine, unless a stronger one takes over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hyperd.admission.context import Context
from hyperd.admission.remaking import has_secret, require_to_make, require_to_restore, saves_secret
from hyperd.resources.all import VIRTUAL_MACHINE, VIRTUAL_MACHINE_OPERATION
from hyperd.resources.kinds.virtual_machine_operation import FINISHED_PHASES, OperationType, supersedes
from hyperd.resources.values import meta, names

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine_operation import (
        VirtualMachineOperation,
        VirtualMachineOperationSpec,
    )

    Operation = Context[VirtualMachineOperation, VirtualMachineOperationSpec]

_UPDATES: Final = (
    names.VMOP_WORKLOAD_UPDATE_ANNOTATION,
    names.VMOP_WORKLOAD_UPDATE_IMAGE_ANNOTATION,
    names.VMOP_WORKLOAD_UPDATE_PLACEMENT_ANNOTATION,
)


async def review(context: Operation) -> None:
    """Refuse a new operation that does more than its user may, or that does not supersede one that runs."""
    _reserve(context)
    if not context.creating:
        return
    await _label(context)
    name = context.spec["virtualMachineName"]
    if context.spec["type"] == OperationType.RESTORE:
        snapshot = context.spec["restore"]["virtualMachineSnapshotName"]
        await require_to_restore(context, secret=await saves_secret(context, snapshot))
    elif context.spec["type"] == OperationType.CLONE:
        machine = await context.find(VIRTUAL_MACHINE, name)
        await require_to_make(context, secret=has_secret(machine))
    for other in await context.request.reader.find_all(VIRTUAL_MACHINE_OPERATION, context.request.namespace):
        if other["spec"]["virtualMachineName"] != name:
            continue
        phase = (other.get("status") or {}).get("phase")
        if phase in FINISHED_PHASES or supersedes(context.spec, other["spec"]):
            continue
        context.forbidden(
            "spec",
            f'VMOP cannot be executed now. Previously created operation "{other["metadata"]["name"]}" of type '
            f'{other["spec"]["type"]} on VirtualMachine "{name}" should finish first',
        )
        return


def _reserve(context: Operation) -> None:
    """By these annotations updates of QEMU and of placement know their own operations."""
    if context.by_system:
        return
    now, before = meta.annotations(context.new), meta.annotations(context.old or {})
    for key in _UPDATES:
        if key in now and before.get(key) != now[key]:
            context.invalid("metadata.annotations", key, "is reserved for the system")


async def _label(context: Operation) -> None:
    """Mark the operation with its machine's uid, by which clients find a machine's operations."""
    machine = await context.find(VIRTUAL_MACHINE, context.spec["virtualMachineName"])
    if machine is not None:
        labels = context.new["metadata"].get("labels") or {}
        context.new["metadata"]["labels"] = {**labels, names.VM_UID_LABEL: meta.uid(machine)}
