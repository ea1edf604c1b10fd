"""Sizes are held against the class's policies, and the sentence says what would do."""

from __future__ import annotations

from typing import Any

import pytest

from hyperd.resources.schema.kind import Object
from hyperd.resources.values.sizing import either, sizing_fault, socket_count

BEGIN = 'VirtualMachineClass "small" does not allow this size: '
HINT = " Change that, or ask the administrator for another sizing policy."


def fault(policies: list[Object], cores: int, memory: str, fraction: str | None = None) -> str:
    cpu: dict[str, Any] = {"cores": cores}
    if fraction:
        cpu["coreFraction"] = fraction
    return sizing_fault("small", {"sizingPolicies": policies}, {"cpu": cpu, "memory": {"size": memory}})


CORES = {"min": 1, "max": 4}


@pytest.mark.parametrize(
    ("cores", "sockets"), [(1, 1), (16, 1), (17, 2), (32, 2), (33, 4), (64, 4), (65, 8), (248, 8)]
)
def test_cores_are_spread_over_sockets(cores: int, sockets: int) -> None:
    assert socket_count(cores) == sockets


def test_a_class_without_policies_allows_any_size() -> None:
    assert fault([], 200, "1Ti") == ""


def test_a_matching_size_has_no_fault() -> None:
    memory = {"min": "1Gi", "max": "8Gi", "step": "512Mi", "perCore": {"min": "512Mi", "max": "4Gi"}}
    assert fault([{"cores": CORES, "memory": memory, "coreFractions": [20, 100]}], 2, "1536Mi", "20%") == ""


@pytest.mark.parametrize(
    ("policy", "cores", "memory", "fraction", "sentence"),
    [
        ({}, 5, "1Gi", None, "spec.cpu.cores is 5, but must be between 1 and 4"),
        ({"coreFractions": [100]}, 1, "1Gi", "20%", "spec.cpu.coreFraction is 20%, but must be 100%"),
        ({"coreFractions": [5, 100]}, 1, "1Gi", "20%", "spec.cpu.coreFraction is 20%, but must be 5% or 100%"),
        (
            {"coreFractions": [5, 10, 100]},
            1,
            "1Gi",
            "20%",
            "spec.cpu.coreFraction is 20%, but must be 5%, 10%, or 100%",
        ),
        (
            {"cores": {"min": 1, "max": 7, "step": 3}},
            3,
            "1Gi",
            None,
            "spec.cpu.cores is 3, but must be 1 or 4: it goes from 1 to 7 in steps of 3",
        ),
        (
            {"memory": {"min": "1Gi", "max": "2Gi"}},
            1,
            "3Gi",
            None,
            "spec.memory.size is 3Gi, but must be between 1Gi and 2Gi",
        ),
        ({"memory": {"min": "1Gi"}}, 1, "512Mi", None, "spec.memory.size is 512Mi, but must be at least 1Gi"),
        ({"memory": {"max": "1Gi"}}, 1, "2Gi", None, "spec.memory.size is 2Gi, but must be at most 1Gi"),
        (
            {"memory": {"min": "1Gi", "max": "4Gi", "step": "1Gi"}},
            1,
            "1536Mi",
            None,
            "spec.memory.size is 1536Mi, but must be 1Gi or 2Gi: it goes from 1Gi to 4Gi in steps of 1Gi",
        ),
        (
            {"memory": {"max": "4Gi", "step": "1Gi"}},
            1,
            "512Mi",
            None,
            "spec.memory.size is 512Mi, but must be 1Gi: it goes from 0 to 4Gi in steps of 1Gi",
        ),
        (
            {"memory": {"perCore": {"min": "1Gi", "max": "2Gi"}}},
            1,
            "3Gi",
            None,
            "spec.memory.size is 3Gi, but for 1 core must be between 1Gi and 2Gi: "
            "per core it is between 1Gi and 2Gi",
        ),
        (
            {"memory": {"perCore": {"min": "1Gi"}}},
            2,
            "1Gi",
            None,
            "spec.memory.size is 1Gi, but for 2 cores must be at least 2Gi: per core it is at least 1Gi",
        ),
        (
            {"memory": {"step": "512Mi", "perCore": {"min": "1Gi", "max": "2Gi"}}},
            2,
            "2560Mi",
            None,
            "spec.memory.size is 2560Mi, but for 2 cores must be 2Gi or 3Gi: "
            "per core it goes from 1Gi to 2Gi in steps of 512Mi",
        ),
    ],
)
def test_a_fault_says_what_would_do(
    policy: Object, cores: int, memory: str, fraction: str | None, sentence: str
) -> None:
    assert fault([{"cores": CORES, **policy}], cores, memory, fraction) == f"{BEGIN}{sentence}.{HINT}"


def test_all_ranges_are_named() -> None:
    policies: list[Object] = [{"cores": {"min": low, "max": high}} for low, high in ((1, 2), (4, 4), (6, 8))]
    assert "must be between 1 and 2, 4, or between 6 and 8." in fault(policies, 9, "1Gi")


def test_a_step_of_memory_needs_an_upper_end() -> None:
    assert fault([{"cores": CORES, "memory": {"min": "1Gi", "step": "1Gi"}}], 1, "1536Mi") == ""


def test_several_faults_are_one_sentence() -> None:
    policy = {"cores": {"min": 1, "max": 5, "step": 2}, "coreFractions": [50], "memory": {"max": "1Gi"}}
    assert fault([policy], 2, "2Gi") == (
        f"{BEGIN}spec.cpu.coreFraction is 100%, but must be 50%; spec.cpu.cores is 2, but must be 1 or 3: it goes "
        f"from 1 to 5 in steps of 2; and spec.memory.size is 2Gi, but must be at most 1Gi.{HINT}"
    )


@pytest.mark.parametrize(
    ("values", "said"), [([1], "1"), ([1, 2], "1 or 2"), ([1, 2, 3], "1, 2, or 3"), (["a b", "c"], "a b or c")]
)
def test_what_can_be_chosen_reads_well(values: list[object], said: str) -> None:
    assert either(values) == said
