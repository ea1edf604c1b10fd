"""What machines ask of a node is counted as a scheduler counts it, and what lacks is named."""

from __future__ import annotations

import pytest

from hyperd.controllers.machine import applied
from hyperd.controllers.machine.capacity import (
    Capacity,
    allocatable,
    lacking,
    requested,
    requested_by_instance,
    total,
)
from tests.parts import Part, part

GIB = 1 << 30
MIB = 1 << 20


def spec(cores: int, fraction: str | None = None, memory: str = "1Gi") -> Part:
    cpu: Part = {"cores": cores} | ({"coreFraction": fraction} if fraction else {})
    return {"cpu": cpu, "memory": {"size": memory}}


@pytest.mark.parametrize(
    ("cores", "fraction", "milli"),
    [(1, None, 1000), (4, "100%", 4000), (4, "20%", 800), (1, "5%", 50), (3, "33%", 990), (1, "Auto", 1000)],
)
def test_cpu_is_asked_for_at_its_fraction(cores: int, fraction: str | None, milli: int) -> None:
    assert requested(spec(cores, fraction)).cpu_milli == milli


def test_memory_is_asked_for_with_what_qemu_needs() -> None:
    assert requested(spec(4)).memory_bytes == GIB + (64 + 4 * 8) * MIB


def test_an_instance_asks_for_what_it_was_started_with() -> None:
    for wanted in (spec(2, "50%"), spec(8)):
        assert requested_by_instance(applied.configuration(wanted)) == requested(wanted)


def test_a_node_offers_its_allocatable_and_enough_of_what_it_does_not_name() -> None:
    node: Part = {"status": {"allocatable": {"cpu": "1500m", "memory": "2Gi"}}}
    assert allocatable(node, cpu_ratio=1) == Capacity(1500, 2 * GIB)
    assert allocatable(node, cpu_ratio=4).cpu_milli == 6000
    assert lacking("n", allocatable(part({"status": {}}), cpu_ratio=1), requested(spec(248, memory="1Ti"))) == ""


def test_what_lacks_is_named_and_what_does_not_is_not() -> None:
    left = Capacity(4000, 4 * GIB) - total([requested(spec(2)), requested(spec(3, "50%"))])
    assert lacking("metal", left, requested(spec(1, "50%"))) == ""
    cpu = "Node metal has 0.5 cores of CPU left for virtual machines, this one needs 1 core; "
    assert lacking("metal", left, requested(spec(1))).startswith(cpu)
    both = lacking("metal", left, requested(spec(8, memory="8Gi")))
    assert "needs 8 cores" in both
    assert "has 1.8Gi of memory left for virtual machines, this one needs 8.1Gi" in both
    assert "0 cores of CPU left" in lacking("metal", Capacity(-100, GIB), Capacity(100, 0))
