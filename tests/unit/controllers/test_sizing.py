"""A machine that its class no longer allows is told so, and waits."""

from __future__ import annotations

from hyperd.controllers.machine.dependencies import Dependencies, check_sizing
from hyperd.resources.values.conditions import find_condition
from tests.parts import Part
from tests.unit.resources.samples import machine


def class_spec(most: int) -> Part:
    return {"cpu": {"type": "Host"}, "sizingPolicies": [{"cores": {"min": 1, "max": most}}]}


def test_a_policy_that_shrank_stops_the_next_start() -> None:
    vm: Part = machine()
    vm["spec"]["cpu"]["cores"] = 4
    found = Dependencies(class_spec=class_spec(2))
    check_sizing(vm, "small", found)
    condition = find_condition(vm, "SizingPolicyMatched")
    assert condition is not None
    assert (condition["status"], condition["reason"]) == ("False", "SizingPolicyNotMatched")
    assert condition["message"] == found.blocked
    assert found.blocked.startswith(
        'VirtualMachineClass "small" does not allow this size: spec.cpu.cores is 4, but'
    )


def test_a_policy_that_grew_again_lets_it_start() -> None:
    vm: Part = machine()
    vm["spec"]["cpu"]["cores"] = 4
    check_sizing(vm, "small", Dependencies(class_spec=class_spec(2)))
    found = Dependencies(class_spec=class_spec(4))
    check_sizing(vm, "small", found)
    assert find_condition(vm, "SizingPolicyMatched") is None
    assert found.blocked == ""
