"""A machine's operations, as its controller and its binder look them up.

Which of them counts follows from what takes over from what, never from a clock: see
``controllers/operation/controller.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hyperd import clock
from hyperd.controllers.machine.power import ActiveOperation
from hyperd.resources.kinds.virtual_machine_operation import (
    FINISHED_PHASES,
    CompletedReason,
    OperationCondition,
    OperationPhase,
    OperationType,
    supersedes,
)
from hyperd.resources.values.conditions import find_condition, is_true
from hyperd.runtime.controller import Key
from hyperd.runtime.informer import Informer
from hyperd.store.interface import Item

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine_operation import VirtualMachineOperation

    Operations = Informer[VirtualMachineOperation]

_INDEX = "machine"
POWER_TYPES = (OperationType.START, OperationType.STOP, OperationType.RESTART)
MIGRATIONS = (OperationType.MIGRATE, OperationType.EVICT)
PENDING_REASONS = (
    CompletedReason.MIGRATION_PENDING,
    CompletedReason.QUOTA_EXCEEDED,
    CompletedReason.WAITING_FOR_SYNC_SLOT,
)
"""Stages of a migration that may last, at which its phase is Pending."""


def index_operations(operations: Operations) -> None:
    """Make operations findable by their machine."""
    operations.add_index(_INDEX, _machine_values)


def machine_of(item: Item[VirtualMachineOperation]) -> Iterable[Key]:
    """The machine that an operation is for."""
    yield Key(item.namespace, item.object()["spec"]["virtualMachineName"])


def of_machine(
    operations: Informer[VirtualMachineOperation], namespace: str, name: str
) -> list[VirtualMachineOperation]:
    """The operations of a machine, in no order of time."""
    found = [item.object() for item in operations.by_index(_INDEX, f"{namespace}/{name}")]
    return sorted(found, key=lambda op: str(op["metadata"]["uid"]))


def phase_of(op: VirtualMachineOperation) -> OperationPhase | None:
    """The operation's phase; None before it was looked at."""
    return (op.get("status") or {}).get("phase")


def is_finished(op: VirtualMachineOperation) -> bool:
    """Whether it ended, well or not."""
    return phase_of(op) in FINISHED_PHASES


def active_operation(
    operations: Informer[VirtualMachineOperation], namespace: str, name: str
) -> ActiveOperation | None:
    """The power operation that the machine is to follow now: one in progress that none takes over from.

    A restore has it off while it is in maintenance, and started after that if it ran.
    """
    for op in of_machine(operations, namespace, name):
        if (wanted := _restoring(op)) is not None:
            return wanted
    going = [op for op in of_machine(operations, namespace, name) if is_going(op)]
    for op in going:
        if not any(supersedes(other["spec"], op["spec"]) for other in going):
            meta, spec = op["metadata"], op["spec"]
            return ActiveOperation(meta["uid"], spec["type"], bool(spec.get("force")), meta["name"])
    return None


def restores(op: VirtualMachineOperation) -> bool:
    """Whether it is a restore in progress that has the machine off to rebuild it."""
    restore = op["spec"]["type"] == OperationType.RESTORE and phase_of(op) == OperationPhase.IN_PROGRESS
    return restore and is_true(op, OperationCondition.MAINTENANCE_MODE)


def _restoring(op: VirtualMachineOperation) -> ActiveOperation | None:
    """What a restore in progress wants of the machine.

    Nothing before its maintenance, and after it of a machine that was off.
    """
    meta, force = op["metadata"], bool(op["spec"].get("force"))
    if op["spec"]["type"] != OperationType.RESTORE or phase_of(op) != OperationPhase.IN_PROGRESS:
        return None
    if find_condition(op, OperationCondition.MAINTENANCE_MODE) is None:
        return None
    if restores(op):
        return ActiveOperation(meta["uid"], OperationType.STOP, force, meta["name"])
    if op["status"].get("wasRunning"):
        return ActiveOperation(meta["uid"], OperationType.START, False, meta["name"])
    return None


def is_going(op: VirtualMachineOperation) -> bool:
    """Whether it is a power operation in progress that nobody takes back."""
    going = phase_of(op) == OperationPhase.IN_PROGRESS and op["spec"]["type"] in POWER_TYPES
    return going and not op["metadata"].get("deletionTimestamp")


def is_moving(op: VirtualMachineOperation) -> bool:
    """Whether it moves the machine's guest to another node, and nobody takes it back."""
    going = is_accepted(op) and not is_finished(op) and op["spec"]["type"] in MIGRATIONS
    return going and not op["metadata"].get("deletionTimestamp")


def is_accepted(op: VirtualMachineOperation) -> bool:
    """Whether it was begun, or has ended. A migration that waits for a quota or its turn is Pending again."""
    if phase_of(op) != OperationPhase.PENDING:
        return phase_of(op) is not None
    said = find_condition(op, OperationCondition.COMPLETED) or {}
    return op["spec"]["type"] in MIGRATIONS and said.get("reason") in PENDING_REASONS


def since_end(op: VirtualMachineOperation) -> float:
    """Seconds since the operation ended, no more than are sure."""
    return clock.passed((op.get("status") or {}).get("retentionTimer"))


class Ends:
    """How long ago operations ended, also for who is on another node: the timers of its boot stand still there.

    Asked about each operation once it is seen to have ended, it knows in which order they did, wherever that was.
    """

    def __init__(self) -> None:
        self._seen = clock.Seen()

    def since(self, op: VirtualMachineOperation) -> float:
        """Seconds since its end, or since that was first seen here, whichever is more."""
        return max(since_end(op), self._seen.age(op["metadata"]["uid"]))


def _machine_values(op: VirtualMachineOperation) -> list[str]:
    return [f"{op['metadata']['namespace']}/{op['spec']['virtualMachineName']}"]
