"""VirtualMachineSnapshotOperation: a new machine made from a snapshot, once.

It is completed when its objects are made, and waits for no disk.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from hyperd import clock
from hyperd.controllers.context import Context
from hyperd.controllers.snapshot import saving
from hyperd.controllers.snapshot.making import FAILED, UNFIT, Making, Wanted, complete, failures, unmake
from hyperd.errors import PermanentError
from hyperd.resources.all import (
    SECRET,
    VIRTUAL_DISK,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT,
    VIRTUAL_MACHINE_IP_ADDRESS,
    VIRTUAL_MACHINE_SNAPSHOT,
    VIRTUAL_MACHINE_SNAPSHOT_OPERATION,
)
from hyperd.resources.kinds.virtual_disk_snapshot import SnapshotPhase
from hyperd.resources.kinds.virtual_machine_operation import OperationMode
from hyperd.resources.kinds.virtual_machine_snapshot_operation import (
    SnapshotCompletedReason,
    SnapshotOperationCondition,
    SnapshotOperationPhase,
)
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values.conditions import set_condition
from hyperd.resources.values.meta import is_deleting
from hyperd.runtime.controller import Controller, Key, Mapper, Result
from hyperd.runtime.recorder import EventLevel
from hyperd.runtime.status import remove_finalizer, update_status
from hyperd.store.interface import Item, Preconditions

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine_snapshot import VirtualMachineSnapshot
    from hyperd.resources.views.virtual_machine_snapshot_operation import VirtualMachineSnapshotOperation

_LOOK_SECONDS = 0.5
_FINISHED = (SnapshotOperationPhase.COMPLETED, SnapshotOperationPhase.FAILED)
_STARTED = "VirtualMachineSnaphotOperationStarted"
"""The reference's own spelling; clients match it."""
_SUCCEEDED = "VirtualMachineSnapshotOperationSucceeded"
_FAILED = "VirtualMachineSnapshotOperationFailed"
_INDEX = "snapshot"


class SnapshotOperationController(Controller):
    """Makes machines of snapshots, and forgets old operations."""

    name = "virtualmachinesnapshotoperation"
    kind = VIRTUAL_MACHINE_SNAPSHOT_OPERATION
    cluster_wide = True
    writes: ClassVar = {
        VIRTUAL_MACHINE_SNAPSHOT_OPERATION: ("delete",),
        VIRTUAL_MACHINE_IP_ADDRESS: ("create", "delete"),
        VIRTUAL_MACHINE: ("create", "delete"),
        VIRTUAL_DISK: ("create", "delete"),
        VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT: ("create", "delete"),
        SECRET: ("create", "delete"),
    }

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._operations = context.informer(VIRTUAL_MACHINE_SNAPSHOT_OPERATION)
        self._operations.add_index(_INDEX, _snapshot_values)

    def watches(self) -> Mapping[Kind, Mapper]:
        return {VIRTUAL_MACHINE_SNAPSHOT: self._of_snapshot}

    def _of_snapshot(self, item: Item) -> list[Key]:
        found = self._operations.by_index(_INDEX, f"{item.namespace}/{item.name}")
        return [Key(each.namespace, each.name) for each in found]

    async def reconcile(self, key: Key) -> Result | None:
        before = self._operations.get(*key)
        if before is None:
            return None
        if before["metadata"].get("deletionTimestamp"):
            await remove_finalizer(self._context.store, self.kind, before)
            return None
        if (before.get("status") or {}).get("phase") in _FINISHED:
            return await self._retire(before)
        after = copy.deepcopy(before)
        status = after.setdefault("status", {})
        status["observedGeneration"] = before["metadata"]["generation"]
        try:
            done = await self._step(after)
        except PermanentError as err:
            if status.get("phase") == SnapshotOperationPhase.IN_PROGRESS:
                await unmake(self._context, after)
            reason = SnapshotCompletedReason.OPERATION_FAILED
            if err.key in list(SnapshotCompletedReason):
                reason = SnapshotCompletedReason(err.key)
            self._end(after, SnapshotOperationPhase.FAILED, reason, err.message)
            done = True
        else:
            if done:
                reason = SnapshotCompletedReason.OPERATION_COMPLETED
                self._end(after, SnapshotOperationPhase.COMPLETED, reason, "")
            else:
                if status.get("phase") != SnapshotOperationPhase.IN_PROGRESS:
                    told = f"A virtual machine is made of {after['spec']['virtualMachineSnapshotName']}."
                    self._context.events.event(after, "Normal", _STARTED, told)
                status["phase"] = SnapshotOperationPhase.IN_PROGRESS
                reason = SnapshotCompletedReason.CREATE_IN_PROGRESS
                set_condition(after, SnapshotOperationCondition.COMPLETED, False, reason=reason)
        stored = await update_status(self._context.store, self.kind, before, after)
        if done:
            await remove_finalizer(self._context.store, self.kind, stored)
        return None if done else Result(_LOOK_SECONDS)

    async def _step(self, op: VirtualMachineSnapshotOperation) -> bool:
        """Go on with it; whether it is completed."""
        snapshot, options = await self._snapshot(op), op["spec"].get("createVirtualMachine")
        if options is None:
            raise PermanentError("spec.createVirtualMachine is missing: it says how the machine is to be called.")
        making = Making(self._context, Wanted(snapshot, op["metadata"]["uid"], options["mode"], options))
        objects = await making.objects()
        status = op["status"]
        status["resources"] = await making.judge(objects)
        if failures(status["resources"]):
            raise PermanentError(UNFIT)
        if options["mode"] == OperationMode.DRY_RUN:
            return True
        if status.get("phase") != SnapshotOperationPhase.IN_PROGRESS:
            await saving.hold(self._context, snapshot, op)
            return False  # first it stands in the store that something is made
        status["resources"] = await making.make(objects)
        if failures(status["resources"]):
            raise PermanentError(FAILED)
        return complete(status["resources"], objects)

    async def _snapshot(self, op: VirtualMachineSnapshotOperation) -> VirtualMachineSnapshot:
        name, namespace = op["spec"]["virtualMachineSnapshotName"], op["metadata"]["namespace"]
        found = await self._context.store.find(VIRTUAL_MACHINE_SNAPSHOT, namespace, name)
        if found is None:
            key = SnapshotCompletedReason.SNAPSHOT_NOT_FOUND
            raise PermanentError(f'VirtualMachineSnapshot "{name}" does not exist.', key=key)
        key = SnapshotCompletedReason.NOT_READY_TO_BE_EXECUTED
        phase = (found.get("status") or {}).get("phase") or SnapshotPhase.PENDING
        begun = op["status"].get("phase") == SnapshotOperationPhase.IN_PROGRESS
        # One that is to go is kept until the operation is done.
        if phase != SnapshotPhase.READY and not (begun and is_deleting(found)):
            raise PermanentError(f'VirtualMachineSnapshot "{name}" is {phase}, not Ready.', key=key)
        for item in self._operations.by_index(_INDEX, f"{namespace}/{name}"):
            other = item.object()
            finished = (other.get("status") or {}).get("phase") in _FINISHED
            if not finished and not is_deleting(other) and rank(other) < rank(op):
                raise PermanentError(f'Previously created operation "{item.name}" should finish first.', key=key)
        return found

    def _end(
        self,
        op: VirtualMachineSnapshotOperation,
        phase: SnapshotOperationPhase,
        reason: SnapshotCompletedReason,
        message: str,
    ) -> None:
        op["status"]["phase"] = phase
        op["status"]["retentionTimer"] = clock.timer()
        well = phase == SnapshotOperationPhase.COMPLETED
        set_condition(op, SnapshotOperationCondition.COMPLETED, well, reason=reason, message=message)
        level: EventLevel = "Normal" if well else "Warning"
        event = message or "The virtual machine is made."
        self._context.events.event(op, level, _SUCCEEDED if well else _FAILED, event)

    async def _retire(self, op: VirtualMachineSnapshotOperation) -> Result | None:
        """Remove a finished operation once it is old, or when many newer ones are finished."""
        stored = await remove_finalizer(self._context.store, self.kind, op)
        if stored is None:
            return None
        limits, meta = self._context.settings.operations, op["metadata"]
        where = f"{meta['namespace']}/{op['spec']['virtualMachineSnapshotName']}"
        others = [item.object() for item in self._operations.by_index(_INDEX, where)]
        finished = [each for each in others if (each.get("status") or {}).get("phase") in _FINISHED]
        newest = sorted(finished, key=_since_end)[: limits.keep_per_vm]
        since = _since_end(op)
        if since < limits.retention_seconds and any(each["metadata"]["uid"] == meta["uid"] for each in newest):
            if clock.due_to_note(op["status"].get("retentionTimer"), limits.retention_seconds):
                noted = copy.deepcopy(stored)
                noted["status"]["retentionTimer"] = clock.timer(since)
                await update_status(self._context.store, self.kind, stored, noted)
            return Result(clock.next_look(limits.retention_seconds - since, limits.retention_seconds))
        preconditions = Preconditions(uid=meta["uid"])
        await self._context.store.delete(self.kind, meta["namespace"], meta["name"], preconditions=preconditions)
        return None


def rank(op: VirtualMachineSnapshotOperation) -> tuple[bool, str, str]:
    """Which of two comes first: one that has begun, else the older one."""
    waits = (op.get("status") or {}).get("phase") != SnapshotOperationPhase.IN_PROGRESS
    return waits, op["metadata"]["creationTimestamp"], op["metadata"]["uid"]


def _since_end(op: VirtualMachineSnapshotOperation) -> float:
    """Seconds since the operation ended, no more than are sure."""
    return clock.passed((op.get("status") or {}).get("retentionTimer"))


def _snapshot_values(op: VirtualMachineSnapshotOperation) -> list[str]:
    return [f"{op['metadata']['namespace']}/{op['spec']['virtualMachineSnapshotName']}"]
