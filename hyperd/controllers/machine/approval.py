"""restartApprovalMode Automatic: one restart for one generation, asked for as a user would."""

from __future__ import annotations

from hyperd.errors import AlreadyExists
from hyperd.resources import names
from hyperd.resources.all import VIRTUAL_MACHINE_OPERATION
from hyperd.resources.kind import Object
from hyperd.resources.meta import owner_reference
from hyperd.store.interface import Store


async def restart_if_approved(store: Store, machine: Object) -> None:
    """Make the VirtualMachineOperation of this generation, where the machine lets changes restart it."""
    if (machine["spec"].get("disruptions") or {}).get("restartApprovalMode") != "Automatic":
        return
    meta = machine["metadata"]
    body: Object = {
        "apiVersion": VIRTUAL_MACHINE_OPERATION.api_version,
        "kind": VIRTUAL_MACHINE_OPERATION.kind,
        "metadata": {
            "namespace": meta["namespace"],
            # Made once, however often this is looked at.
            "name": f"restart-{meta['uid'][:8]}-{meta['generation']}",
            "labels": {names.VM_UID_LABEL: meta["uid"]},
            "ownerReferences": [owner_reference(machine, controller=False, block=False)],
        },
        "spec": {"type": "Restart", "virtualMachineName": meta["name"]},
    }
    try:
        await store.create(VIRTUAL_MACHINE_OPERATION, meta["namespace"], body)
    except AlreadyExists:
        return
