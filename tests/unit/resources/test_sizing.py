"""Sizes are held against the class's policies, and the sentence says what would do."""

from __future__ import annotations

from typing import Any

import pytest

from hyperd.resources.kind import Object
from hyperd.resources.sizing import sizing_faults, socket_count

HINT = "Check the sizing policies of the VirtualMachineClass, or ask the administrator."


def faults(policies: list[Object], cores: int, memory: str, fraction: str | None = None) -> list[str]:
    cpu: dict[str, Any] = {"cores": cores}
    if fraction:
        cpu["coreFraction"] = fraction
    return sizing_faults("small", {"sizingPolicies": policies}, {"cpu": cpu, "memory": {"size": memory}})


CORES = {"min": 1, "max": 4}


@pytest.mark.parametrize(
    ("cores", "sockets"), [(1, 1), (16, 1), (17, 2), (32, 2), (33, 4), (64, 4), (65, 8), (248, 8)]
)
def test_cores_are_spread_over_sockets(cores: int, sockets: int) -> None:
    assert socket_count(cores) == sockets


def test_a_class_without_policies_allows_any_size() -> None:
    assert faults([], 200, "1Ti") == []


def test_a_matching_size_has_no_fault() -> None:
    memory = {"min": "1Gi", "max": "8Gi", "step": "512Mi", "perCore": {"min": "512Mi", "max": "4Gi"}}
    assert faults([{"cores": CORES, "memory": memory, "coreFractions": [20, 100]}], 2, "1536Mi", "20%") == []


@pytest.mark.parametrize(
    ("policy", "cores", "memory", "fraction", "sentence"),
    [
        ({}, 5, "1Gi", None, '5 cores match no sizing policy of VirtualMachineClass "small": it allows 1-4.'),
        (
            {"coreFractions": [5, 100]},
            1,
            "1Gi",
            "20%",
            "Core fraction 20% is not allowed: choose one of 5%, 100%.",
        ),
        (
            {"cores": {"min": 1, "max": 7, "step": 3}},
            3,
            "1Gi",
            None,
            "3 cores are between the allowed steps: choose 1 or 4.",
        ),
        (
            {"memory": {"min": "1Gi", "max": "2Gi"}},
            1,
            "3Gi",
            None,
            "Memory 3Gi is not allowed: it must be between 1Gi and 2Gi.",
        ),
        ({"memory": {"min": "1Gi"}}, 1, "512Mi", None, "Memory 512Mi is not allowed: it must be at least 1Gi."),
        ({"memory": {"max": "1Gi"}}, 1, "2Gi", None, "Memory 2Gi is not allowed: it must be at most 1Gi."),
        (
            {"memory": {"min": "1Gi", "max": "4Gi", "step": "1Gi"}},
            1,
            "1536Mi",
            None,
            "Memory 1536Mi is between the allowed steps: choose 1Gi or 2Gi.",
        ),
        (
            {"memory": {"perCore": {"min": "1Gi", "max": "2Gi"}}},
            2,
            "1Gi",
            None,
            "Memory 1Gi is not allowed for 2 cores: it must be between 2Gi and 4Gi.",
        ),
        (
            {"memory": {"step": "512Mi", "perCore": {"min": "1Gi", "max": "2Gi"}}},
            2,
            "2560Mi",
            None,
            "Memory 2560Mi is between the allowed steps: choose 2Gi or 3Gi.",
        ),
    ],
)
def test_a_fault_says_what_would_do(
    policy: Object, cores: int, memory: str, fraction: str | None, sentence: str
) -> None:
    assert faults([{"cores": CORES, **policy}], cores, memory, fraction) == [sentence, HINT]


def test_a_step_of_memory_needs_an_upper_end() -> None:
    assert faults([{"cores": CORES, "memory": {"min": "1Gi", "step": "1Gi"}}], 1, "1536Mi") == []


def test_several_faults_are_told_together() -> None:
    policy = {"cores": {"min": 1, "max": 5, "step": 2}, "coreFractions": [50], "memory": {"max": "1Gi"}}
    assert len(faults([policy], 2, "2Gi")) == 4
