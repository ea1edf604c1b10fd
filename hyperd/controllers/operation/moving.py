"""Migrate and Evict: whether they may begin, how far they are, how they end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from hyperd import clock
from hyperd.controllers.machine import holding
from hyperd.controllers.machine.operations import PENDING_REASONS
from hyperd.controllers.migration.interface import Moves
from hyperd.errors import PermanentError
from hyperd.resources.kinds.virtual_machine import LiveMigrationPolicy
from hyperd.resources.kinds.virtual_machine_conditions import MigratableReason, VirtualMachineCondition
from hyperd.resources.kinds.virtual_machine_operation import (
    MOVING_BUILT,
    CompletedReason,
    OperationCondition,
    OperationPhase,
)
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.values import meta, names
from hyperd.resources.values.conditions import find_condition, set_condition

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_operation import VirtualMachineOperation

LOOK_SECONDS: Final = 1.0
_STUCK_SECONDS: Final = 300.0
_STUCK: Final = (
    CompletedReason.TARGET_SCHEDULING,
    CompletedReason.TARGET_UNSCHEDULABLE,
    CompletedReason.TARGET_PREPARING,
)
"""Stages at which a migration does not stay for long."""
_WITHOUT_GUEST: Final = (None, "", VirtualMachinePhase.PENDING, VirtualMachinePhase.STOPPED)
_NEVER_FORCED: Final[Mapping[LiveMigrationPolicy, bool]] = {
    LiveMigrationPolicy.ALWAYS_SAFE: True,
    LiveMigrationPolicy.ALWAYS_FORCED: False,
}
"""What ``force`` may not be with these policies."""
_NO_PODS: Final = "live migration is not built for machines without Pods."
_DONE: Final = 100
_SECONDS: Final = re.compile("[0-9]{1,9}")


class Moving:
    """Of the operations of one daemon; ``moves`` is None where no guest can go anywhere."""

    def __init__(self, moves: Moves | None) -> None:
        self._moves = moves
        self.built = frozenset() if moves is None else MOVING_BUILT
        """What of the kind's fields has an effect here."""

    def hindered(self, op: VirtualMachineOperation, machine: VirtualMachine) -> tuple[CompletedReason, str] | None:
        """What the machine's policy says against it, or its guest; None for nothing."""
        type_, force = op["spec"]["type"], op["spec"].get("force")
        policy = machine["spec"].get("liveMigrationPolicy", LiveMigrationPolicy.PREFER_SAFE)
        if force is not None and force is _NEVER_FORCED.get(policy):
            message = f"{type_} with force {str(force).lower()} does not apply to liveMigrationPolicy {policy}."
            return CompletedReason.NOT_APPLICABLE_FOR_LIVE_MIGRATION_POLICY, message
        movable = find_condition(machine, VirtualMachineCondition.MIGRATABLE) or {}
        # Which node there is the scheduler says of each operation: it may name nodes of its own.
        able = movable.get("status") == "True" or movable.get("reason") == MigratableReason.NO_TARGET
        if self._moves is not None and able:
            return None
        message = f"The virtual machine cannot be migrated: {movable.get('message') or _NO_PODS}"
        return CompletedReason.OPERATION_FAILED, message

    def judge(self, op: VirtualMachineOperation, machine: VirtualMachine) -> bool:
        """Have the operation's status say how far it is; whether it is done.

        Raises PermanentError where it failed, with a reason as its key.
        """
        if self._moves is None:
            raise PermanentError(_NO_PODS)
        stage = self._moves.stage(machine, op)
        if stage.failed:
            raise PermanentError(stage.message)
        if stage.percent == _DONE:
            op["status"]["progress"] = f"{_DONE}%"
            return True
        if not holding.read(machine).to and (phase := machine["status"].get("phase")) in _WITHOUT_GUEST:
            raise PermanentError(f"The guest has ended: the virtual machine is {phase}.")
        reason = CompletedReason(stage.reason)
        self._time(op, reason, stage.message)
        op["status"]["progress"] = f"{stage.percent}%"
        op["status"]["phase"] = OperationPhase.PENDING if reason in PENDING_REASONS else OperationPhase.IN_PROGRESS
        set_condition(op, OperationCondition.COMPLETED, False, reason=reason, message=stage.message)
        return False

    def _time(self, op: VirtualMachineOperation, reason: CompletedReason, message: str) -> None:
        """See to it that the stage is timed, also by who follows. Raises PermanentError if it lasts too long."""
        status, timer = op["status"], op["status"].get("stageTimer")
        said = find_condition(op, OperationCondition.COMPLETED) or {}
        if timer is None or said.get("reason") != reason:
            status["stageTimer"] = clock.timer()
            return
        passed, longest = clock.passed(timer), _longest(op, reason)
        if reason in _STUCK and passed > longest:
            raise PermanentError(f"It did not go on for {longest:.0f} s: {message}", key=str(reason))
        if clock.due_to_note(timer, _STUCK_SECONDS):
            status["stageTimer"] = clock.timer(passed)


def _longest(op: VirtualMachineOperation, reason: str) -> float:
    """Seconds that the operation may be at one of those stages."""
    said = meta.annotations(op).get(names.VMOP_UNSCHEDULABLE_SECONDS_ANNOTATION, "")
    told = reason == CompletedReason.TARGET_UNSCHEDULABLE and _SECONDS.fullmatch(said)
    return min(_STUCK_SECONDS, float(said)) if told else _STUCK_SECONDS
