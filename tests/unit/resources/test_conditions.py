"""Conditions keep their transition time and cost no write when nothing changed."""

from __future__ import annotations

import copy

from hyperd.resources.kinds.data_source import ReadyReason
from hyperd.resources.kinds.virtual_disk import ResizingReason, VirtualDiskCondition
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import find_condition, is_true, remove_condition, set_condition

FIRST, SECOND = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def fresh() -> Object:
    return {"metadata": {"generation": 3}}


def test_a_new_condition_carries_everything_kubernetes_wants() -> None:
    obj = fresh()
    assert set_condition(
        obj, VirtualDiskCondition.READY, True, reason=ReadyReason.READY, message="It is.", now=FIRST
    )
    assert find_condition(obj, "Ready") == {
        "type": "Ready",
        "status": "True",
        "reason": "Ready",
        "message": "It is.",
        "observedGeneration": 3,
        "lastTransitionTime": FIRST,
    }
    assert is_true(obj, "Ready")


def test_the_transition_time_moves_only_with_the_status() -> None:
    obj = fresh()
    set_condition(obj, VirtualDiskCondition.READY, False, reason=ReadyReason.PROVISIONING, message="1%", now=FIRST)
    assert set_condition(
        obj, VirtualDiskCondition.READY, False, reason=ReadyReason.PROVISIONING, message="2%", now=SECOND
    )
    assert (find_condition(obj, "Ready") or {})["lastTransitionTime"] == FIRST
    assert set_condition(obj, VirtualDiskCondition.READY, True, reason=ReadyReason.READY, now=SECOND)
    assert (find_condition(obj, "Ready") or {})["lastTransitionTime"] == SECOND


def test_an_equal_condition_changes_nothing() -> None:
    obj = fresh()
    set_condition(obj, VirtualDiskCondition.READY, True, reason=ReadyReason.READY, now=FIRST)
    before = copy.deepcopy(obj)
    assert not set_condition(obj, VirtualDiskCondition.READY, True, reason=ReadyReason.READY, now=SECOND)
    assert obj == before


def test_a_new_generation_is_observed() -> None:
    obj = fresh()
    set_condition(obj, VirtualDiskCondition.READY, True, reason=ReadyReason.READY, now=FIRST)
    obj["metadata"]["generation"] = 4
    assert set_condition(obj, VirtualDiskCondition.READY, True, reason=ReadyReason.READY, now=SECOND)
    assert (find_condition(obj, "Ready") or {})["observedGeneration"] == 4


def test_a_quiet_condition_is_removed() -> None:
    obj = fresh()
    set_condition(obj, VirtualDiskCondition.RESIZING, True, reason=ResizingReason.IN_PROGRESS)
    set_condition(obj, VirtualDiskCondition.READY, True, reason=ReadyReason.READY)
    assert remove_condition(obj, "Resizing")
    assert not remove_condition(obj, "Resizing")
    assert [condition["type"] for condition in obj["status"]["conditions"]] == ["Ready"]


def test_an_object_without_status_has_no_conditions() -> None:
    assert find_condition({"status": None}, "Ready") is None
    assert not is_true({}, "Ready")
    assert not remove_condition({}, "Ready")
