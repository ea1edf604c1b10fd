"""Restore and Clone: the steps of an operation that makes a machine's objects of a snapshot.

Each look does what can be done now and says in the operation's status how far it is; nothing is remembered beside.
A restore judges everything before the guest is ended, which the machine's controller does while the operation is
in maintenance; afterwards it runs again if it ran.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hyperd.controllers.context import Context
from hyperd.controllers.snapshot import saving
from hyperd.controllers.snapshot.making import FAILED, UNFIT, Making, Wanted, complete, failures, unmake
from hyperd.errors import AlreadyExists, PermanentError
from hyperd.resources.all import VIRTUAL_MACHINE_SNAPSHOT
from hyperd.resources.kinds.virtual_disk_snapshot import SnapshotPhase
from hyperd.resources.kinds.virtual_machine_operation import (
    CloneSnapshotReason,
    MaintenanceModeReason,
    OperationCondition,
    OperationMode,
    OperationType,
)
from hyperd.resources.kinds.virtual_machine_snapshot import KeepIPAddress, MachineSnapshotCondition
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import find_condition, is_true, set_condition
from hyperd.resources.values.meta import is_deleting, owner_reference
from hyperd.runtime.status import delete_this

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_operation import VirtualMachineOperation
    from hyperd.resources.views.virtual_machine_snapshot import VirtualMachineSnapshot

LOOK_SECONDS: Final = 0.5
"""How soon to look again at what is under way."""
REBUILDING: Final = (OperationType.RESTORE, OperationType.CLONE)
_OFF: Final = (None, "", VirtualMachinePhase.STOPPED, VirtualMachinePhase.PENDING)


class Rebuilding:
    """Raises PermanentError where an operation has failed; it touches nothing of one that is not in progress."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def step(self, op: VirtualMachineOperation, machine: VirtualMachine) -> bool:
        """Go on with it; whether it is completed."""
        restores = op["spec"]["type"] != OperationType.CLONE
        try:
            return await (self._restore(op, machine) if restores else self._clone(op))
        except PermanentError:
            if not restores:
                await unmake(self._context, op)
                await self._clean_up(op)
            elif is_true(op, OperationCondition.MAINTENANCE_MODE):
                condition, reason = OperationCondition.MAINTENANCE_MODE, MaintenanceModeReason.DISABLED
                set_condition(op, condition, False, reason=reason)
            raise

    async def _restore(self, op: VirtualMachineOperation, machine: VirtualMachine) -> bool:
        status, options = op["status"], op["spec"]["restore"]
        maintenance = find_condition(op, OperationCondition.MAINTENANCE_MODE)
        phase = (machine.get("status") or {}).get("phase")
        if maintenance is not None and not is_true(op, OperationCondition.MAINTENANCE_MODE):
            return not status.get("wasRunning") or phase == VirtualMachinePhase.RUNNING
        snapshot = await self._snapshot(op, options["virtualMachineSnapshotName"], begun=maintenance is not None)
        making = Making(self._context, Wanted(snapshot, op["metadata"]["uid"], options["mode"]))
        objects = await making.objects()
        if maintenance is None:
            status["resources"] = await making.judge(objects)
            if failures(status["resources"]):
                raise PermanentError(UNFIT)
            if options["mode"] == OperationMode.DRY_RUN:
                return True
            await saving.hold(self._context, snapshot, op)
            status["wasRunning"] = phase not in _OFF
            condition, reason = OperationCondition.MAINTENANCE_MODE, MaintenanceModeReason.ENABLED
            set_condition(op, condition, True, reason=reason)
            return False
        info = await self._context.hypervisor.info(machine["metadata"]["uid"])
        if phase not in _OFF or (info is not None and info.active):
            return False
        status["resources"] = await making.make(objects)
        if failures(status["resources"]):
            raise PermanentError(FAILED)
        if not complete(status["resources"], objects) or await making.ready(objects, consumed=False):
            return False
        set_condition(op, OperationCondition.MAINTENANCE_MODE, False, reason=MaintenanceModeReason.DISABLED)
        return False

    async def _clone(self, op: VirtualMachineOperation) -> bool:
        status, options = op["status"], op["spec"]["clone"]
        ready = OperationCondition.SNAPSHOT_READY
        cleaned = find_condition(op, ready)
        if cleaned is not None and cleaned["reason"] == CloneSnapshotReason.CLEANED_UP:
            return True
        snapshot = await self._taken(op)
        phase = (snapshot.get("status") or {}).get("phase")
        if phase == SnapshotPhase.FAILED:
            told = find_condition(snapshot, MachineSnapshotCondition.VIRTUAL_MACHINE_SNAPSHOT_READY) or {}
            message = f"The snapshot to clone from failed: {told.get('message', '')}"
            set_condition(op, ready, False, reason=CloneSnapshotReason.FAILED, message=message)
            raise PermanentError(message)
        if phase != SnapshotPhase.READY:
            set_condition(op, ready, False, reason=CloneSnapshotReason.IN_PROGRESS)
            return False
        set_condition(op, ready, True, reason=CloneSnapshotReason.READY)
        making = Making(self._context, Wanted(snapshot, op["metadata"]["uid"], options["mode"], options))
        objects = await making.objects()
        status["resources"] = await making.judge(objects)
        if failures(status["resources"]):
            raise PermanentError(UNFIT)
        if options["mode"] == OperationMode.DRY_RUN:
            return True
        status["resources"] = await making.make(objects)
        if failures(status["resources"]):
            raise PermanentError(FAILED)
        if not complete(status["resources"], objects) or await making.ready(objects, consumed=True):
            return False
        await self._clean_up(op)
        set_condition(op, ready, False, reason=CloneSnapshotReason.CLEANED_UP)
        return True

    async def _clean_up(self, op: VirtualMachineOperation) -> None:
        """What the operation took for itself."""
        where = (VIRTUAL_MACHINE_SNAPSHOT, op["metadata"]["namespace"], _name(op))
        found = await self._context.store.find(*where)
        if found is not None:
            await delete_this(self._context.store, VIRTUAL_MACHINE_SNAPSHOT, found)

    async def _snapshot(self, op: VirtualMachineOperation, name: str, *, begun: bool) -> VirtualMachineSnapshot:
        """``begun``: one that is to go is kept until the operation is done."""
        namespace = op["metadata"]["namespace"]
        found = await self._context.store.find(VIRTUAL_MACHINE_SNAPSHOT, namespace, name)
        phase = "absent" if found is None else (found.get("status") or {}).get("phase") or SnapshotPhase.PENDING
        kept = found is not None and begun and is_deleting(found)
        if found is None or (phase != SnapshotPhase.READY and not kept):
            raise PermanentError(f'VirtualMachineSnapshot "{name}" is {phase}, not Ready.')
        if found["spec"]["virtualMachineName"] != op["spec"]["virtualMachineName"]:
            raise PermanentError(
                f'VirtualMachineSnapshot "{name}" is of virtual machine {found["spec"]["virtualMachineName"]}.'
            )
        return found

    async def _taken(self, op: VirtualMachineOperation) -> VirtualMachineSnapshot:
        """The snapshot that the operation takes for itself."""
        meta, store = op["metadata"], self._context.store
        name = _name(op)
        found = await store.find(VIRTUAL_MACHINE_SNAPSHOT, meta["namespace"], name)
        if found is not None:
            return found
        owner = owner_reference(op, controller=False)
        body: Object = {
            "metadata": {"namespace": meta["namespace"], "name": name, "ownerReferences": [owner]},
            "spec": {
                "virtualMachineName": op["spec"]["virtualMachineName"],
                "requiredConsistency": True,
                "keepIPAddress": KeepIPAddress.NEVER,
            },
        }
        try:
            return (await store.create(VIRTUAL_MACHINE_SNAPSHOT, meta["namespace"], body)).object()
        except AlreadyExists:
            return await store.find(VIRTUAL_MACHINE_SNAPSHOT, meta["namespace"], name) or await self._taken(op)


def _name(op: VirtualMachineOperation) -> str:
    """Of the snapshot that a clone takes for itself."""
    return f"vmop-clone-{op['metadata']['uid']}"
