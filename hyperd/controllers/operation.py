"""VirtualMachineOperation: Start, Stop and Restart, once each.

The operation says what is wanted; the machine's controller does it when it sees the operation InProgress. The
operation completes by what is then true of the machine, so a crash between the two loses nothing.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Mapping, Sequence

from hyperd.controllers.context import Context
from hyperd.controllers.machine import applied
from hyperd.controllers.machine.power import ActiveOperation
from hyperd.controllers.unbuilt import name_unbuilt_fields
from hyperd.crashpoints import CrashPoint, reached
from hyperd.resources import meta as metas
from hyperd.resources import names
from hyperd.resources.all import VIRTUAL_MACHINE, VIRTUAL_MACHINE_OPERATION
from hyperd.resources.conditions import find_condition, set_condition
from hyperd.resources.kind import Kind, Object
from hyperd.resources.virtual_machine_operation import supersedes
from hyperd.runtime.controller import Controller, Key, Mapper, Result
from hyperd.runtime.informer import Informer
from hyperd.runtime.recorder import EventLevel
from hyperd.runtime.status import remove_finalizer, update_status
from hyperd.store.interface import Item, Preconditions

MACHINE_INDEX = "machine"
POWER_TYPES = ("Start", "Stop", "Restart")
FINISHED = ("Completed", "Failed", "Superseded")

_POLICIES = {
    "Start": ("Manual", "AlwaysOnUnlessStoppedManually"),
    "Stop": ("Manual", "AlwaysOnUnlessStoppedManually"),
    "Restart": ("Manual", "AlwaysOnUnlessStoppedManually", "AlwaysOn"),
}
_PHASES = {
    "Start": ("Stopped", "Stopping"),
    "Stop": ("Running", "Degraded", "Starting", "Pause", "Pending"),
    "Restart": ("Running", "Degraded", "Starting", "Pause"),
}


def index_operations(operations: Informer) -> None:
    """Make operations findable by their machine."""
    operations.add_index(MACHINE_INDEX, _machine_values)


def machine_of(item: Item) -> Iterable[Key]:
    """The machine that an operation is for."""
    yield Key(item.namespace, item.object()["spec"].get("virtualMachineName", ""))


def of_machine(operations: Informer, namespace: str, name: str) -> list[Object]:
    """The operations of a machine, oldest first."""
    found = [item.object() for item in operations.by_index(MACHINE_INDEX, f"{namespace}/{name}")]
    return sorted(
        found, key=lambda op: (op["metadata"]["creationTimestamp"], int(op["metadata"]["resourceVersion"]))
    )


def active_operation(operations: Informer, namespace: str, name: str) -> ActiveOperation | None:
    """The power operation that the machine is to follow now: the newest in progress."""
    for op in reversed(of_machine(operations, namespace, name)):
        phase = (op.get("status") or {}).get("phase")
        if (
            phase == "InProgress"
            and op["spec"]["type"] in POWER_TYPES
            and not op["metadata"].get("deletionTimestamp")
        ):
            return ActiveOperation(op["metadata"]["uid"], op["spec"]["type"], bool(op["spec"].get("force")))
    return None


class OperationController(Controller):
    """Accepts operations, judges their end, forgets old ones."""

    name = "virtualmachineoperation"
    kind = VIRTUAL_MACHINE_OPERATION

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._operations = context.informer(VIRTUAL_MACHINE_OPERATION)
        self._machines = context.informer(VIRTUAL_MACHINE)
        index_operations(self._operations)

    def watches(self) -> Mapping[Kind, Mapper]:
        return {VIRTUAL_MACHINE: self._of_machine}

    def _of_machine(self, item: Item) -> Iterable[Key]:
        return [
            Key(op.namespace, op.name)
            for op in self._operations.by_index(MACHINE_INDEX, f"{item.namespace}/{item.name}")
        ]

    async def reconcile(self, key: Key) -> Result | None:
        before = self._operations.get(*key)
        if before is None:
            return None
        machine = self._machines.get(key.namespace, before["spec"]["virtualMachineName"])
        if not self._context.duty.operates(machine):
            return None
        phase = (before.get("status") or {}).get("phase", "")
        if before["metadata"].get("deletionTimestamp"):
            await remove_finalizer(self._context.store, self.kind, before, names.VMOP_CLEANUP)
            return None
        if phase in FINISHED:
            return await self._retire(before)
        after = copy.deepcopy(before)
        after.setdefault("status", {})["observedGeneration"] = before["metadata"]["generation"]
        name_unbuilt_fields(self.kind, after)
        if phase == "InProgress":
            await self._judge(after, machine)
        else:
            self._accept(after, machine)
        stored = await update_status(self._context.store, self.kind, before, after)
        if phase != "InProgress" and (after["status"].get("phase") == "InProgress"):
            reached(CrashPoint.OPERATION_AFTER_SIGNAL)
        if after["status"].get("phase") in FINISHED:
            await remove_finalizer(self._context.store, self.kind, stored, names.VMOP_CLEANUP)
        return None

    def _accept(self, op: Object, machine: Object | None) -> None:
        """Into progress, or Failed at once: nothing waits."""
        type_ = op["spec"]["type"]
        name = op["spec"]["virtualMachineName"]
        if machine is None:
            self._fail(op, "VirtualMachineNotFound", f'VirtualMachine "{name}" does not exist.')
            return
        if type_ not in POWER_TYPES:
            message = f"Operation {type_} is not built yet in this version."
            self._fail(op, "OperationFailed", message)
            return
        policy = machine["spec"].get("runPolicy", "")
        if policy not in _POLICIES[type_]:
            message = f"{type_} does not apply to a virtual machine with runPolicy {policy}."
            self._fail(op, "NotApplicableForVirtualMachineRunPolicy", message)
            return
        phase = (machine.get("status") or {}).get("phase") or "Pending"
        phases: Sequence[str] = _PHASES[type_]
        if op["spec"].get("force") and type_ != "Start":
            phases = (*phases, "Stopping")
        if phase not in phases:
            message = f"{type_} does not apply to a virtual machine in phase {phase}."
            self._fail(op, "NotApplicableForVirtualMachinePhase", message)
            return
        rival = self._rival(op)
        if rival is not None:
            message = f'Previously created operation "{rival["metadata"]["name"]}" should finish first.'
            self._fail(op, "NotReadyToBeExecuted", message)
            return
        op["status"]["phase"] = "InProgress"
        set_condition(op, "Completed", False, reason=f"{type_}InProgress")
        set_condition(op, "SignalSent", True, reason="SignalSentSuccess")
        self._event(op, "Normal", "VirtualMachineOperationStarted", f"{type_} of {name} began.")

    async def _judge(self, op: Object, machine: Object | None) -> None:
        """Whether what the operation wants is true by now."""
        type_ = op["spec"]["type"]
        name = op["spec"]["virtualMachineName"]
        if machine is None or machine["metadata"].get("deletionTimestamp"):
            self._fail(op, "VirtualMachineNotFound", f'VirtualMachine "{name}" was deleted meanwhile.')
            return
        if self._superseded(op):
            op["status"]["phase"] = "Superseded"
            set_condition(op, "Completed", True, reason="Superseded", message="A later operation took over.")
            return
        phase = (machine.get("status") or {}).get("phase")
        done = phase == ("Stopped" if type_ == "Stop" else "Running")
        if done and type_ == "Restart":
            info = await self._context.hypervisor.info(machine["metadata"]["uid"])
            done = info is not None and applied.decode(info.spec_hash).operation == op["metadata"]["uid"]
        if done:
            op["status"]["phase"] = "Completed"
            set_condition(op, "Completed", True, reason="OperationCompleted")
            self._event(op, "Normal", "VirtualMachineOperationSucceeded", f"{type_} of {name} is done.")

    def _others(self, op: Object) -> tuple[list[Object], list[Object]]:
        """The machine's other operations in progress: those before ``op``, and those after it."""
        uid = op["metadata"]["uid"]
        all_ = of_machine(self._operations, op["metadata"]["namespace"], op["spec"]["virtualMachineName"])
        uids = [other["metadata"]["uid"] for other in all_]
        place = uids.index(uid) if uid in uids else len(uids)
        older, newer = (
            [other for other in part if (other.get("status") or {}).get("phase") == "InProgress"]
            for part in (all_[:place], all_[place + 1 :])
        )
        return older, newer

    def _rival(self, op: Object) -> Object | None:
        """An operation in progress that ``op`` neither takes over from nor gives way to.

        Admission refuses such an operation, unless both were on their way at once.
        """
        older, newer = self._others(op)
        rivals = [other for other in older if not supersedes(op["spec"], other["spec"])]
        rivals += [other for other in newer if not supersedes(other["spec"], op["spec"])]
        return rivals[0] if rivals else None

    def _superseded(self, op: Object) -> bool:
        _, newer = self._others(op)
        return any(supersedes(other["spec"], op["spec"]) for other in newer)

    def _fail(self, op: Object, reason: str, message: str) -> None:
        op["status"]["phase"] = "Failed"
        set_condition(op, "Completed", False, reason=reason, message=message)
        self._event(op, "Warning", "VirtualMachineOperationFailed", message)

    async def _retire(self, op: Object) -> Result | None:
        """Remove a finished operation once it is old, or when ten newer ones are finished."""
        stored = await remove_finalizer(self._context.store, self.kind, op, names.VMOP_CLEANUP)
        if stored is None:
            return None
        limits = self._context.settings.operations
        namespace, name = op["metadata"]["namespace"], op["metadata"]["name"]
        finished = [
            other["metadata"]["name"]
            for other in of_machine(self._operations, namespace, op["spec"]["virtualMachineName"])
            if (other.get("status") or {}).get("phase") in FINISHED
        ]
        completed = find_condition(op, "Completed")
        ended = metas.parse_time(completed["lastTransitionTime"]).timestamp() if completed else time.time()
        left = ended + limits.retention_seconds - time.time()
        if left > 0 and name in finished[max(0, len(finished) - limits.keep_per_vm) :]:
            return Result(left)
        await self._context.store.delete(
            self.kind, namespace, name, preconditions=Preconditions(uid=op["metadata"]["uid"])
        )
        return None

    def _event(self, op: Object, level: EventLevel, reason: str, message: str) -> None:
        self._context.events.event(op, level, reason, message)


def _machine_values(op: Object) -> list[str]:
    return [f"{op['metadata']['namespace']}/{op['spec'].get('virtualMachineName', '')}"]
