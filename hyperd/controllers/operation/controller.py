"""VirtualMachineOperation: Start, Stop and Restart, once each.

The operation says what is wanted; the machine's controller does it when it sees the operation InProgress. The
operation completes by what is then true of the machine, so a crash between the two loses nothing.

Which of a machine's operations counts follows from what takes over from what, never from a clock: whoever takes
over from an operation was created after it, or at once with it. So an operation waits until those that it would
take over from were accepted or refused; it takes over from one in progress whatever phase the machine is passing
through; and it ends only after those are Superseded.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakValueDictionary

from hyperd import clock
from hyperd.controllers.context import Context
from hyperd.controllers.machine import applied, holding
from hyperd.controllers.machine.operations import (
    MIGRATIONS,
    POWER_TYPES,
    Ends,
    index_operations,
    is_accepted,
    is_finished,
    is_going,
    is_moving,
    machine_of,
    of_machine,
    phase_of,
)
from hyperd.controllers.migration.interface import Moves
from hyperd.controllers.operation.moving import LOOK_SECONDS as MOVING_SECONDS
from hyperd.controllers.operation.moving import Moving
from hyperd.controllers.operation.rebuilding import LOOK_SECONDS, REBUILDING, Rebuilding
from hyperd.controllers.unbuilt import name_unbuilt_fields
from hyperd.crashpoints import CrashPoint, reached
from hyperd.errors import PermanentError
from hyperd.resources.all import (
    SECRET,
    VIRTUAL_DISK,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT,
    VIRTUAL_MACHINE_IP_ADDRESS,
    VIRTUAL_MACHINE_OPERATION,
    VIRTUAL_MACHINE_SNAPSHOT,
)
from hyperd.resources.kinds.virtual_machine import RunPolicy
from hyperd.resources.kinds.virtual_machine_operation import (
    CompletedReason,
    OperationCondition,
    OperationPhase,
    OperationType,
    SignalSentReason,
    supersedes,
)
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values.conditions import set_condition
from hyperd.runtime.controller import Controller, Key, Mapper, Result
from hyperd.runtime.recorder import EventLevel
from hyperd.runtime.status import remove_finalizer, update_status
from hyperd.store.interface import EventType, Item, Preconditions

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_operation import VirtualMachineOperation

_BUSY_SECONDS = 0.05
_BY_HAND = (RunPolicy.MANUAL, RunPolicy.ALWAYS_ON_UNLESS_STOPPED_MANUALLY)
_POLICIES: Mapping[OperationType, Sequence[RunPolicy]] = {
    OperationType.START: _BY_HAND,
    OperationType.STOP: _BY_HAND,
    OperationType.RESTART: (*_BY_HAND, RunPolicy.ALWAYS_ON),
    **dict.fromkeys(MIGRATIONS, (*_BY_HAND, RunPolicy.ALWAYS_ON)),
}
_UP = (
    VirtualMachinePhase.RUNNING,
    VirtualMachinePhase.DEGRADED,
    VirtualMachinePhase.STARTING,
    VirtualMachinePhase.PAUSE,
)
_PHASES: Mapping[OperationType, Sequence[VirtualMachinePhase]] = {
    OperationType.START: (VirtualMachinePhase.STOPPED, VirtualMachinePhase.STOPPING),
    OperationType.STOP: (*_UP, VirtualMachinePhase.PENDING),
    OperationType.RESTART: _UP,
    OperationType.RESTORE: (
        VirtualMachinePhase.RUNNING,
        VirtualMachinePhase.STOPPED,
        VirtualMachinePhase.PENDING,
    ),
    OperationType.CLONE: (VirtualMachinePhase.RUNNING, VirtualMachinePhase.STOPPED),
    **dict.fromkeys(MIGRATIONS, (VirtualMachinePhase.RUNNING,)),
}
_IN_PROGRESS: Mapping[OperationType, CompletedReason] = {
    OperationType.START: CompletedReason.START_IN_PROGRESS,
    OperationType.STOP: CompletedReason.STOP_IN_PROGRESS,
    OperationType.RESTART: CompletedReason.RESTART_IN_PROGRESS,
    OperationType.RESTORE: CompletedReason.RESTORE_IN_PROGRESS,
    OperationType.CLONE: CompletedReason.CLONE_IN_PROGRESS,
    **dict.fromkeys(MIGRATIONS, CompletedReason.TARGET_SCHEDULING),
}


class OperationController(Controller):
    """Accepts operations, judges their end, forgets old ones."""

    name = "virtualmachineoperation"
    kind = VIRTUAL_MACHINE_OPERATION
    writes: ClassVar = {
        VIRTUAL_MACHINE_OPERATION: ("delete",),
        VIRTUAL_MACHINE_SNAPSHOT: ("create", "delete"),
        VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT: ("create", "delete"),
        VIRTUAL_MACHINE_IP_ADDRESS: ("create", "delete"),
        VIRTUAL_MACHINE: ("create", "delete", "update"),
        VIRTUAL_DISK: ("create", "delete"),
        SECRET: ("create", "delete"),
    }

    def __init__(
        self,
        context: Context,
        *,
        busy: Callable[[Key], bool] = lambda _: False,
        moves: Moves | None = None,
    ) -> None:
        """``busy`` is whether a step of that machine is being taken, which may know of no newer operation.

        ``moves`` has guests go to other nodes, where they can.
        """
        super().__init__()
        self._moving = Moving(moves)
        self._busy = busy
        self._turns: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        """One operation of a machine is accepted at a time."""
        self._accepted: dict[str, VirtualMachineOperation] = {}
        """What was accepted, by uid, until the informer shows it."""
        self._context = context
        self._rebuilding = Rebuilding(context)
        self._ends = Ends()
        self._operations = context.informer(VIRTUAL_MACHINE_OPERATION)
        self._machines = context.informer(VIRTUAL_MACHINE)
        index_operations(self._operations)

    def watches(self) -> Mapping[Kind, Mapper]:
        return {VIRTUAL_MACHINE: self._of_machine}

    def _of_machine(self, item: Item[VirtualMachine]) -> Iterable[Key]:
        return [_key(op) for op in of_machine(self._operations, item.namespace, item.name)]

    def on_own(self, type_: EventType, old: Item | None, new: Item | None) -> None:
        """What becomes of an operation concerns the machine's others."""
        super().on_own(type_, old, new)
        if old is not None and (new is None or not _is_new(new.object())):
            self._accepted.pop(old.uid, None)
        for item in (old, new):
            for machine in () if item is None else machine_of(item):
                for op in of_machine(self._operations, machine.namespace, machine.name):
                    if not is_finished(op):
                        self.enqueue(_key(op))

    async def reconcile(self, key: Key) -> Result | None:
        before = self._operations.get(*key)
        if before is None:
            return None
        if is_finished(before):
            self._ends.since(before)  # also of others' machines, which may come here
        name = before["spec"]["virtualMachineName"]
        machine = self._machines.get(key.namespace, name)
        if machine is None:
            # What is not shown here may be newer, or not shown by mistake.
            machine = await self._context.store.find(VIRTUAL_MACHINE, key.namespace, name)
        if not self._context.ownership.operates(machine):
            return None
        if before["metadata"].get("deletionTimestamp"):
            if machine is not None and holding.read(machine).operation == before["metadata"]["uid"]:
                return Result(MOVING_SECONDS)  # its end is seen to by who has the guest
            await remove_finalizer(self._context.store, self.kind, before)
            return None
        if is_finished(before):
            return await self._retire(before)
        after = copy.deepcopy(before)
        after.setdefault("status", {})["observedGeneration"] = before["metadata"]["generation"]
        name_unbuilt_fields(self.kind, after, built=self._moving.built)
        if is_accepted(before):
            again = await self._judge(after, machine)
            stored = await self._write(before, after)
        else:
            again = None
            turn = self._turns.setdefault(Key(key.namespace, before["spec"]["virtualMachineName"]), asyncio.Lock())
            async with turn:
                others = self._others(before)
                if any(_is_new(op) and supersedes(before["spec"], op["spec"]) for op in others):
                    return None
                going = [op for op in others if is_going(op) or is_moving(op)]
                self._accept(after, machine, going, _rebuilding(others))
                stored = await self._write(before, after)
                shown = self._operations.get(*key)
                if shown is not None and _is_new(shown):
                    self._accepted[shown["metadata"]["uid"]] = stored
            if phase_of(after) == OperationPhase.IN_PROGRESS:
                reached(CrashPoint.OPERATION_AFTER_SIGNAL)
        if is_finished(after):
            await remove_finalizer(self._context.store, self.kind, stored)
        return again

    async def _write(
        self, before: VirtualMachineOperation, after: VirtualMachineOperation
    ) -> VirtualMachineOperation:
        if is_finished(after):
            after["status"]["retentionTimer"] = clock.timer()
            after["status"].pop("stageTimer", None)
        return await update_status(self._context.store, self.kind, before, after)

    def _others(self, op: VirtualMachineOperation) -> list[VirtualMachineOperation]:
        """The machine's other operations that change it; what was accepted a moment ago counts."""
        meta, others = op["metadata"], []
        for other in of_machine(self._operations, meta["namespace"], op["spec"]["virtualMachineName"]):
            uid = other["metadata"]["uid"]
            if not _is_new(other):
                self._accepted.pop(uid, None)
            if uid != meta["uid"] and other["spec"]["type"] in (*POWER_TYPES, *MIGRATIONS, *REBUILDING):
                others.append(self._accepted.get(uid, other))
        return others

    def _accept(
        self,
        op: VirtualMachineOperation,
        machine: VirtualMachine | None,
        going: Sequence[VirtualMachineOperation],
        rebuilding: Sequence[VirtualMachineOperation],
    ) -> None:
        """Into progress, or Failed at once: nothing waits. The others are the machine's that are in progress.

        Nothing takes over from what is ``rebuilding``: two of them would remove each other's disks for ever.
        """
        type_ = op["spec"]["type"]
        name = op["spec"]["virtualMachineName"]
        if machine is None:
            self._fail(op, CompletedReason.VIRTUAL_MACHINE_NOT_FOUND, f'VirtualMachine "{name}" does not exist.')
            return
        policy = machine["spec"]["runPolicy"]
        if type_ in _POLICIES and policy not in _POLICIES[type_]:
            message = f"{type_} does not apply to a virtual machine with runPolicy {policy}."
            self._fail(op, CompletedReason.NOT_APPLICABLE_FOR_RUN_POLICY, message)
            return
        # Admission refuses an operation beside a rival, unless both were on their way at once.
        rivals = [other["metadata"]["name"] for other in going if not supersedes(op["spec"], other["spec"])]
        rivals += [other["metadata"]["name"] for other in rebuilding]
        if rivals:
            message = f'Previously created operation "{rivals[0]}" should finish first.'
            both = type_ in MIGRATIONS and any(is_moving(other) for other in going)
            reason = CompletedReason.OTHER_MIGRATION_IN_PROGRESS if both else None
            self._fail(op, reason or CompletedReason.NOT_READY_TO_BE_EXECUTED, message)
            return
        phase = (machine.get("status") or {}).get("phase") or VirtualMachinePhase.PENDING
        phases = _PHASES[type_]
        if op["spec"].get("force") and type_ != OperationType.START:
            phases = (*phases, VirtualMachinePhase.STOPPING)
        # Another in progress is about to change the phase, and this takes over from it, wherever it has got to.
        if not going and phase not in phases:
            message = f"{type_} does not apply to a virtual machine in phase {phase}."
            self._fail(op, CompletedReason.NOT_APPLICABLE_FOR_PHASE, message)
            return
        if type_ in MIGRATIONS and (why := self._moving.hindered(op, machine)) is not None:
            self._fail(op, *why)
            return
        op["status"]["phase"] = OperationPhase.IN_PROGRESS
        set_condition(op, OperationCondition.COMPLETED, False, reason=_IN_PROGRESS[type_])
        self._event(op, "Normal", "VirtualMachineOperationStarted", f"{type_} of {name} began.")
        if type_ in POWER_TYPES:
            set_condition(op, OperationCondition.SIGNAL_SENT, True, reason=SignalSentReason.SUCCESS)
            self._event(op, "Normal", "VirtualMachineOperationInProgress", f"{name} was told to {type_.lower()}.")

    async def _judge(self, op: VirtualMachineOperation, machine: VirtualMachine | None) -> Result | None:
        """Whether what the operation wants is true by now; when to look again where nothing would tell."""
        type_ = op["spec"]["type"]
        name = op["spec"]["virtualMachineName"]
        if machine is None or machine["metadata"].get("deletionTimestamp"):
            self._fail(
                op, CompletedReason.VIRTUAL_MACHINE_NOT_FOUND, f'VirtualMachine "{name}" was deleted meanwhile.'
            )
            return None
        if type_ in REBUILDING:
            return await self._rebuild(op, machine)
        uid = op["metadata"]["uid"]
        all_ = of_machine(self._operations, op["metadata"]["namespace"], name)
        going = [
            other for other in all_ if (is_going(other) or is_moving(other)) and other["metadata"]["uid"] != uid
        ]
        by = next((other for other in going if supersedes(other["spec"], op["spec"])), None)
        if by is not None:
            op["status"]["phase"] = OperationPhase.SUPERSEDED
            message = f'Superseded by "{by["metadata"]["name"]}" with type {by["spec"]["type"]}.'
            set_condition(
                op, OperationCondition.COMPLETED, True, reason=CompletedReason.SUPERSEDED, message=message
            )
            return None
        if type_ in MIGRATIONS:
            return self._move(op, machine)
        if any(supersedes(op["spec"], other["spec"]) for other in going):
            return None
        phase = (machine.get("status") or {}).get("phase")
        if phase != (VirtualMachinePhase.STOPPED if type_ == OperationType.STOP else VirtualMachinePhase.RUNNING):
            return None
        if type_ == OperationType.STOP and self._busy(Key(op["metadata"]["namespace"], name)):
            # A start that began before may be about to end.
            return Result(_BUSY_SECONDS)
        if await self._is_so(op, machine):
            self._complete(op)
        return None

    def _move(self, op: VirtualMachineOperation, machine: VirtualMachine) -> Result | None:
        try:
            done = self._moving.judge(op, machine)
        except PermanentError as err:
            self._fail(op, CompletedReason(err.key or CompletedReason.OPERATION_FAILED), err.message)
            return None
        if not done:
            return Result(MOVING_SECONDS)
        self._complete(op)
        return None

    async def _rebuild(self, op: VirtualMachineOperation, machine: VirtualMachine) -> Result | None:
        try:
            done = await self._rebuilding.step(op, machine)
        except PermanentError as err:
            self._fail(op, CompletedReason.OPERATION_FAILED, err.message)
            return None
        if not done:
            return Result(LOOK_SECONDS)
        self._complete(op)
        return None

    def _complete(self, op: VirtualMachineOperation) -> None:
        op["status"]["phase"] = OperationPhase.COMPLETED
        reason = CompletedReason.OPERATION_COMPLETED
        set_condition(op, OperationCondition.COMPLETED, True, reason=reason)
        event = f"{op['spec']['type']} of {op['spec']['virtualMachineName']} is done."
        self._event(op, "Normal", "VirtualMachineOperationSucceeded", event)

    async def _is_so(self, op: VirtualMachineOperation, machine: VirtualMachine) -> bool:
        """Whether the host says the same as the machine's phase, which may be of a moment ago."""
        info = await self._context.hypervisor.info(machine["metadata"]["uid"])
        type_ = op["spec"]["type"]
        if type_ == OperationType.STOP:
            return info is None or not info.active
        if info is None or not info.active:
            return False
        return type_ != OperationType.RESTART or applied.decode(info.applied).operation == op["metadata"]["uid"]

    def _fail(self, op: VirtualMachineOperation, reason: CompletedReason, message: str) -> None:
        op["status"]["phase"] = OperationPhase.FAILED
        set_condition(op, OperationCondition.COMPLETED, False, reason=reason, message=message)
        self._event(op, "Warning", "VirtualMachineOperationFailed", message)

    async def _retire(self, op: VirtualMachineOperation) -> Result | None:
        """Remove a finished operation once it is old, or when ten newer ones are finished."""
        stored = await remove_finalizer(self._context.store, self.kind, op)
        if stored is None:
            return None
        limits = self._context.settings.operations
        retention, namespace, name = limits.retention_seconds, op["metadata"]["namespace"], op["metadata"]["name"]
        finished = [
            other
            for other in of_machine(self._operations, namespace, op["spec"]["virtualMachineName"])
            if is_finished(other)
        ]
        newest = sorted(finished, key=self._ends.since)[: limits.keep_per_vm]
        since = self._ends.since(op)
        if since < retention and any(other["metadata"]["name"] == name for other in newest):
            if clock.due_to_note(op["status"].get("retentionTimer"), retention):
                noted = copy.deepcopy(stored)
                noted["status"]["retentionTimer"] = clock.timer(since)
                await update_status(self._context.store, self.kind, stored, noted)
            return Result(clock.next_look(retention - since, retention))
        await self._context.store.delete(
            self.kind, namespace, name, preconditions=Preconditions(uid=op["metadata"]["uid"])
        )
        return None

    def _event(self, op: VirtualMachineOperation, level: EventLevel, reason: str, message: str) -> None:
        self._context.events.event(op, level, reason, message)


def _is_new(op: VirtualMachineOperation) -> bool:
    """Neither accepted nor refused yet."""
    return not is_accepted(op) and not op["metadata"].get("deletionTimestamp")


def _rebuilding(ops: Iterable[VirtualMachineOperation]) -> list[VirtualMachineOperation]:
    """Those that make a machine of a snapshot now, and that nobody takes back."""
    going = (op for op in ops if phase_of(op) == OperationPhase.IN_PROGRESS and op["spec"]["type"] in REBUILDING)
    return [op for op in going if not op["metadata"].get("deletionTimestamp")]


def _key(op: VirtualMachineOperation) -> Key:
    return Key(op["metadata"]["namespace"], op["metadata"]["name"])
