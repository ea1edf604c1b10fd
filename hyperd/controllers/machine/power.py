"""What a VM's power should be: a pure decision from policy, domain and operation.

The table is api-reference §6.5. Nothing is remembered in memory: that a VM was stopped by hand is seen from its
last phase together with a domain that is still defined (a stop by policy undefines it), or with a status that says
so of one that never had a domain; and that a restart has happened from the operation's uid, which the new domain
carries in its metadata.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hyperd.resources.kinds.virtual_machine import RunPolicy
from hyperd.resources.kinds.virtual_machine_operation import OperationType
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase


class Action(StrEnum):
    """The next step."""

    NONE = "none"
    START = "start"
    STOP = "stop"
    """Ask the guest; after the grace period, destroy."""
    KILL = "kill"
    """Destroy at once."""


class OffReason(StrEnum):
    """Why a domain is off, as libvirt tells it; unknown after a reboot of the host."""

    SHUTDOWN = "shutdown"
    DESTROYED = "destroyed"
    CRASHED = "crashed"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ActiveOperation:
    """A VirtualMachineOperation that was accepted and has not ended."""

    uid: str
    type: OperationType
    force: bool = False
    name: str = ""


@dataclass(frozen=True)
class Situation:
    """All that the decision looks at."""

    policy: str
    phase: str
    defined: bool
    active: bool
    off_reason: OffReason = OffReason.UNKNOWN
    operation: ActiveOperation | None = None
    domain_operation: str = ""
    """uid of the operation that this domain was started for."""
    told_off: bool = False
    """Whether the status says that an operation stopped it."""
    restarting: bool = False
    """The domain says that it was ended to be started anew."""
    displaced: bool = False
    """The domain says that it was ended because its place was, or that it is from before another node's."""


@dataclass(frozen=True)
class Decision:
    """The next step; ``rests_stopped`` says whether an inactive VM shows Stopped (or Pending: it will start)."""

    action: Action
    rests_stopped: bool = False
    operation: str = ""
    undefine: bool = False
    """Forget the domain once it is off: it was not stopped by hand."""
    told_off: bool = False
    """The status is to say that an operation stopped it."""
    restarting: bool = False
    """The start is the second half of a restart, and stays wanted until it succeeds."""


def decide(situation: Situation) -> Decision:
    """The next step towards what policy and operation ask for."""
    operation = situation.operation
    if operation is not None:
        return _by_operation(situation, operation)
    if situation.policy == RunPolicy.ALWAYS_OFF:
        return Decision(Action.STOP if situation.active else Action.NONE, rests_stopped=True, undefine=True)
    if situation.active:
        return Decision(Action.NONE)
    if (
        situation.restarting
        and situation.phase != VirtualMachinePhase.STOPPED
        and situation.off_reason is not OffReason.SHUTDOWN
    ):
        return Decision(Action.START, operation=situation.domain_operation, restarting=True)
    if situation.policy == RunPolicy.ALWAYS_ON:
        return Decision(Action.START)
    if situation.policy == RunPolicy.MANUAL or _stopped_by_hand(situation):
        return Decision(Action.NONE, rests_stopped=True, told_off=situation.told_off)
    return Decision(Action.START)


def _by_operation(situation: Situation, operation: ActiveOperation) -> Decision:
    stop = Action.KILL if operation.force else Action.STOP
    if operation.type == OperationType.STOP:
        return Decision(stop if situation.active else Action.NONE, rests_stopped=True, told_off=True)
    if not situation.active:
        return Decision(Action.START, operation=operation.uid)
    if operation.type == OperationType.START and situation.phase == VirtualMachinePhase.STOPPING:
        # It was asked to go down already; then it starts.
        return Decision(Action.STOP)
    if operation.type == OperationType.RESTART and situation.domain_operation != operation.uid:
        return Decision(stop)
    return Decision(Action.NONE)


def _stopped_by_hand(situation: Situation) -> bool:
    if situation.displaced:
        return situation.phase == VirtualMachinePhase.STOPPED
    if not situation.defined:
        return situation.phase == VirtualMachinePhase.STOPPED and situation.told_off
    return situation.phase == VirtualMachinePhase.STOPPED or situation.off_reason is OffReason.SHUTDOWN
