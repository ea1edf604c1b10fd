"""A migration that waits for long is Pending, and is no new one by that."""

from __future__ import annotations

import pytest

from hyperd.controllers.machine.operations import is_accepted, is_moving
from tests.parts import Part


def operation(phase: str, reason: str, type_: str = "Evict") -> Part:
    conditions = [{"type": "Completed", "status": "False", "reason": reason}] if reason else []
    return {
        "metadata": {"namespace": "shop", "name": "away", "uid": "op"},
        "spec": {"type": type_, "virtualMachineName": "web"},
        "status": {"phase": phase, "conditions": conditions},
    }


@pytest.mark.parametrize("reason", ["QuotaExceeded", "WaitingForSyncSlot"])
def test_one_that_waits_goes_on(reason: str) -> None:
    waits = operation("Pending", reason)
    assert is_accepted(waits)
    assert is_moving(waits)


@pytest.mark.parametrize(
    "op",
    [
        operation("Pending", ""),
        operation("Pending", "Syncing"),
        operation("Pending", "QuotaExceeded", "Stop"),
        {**operation("Pending", ""), "status": {}},
    ],
)
def test_a_new_one_was_not_accepted(op: Part) -> None:
    assert not is_accepted(op)
    assert not is_moving(op)


@pytest.mark.parametrize("phase", ["Completed", "Failed", "Superseded"])
def test_one_that_is_over_moves_nothing(phase: str) -> None:
    assert not is_moving(operation(phase, "OperationCompleted"))
