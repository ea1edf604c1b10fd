"""restartApprovalMode Automatic: one restart for one generation, asked for as a user would; one that failed is
asked for again, later each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperd.controllers.machine.operations import is_finished, of_machine, phase_of, since_end
from hyperd.errors import AlreadyExists
from hyperd.resources.all import VIRTUAL_MACHINE_OPERATION
from hyperd.resources.kinds.virtual_machine import RestartApprovalMode
from hyperd.resources.kinds.virtual_machine_operation import OperationPhase, OperationType
from hyperd.resources.values import names
from hyperd.resources.values.meta import owner_reference
from hyperd.runtime.informer import Informer
from hyperd.store.interface import Store

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_operation import VirtualMachineOperation

FIRST_SECONDS = 10.0
LAST_SECONDS = 600.0


async def restart_if_approved(
    store: Store, operations: Informer[VirtualMachineOperation], machine: VirtualMachine
) -> float | None:
    """Make the VirtualMachineOperation of this generation, where the machine lets changes restart it.

    Returns the seconds until it is time for another, where the last one did not do it.
    """
    if (machine["spec"].get("disruptions") or {}).get("restartApprovalMode") != RestartApprovalMode.AUTOMATIC:
        return None
    meta = machine["metadata"]
    base = f"restart-{meta['uid'][:8]}-{meta['generation']}"
    tried = [
        op for op in of_machine(operations, meta["namespace"], meta["name"]) if _attempt(op, base) is not None
    ]
    if any(not is_finished(op) or phase_of(op) == OperationPhase.COMPLETED for op in tried):
        return None
    name = base
    if tried:
        left = min(FIRST_SECONDS * 2.0 ** (len(tried) - 1), LAST_SECONDS) - min(map(since_end, tried))
        if left > 0:
            return left
        name = f"{base}-{1 + max(_attempt(op, base) or 0 for op in tried)}"
    body = {
        "apiVersion": VIRTUAL_MACHINE_OPERATION.api_version,
        "kind": VIRTUAL_MACHINE_OPERATION.kind,
        "metadata": {
            "namespace": meta["namespace"],
            # Made once, however often this is looked at.
            "name": name,
            "labels": {names.VM_UID_LABEL: meta["uid"]},
            "ownerReferences": [owner_reference(machine, controller=False, block=False)],
        },
        "spec": {"type": OperationType.RESTART, "virtualMachineName": meta["name"]},
    }
    try:
        await store.create(VIRTUAL_MACHINE_OPERATION, meta["namespace"], body)
    except AlreadyExists:
        return None
    return None


def _attempt(op: VirtualMachineOperation, base: str) -> int | None:
    """Which try it was, the first being 0; None of an operation that somebody else made."""
    name, _, number = op["metadata"]["name"].removeprefix(base).partition("-")
    if name or not op["metadata"]["name"].startswith(base):
        return None
    return int(number) if number.isdecimal() else 0 if not number else None
