"""Rules of VirtualMachineSnapshotOperation: who makes machines by it may make machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperd.admission.context import Context
from hyperd.resources.all import VIRTUAL_MACHINE

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine_snapshot_operation import (
        VirtualMachineSnapshotOperation,
        VirtualMachineSnapshotOperationSpec,
    )

    Operation = Context[VirtualMachineSnapshotOperation, VirtualMachineSnapshotOperationSpec]


async def review(context: Operation) -> None:
    """Refuse a new operation that does more than its user may."""
    if context.creating:
        await context.require("spec.type", "create", VIRTUAL_MACHINE, context.request.namespace)
