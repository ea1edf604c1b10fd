"""What a machine asks of a node, and whether the node has it left.

Counted as a scheduler counts requests: what is promised, not what is used. Of CPU that is the cores times
coreFraction; a guest takes idle cores beyond it. Of memory it is all, for a guest may touch all of it later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from hyperd.controllers.machine.plan import fraction_of, memory_of
from hyperd.resources.schema.kind import AnyObject
from hyperd.resources.values.charges import BASE_OVERHEAD, VCPU_OVERHEAD
from hyperd.resources.values.quantity import format_human, to_bytes, to_milli

if TYPE_CHECKING:
    from hyperd.resources.views.core import Node
    from hyperd.resources.views.virtual_machine import CPU, Memory

_ENOUGH = 1 << 60


class Sized(TypedDict):
    """What of a machine's spec says how large it is."""

    cpu: CPU
    memory: Memory


@dataclass(frozen=True)
class Capacity:
    """So much CPU, in thousandths of a core, and so much memory, in bytes."""

    cpu_milli: int = 0
    memory_bytes: int = 0

    def __add__(self, other: Capacity) -> Capacity:
        return Capacity(self.cpu_milli + other.cpu_milli, self.memory_bytes + other.memory_bytes)

    def __sub__(self, other: Capacity) -> Capacity:
        return Capacity(self.cpu_milli - other.cpu_milli, self.memory_bytes - other.memory_bytes)


def memory_overhead(cores: int) -> int:
    """Bytes that an instance needs beside the guest's memory."""
    return BASE_OVERHEAD + cores * VCPU_OVERHEAD


def requested(spec: Sized) -> Capacity:
    """What an instance of this spec is sure to get."""
    cores = spec["cpu"]["cores"]
    return Capacity(-(-cores * 1000 * fraction_of(spec) // 100), memory_of(spec) + memory_overhead(cores))


def requested_by_instance(configuration: AnyObject) -> Capacity:
    """The same of a running instance, by the configuration that it carries."""
    cpu: CPU = {
        "cores": int(configuration.get("cpu.cores", 1)),
        "coreFraction": str(configuration.get("cpu.coreFraction") or "100%"),
    }
    return requested({"cpu": cpu, "memory": {"size": configuration.get("memory.size", 0)}})


def allocatable(node: Node, *, cpu_ratio: float) -> Capacity:
    """What the node has for machines, as its object says; ``cpu_ratio`` as in the settings.

    Of what it does not say there is enough: its own hyperd looks again before each start.
    """
    has = (node.get("status") or {}).get("allocatable") or {}
    return Capacity(int(to_milli(has.get("cpu", _ENOUGH)) * cpu_ratio), to_bytes(has.get("memory", _ENOUGH)))


def total(rooms: Iterable[Capacity]) -> Capacity:
    """All of them together."""
    return sum(rooms, Capacity())


def lacking(node: str, left: Capacity, need: Capacity) -> str:
    """What the node lacks for ``need``, a sentence for each; empty when it fits."""
    faults = []
    if need.cpu_milli > left.cpu_milli:
        faults.append(
            f"Node {node} has {_cores(left.cpu_milli)} of CPU left for virtual machines, this one needs "
            f"{_cores(need.cpu_milli)}; stop others, or lower its cores or coreFraction."
        )
    if need.memory_bytes > left.memory_bytes:
        faults.append(
            f"Node {node} has {format_human(max(0, left.memory_bytes))} of memory left for virtual machines, "
            f"this one needs {format_human(need.memory_bytes)}; stop others, or make it smaller."
        )
    return " ".join(faults)


def _cores(milli: int) -> str:
    cores = f"{max(0, milli) / 1000:g}"
    return f"{cores} core" if cores == "1" else f"{cores} cores"
