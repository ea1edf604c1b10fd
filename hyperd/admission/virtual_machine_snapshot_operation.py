"""Rules of VirtualMachineSnapshotOperation: who makes machines by it may make all that they consist of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperd.admission.context import Context
from hyperd.admission.remaking import require_to_make, saves_secret

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine_snapshot_operation import (
        VirtualMachineSnapshotOperation,
        VirtualMachineSnapshotOperationSpec,
    )

    Operation = Context[VirtualMachineSnapshotOperation, VirtualMachineSnapshotOperationSpec]


async def review(context: Operation) -> None:
    """Refuse a new operation that does more than its user may."""
    if context.creating:
        snapshot = context.spec["virtualMachineSnapshotName"]
        await require_to_make(context, secret=await saves_secret(context, snapshot))
