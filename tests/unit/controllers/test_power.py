"""The power table of the reference, row by row."""

from __future__ import annotations

import pytest

from hyperd.controllers.machine.power import Action, ActiveOperation, OffReason, Situation, decide
from hyperd.resources.kinds.virtual_machine_operation import OperationType

POLICIES = ["AlwaysOn", "AlwaysOnUnlessStoppedManually", "Manual", "AlwaysOff"]


@pytest.mark.parametrize(
    ("policy", "action"),
    [
        ("AlwaysOn", Action.START),
        ("AlwaysOnUnlessStoppedManually", Action.START),
        ("Manual", Action.NONE),
        ("AlwaysOff", Action.NONE),
    ],
)
def test_a_new_machine_starts_as_its_policy_says(policy: str, action: Action) -> None:
    assert decide(Situation(policy=policy, phase="", defined=False, active=False)).action is action


@pytest.mark.parametrize(
    ("policy", "action"),
    [
        ("AlwaysOn", Action.START),
        ("AlwaysOnUnlessStoppedManually", Action.NONE),
        ("Manual", Action.NONE),
    ],
)
def test_a_power_off_inside_the_guest(policy: str, action: Action) -> None:
    situation = Situation(
        policy=policy, phase="Running", defined=True, active=False, off_reason=OffReason.SHUTDOWN
    )
    assert decide(situation).action is action


@pytest.mark.parametrize("reason", [OffReason.CRASHED, OffReason.FAILED, OffReason.UNKNOWN])
@pytest.mark.parametrize(
    ("policy", "action"),
    [
        ("AlwaysOn", Action.START),
        ("AlwaysOnUnlessStoppedManually", Action.START),
        ("Manual", Action.NONE),
    ],
)
def test_a_crash_or_a_reboot_of_the_host(policy: str, action: Action, reason: OffReason) -> None:
    situation = Situation(policy=policy, phase="Running", defined=True, active=False, off_reason=reason)
    assert decide(situation).action is action


def test_a_machine_stopped_by_hand_stays_stopped_over_a_reboot_of_the_host() -> None:
    situation = Situation(policy="AlwaysOnUnlessStoppedManually", phase="Stopped", defined=True, active=False)
    decision = decide(situation)
    assert decision.action is Action.NONE
    assert decision.rests_stopped


def test_a_machine_kept_off_by_policy_starts_when_the_policy_changes() -> None:
    off = decide(Situation(policy="AlwaysOff", phase="Running", defined=True, active=True))
    assert off.action is Action.STOP
    assert off.undefine
    situation = Situation(policy="AlwaysOnUnlessStoppedManually", phase="Stopped", defined=False, active=False)
    assert decide(situation).action is Action.START


def test_a_start_operation_starts_a_stopped_machine() -> None:
    operation = ActiveOperation("op-1", OperationType.START)
    situation = Situation(policy="Manual", phase="Stopped", defined=True, active=False, operation=operation)
    decision = decide(situation)
    assert decision.action is Action.START
    assert decision.operation == "op-1"


@pytest.mark.parametrize(("force", "action"), [(False, Action.STOP), (True, Action.KILL)])
def test_a_stop_operation_asks_the_guest_unless_forced(force: bool, action: Action) -> None:
    operation = ActiveOperation("op-1", OperationType.STOP, force)
    situation = Situation(policy="Manual", phase="Running", defined=True, active=True, operation=operation)
    assert decide(situation).action is action


def test_a_restart_stops_the_old_instance_then_starts_one_that_carries_the_operation() -> None:
    operation = ActiveOperation("op-1", OperationType.RESTART)
    running = Situation(policy="AlwaysOn", phase="Running", defined=True, active=True, operation=operation)
    assert decide(running).action is Action.STOP
    off = Situation(policy="AlwaysOn", phase="Stopping", defined=True, active=False, operation=operation)
    assert decide(off).action is Action.START
    assert decide(off).operation == "op-1"
    again = Situation(
        policy="AlwaysOn",
        phase="Running",
        defined=True,
        active=True,
        operation=operation,
        domain_operation="op-1",
    )
    assert decide(again).action is Action.NONE


@pytest.mark.parametrize("policy", POLICIES[:3])
def test_a_running_machine_is_left_alone(policy: str) -> None:
    assert decide(Situation(policy=policy, phase="Running", defined=True, active=True)).action is Action.NONE


@pytest.mark.parametrize(
    ("policy", "action"),
    [("AlwaysOn", Action.START), ("AlwaysOnUnlessStoppedManually", Action.NONE), ("Manual", Action.NONE)],
)
def test_a_machine_that_was_stopped_before_it_ever_ran_stays_off(policy: str, action: Action) -> None:
    """A Stop in Pending, or right after the first Start, has no domain to be seen by."""
    stop = ActiveOperation("op-1", OperationType.STOP)
    stopping = decide(Situation(policy=policy, phase="Pending", defined=False, active=False, operation=stop))
    assert (stopping.action, stopping.rests_stopped, stopping.told_off) == (Action.NONE, True, True)
    after = Situation(policy=policy, phase="Stopped", defined=False, active=False, told_off=stopping.told_off)
    assert decide(after).action is action
    assert decide(after).told_off is (action is Action.NONE)


def test_a_start_while_the_guest_goes_down_waits_for_that_and_starts_it() -> None:
    start = ActiveOperation("op-1", OperationType.START)
    down = Situation(policy="Manual", phase="Stopping", defined=True, active=True, operation=start)
    assert decide(down).action is Action.STOP
    off = Situation(policy="Manual", phase="Stopping", defined=True, active=False, operation=start)
    assert decide(off).action is Action.START


@pytest.mark.parametrize("policy", ["Manual", "AlwaysOn", "AlwaysOnUnlessStoppedManually"])
@pytest.mark.parametrize("phase", ["Running", "Starting", "Pending", "Stopping", ""])
@pytest.mark.parametrize("reason", [OffReason.DESTROYED, OffReason.FAILED, OffReason.CRASHED, OffReason.UNKNOWN])
def test_a_machine_that_was_ended_to_be_started_anew_is(policy: str, phase: str, reason: OffReason) -> None:
    """Whatever became of the daemon between the two: why is written into the domain."""
    situation = Situation(
        policy=policy,
        phase=phase,
        defined=True,
        active=False,
        off_reason=reason,
        domain_operation="op-1",
        restarting=True,
    )
    decision = decide(situation)
    assert decision.action is Action.START
    if policy != "AlwaysOn":
        assert (decision.operation, decision.restarting) == ("op-1", True)


@pytest.mark.parametrize(
    "situation",
    [
        Situation(policy="AlwaysOff", phase="Running", defined=True, active=False, restarting=True),
        Situation(policy="Manual", phase="Stopped", defined=True, active=False, restarting=True),
        Situation(
            policy="Manual",
            phase="Running",
            defined=True,
            active=False,
            off_reason=OffReason.SHUTDOWN,
            restarting=True,
        ),
        Situation(
            policy="Manual",
            phase="Running",
            defined=True,
            active=False,
            operation=ActiveOperation("op-2", OperationType.STOP),
            restarting=True,
        ),
    ],
)
def test_who_turned_it_off_since_has_the_last_word(situation: Situation) -> None:
    assert decide(situation).action is Action.NONE


@pytest.mark.parametrize("reason", list(OffReason))
@pytest.mark.parametrize(
    ("policy", "action"),
    [
        ("AlwaysOn", Action.START),
        ("AlwaysOnUnlessStoppedManually", Action.START),
        ("Manual", Action.NONE),
        ("AlwaysOff", Action.NONE),
    ],
)
def test_a_guest_whose_place_was_taken_away_begins_anew_however_it_went_off(
    policy: str, action: Action, reason: OffReason
) -> None:
    situation = Situation(
        policy=policy, phase="Stopping", defined=True, active=False, off_reason=reason, displaced=True
    )
    assert decide(situation).action is action


def test_one_that_was_stopped_since_stays_so() -> None:
    situation = Situation(
        policy="AlwaysOnUnlessStoppedManually", phase="Stopped", defined=True, active=False, displaced=True
    )
    assert decide(situation).action is Action.NONE
