"""How long a migration may be at a stage, whoever looks: a daemon begins anew, or another node has the clock."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hyperd import clock
from hyperd.controllers.migration.interface import Stage
from hyperd.controllers.migration.moves import PodMoves
from hyperd.controllers.operation.moving import Moving
from hyperd.errors import PermanentError
from hyperd.resources.values.conditions import find_condition
from tests.parts import Part, part
from tests.unit.controllers.pod.machines import machine

_UID = "9b1c54f0-2f7d-4c1e-8f52-0c6a3e1d2b4f"
_WAITS = Stage("TargetUnschedulable", 2, "No room.")


class Looks:
    """Looks at one operation, each by a daemon that has just begun; ``seconds`` pass as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 1000.0
        monkeypatch.setattr(clock, "elapsed", lambda: self.seconds)
        self.machine: Part = machine()
        self.machine["status"] = {"phase": "Running"}
        self.op: Part = {"metadata": {"name": "op", "uid": _UID}, "spec": {"type": "Evict"}, "status": {}}

    def look(self, stage: Stage | None) -> bool:
        """None: the node does not know yet how far it is."""

        def told(vm: Any, op: Any) -> Stage:
            departures = SimpleNamespace(stage=lambda _: stage)
            return PodMoves.stage(part(SimpleNamespace(_departures=departures)), vm, op)

        return Moving(part(SimpleNamespace(stage=told))).judge(self.op, self.machine)

    @property
    def reason(self) -> str:
        return str((find_condition(self.op, "Completed") or {}).get("reason"))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


def fails(looks: Looks, stage: Stage | None) -> tuple[str, str]:
    with pytest.raises(PermanentError) as told:
        looks.look(stage)
    return str(told.value.key), told.value.message


@pytest.mark.parametrize("stage", ["TargetScheduling", "TargetUnschedulable", "TargetPreparing"])
def test_five_minutes_at_one_stage_fail_it_however_often_the_daemon_begins_anew(looks: Looks, stage: str) -> None:
    waits = Stage(stage, 2, "No room.")
    for _ in range(10):
        assert not looks.look(waits)
        looks.seconds += 30
        assert not looks.look(None)
        assert looks.reason == stage
    looks.seconds += 1
    assert fails(looks, waits) == (stage, "It did not go on for 300 s: No room.")


@pytest.mark.parametrize("stage", ["MigrationPending", "QuotaExceeded", "WaitingForSyncSlot", "Syncing"])
def test_others_may_last(looks: Looks, stage: str) -> None:
    for _ in range(20):
        looks.look(Stage(stage, 4, "Others go first."))
        looks.seconds += 30
    assert looks.reason == stage


def test_each_stage_is_timed_anew(looks: Looks) -> None:
    looks.look(_WAITS)
    looks.seconds += 299
    looks.look(Stage("TargetPreparing", 3, "Its image is fetched."))
    looks.seconds += 299
    looks.look(Stage("TargetPreparing", 3, "Its volume is made."))
    looks.seconds += 2
    assert fails(looks, Stage("TargetPreparing", 3, "Its volume is made."))[0] == "TargetPreparing"


def test_what_had_passed_on_another_boot_counts(looks: Looks) -> None:
    looks.look(_WAITS)
    looks.op["status"]["stageTimer"] = {"boot": "another", "at": 5, "passed": 200_000}
    looks.look(_WAITS)
    looks.seconds += 99
    looks.look(_WAITS)
    looks.seconds += 2
    assert fails(looks, _WAITS)[0] == "TargetUnschedulable"


@pytest.mark.parametrize("phase", ["Stopped", "Pending"])
@pytest.mark.parametrize("stage", ["MigrationPending", "WaitingForSyncSlot", "TargetScheduling"])
def test_it_fails_with_its_guest_unless_that_is_on_its_way(looks: Looks, phase: str, stage: str) -> None:
    """What nobody looks at any more would wait for ever, and no other operation could begin."""
    looks.look(Stage(stage, 2))
    looks.machine["status"] = {"phase": phase}
    assert fails(looks, Stage(stage, 2))[1] == f"The guest has ended: the virtual machine is {phase}."
    looks.machine["status"]["holder"] = {"epoch": 1, "node": "a", "to": "b", "operation": _UID}
    assert not looks.look(Stage(stage, 2))
