"""How cores are laid out, and what a class's sizing policies allow.

Pure functions over the JSON of specs; admission refuses by them, and the VM controller shows by them that a
running machine no longer matches its class.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from hyperd.resources.kind import Object
from hyperd.resources.quantity import format_bytes, to_bytes

AUTO_FRACTION = "Auto"
_HINT = "Check the sizing policies of the VirtualMachineClass, or ask the administrator."


def socket_count(cores: int) -> int:
    """Sockets of a machine with so many cores: 1 up to 16, 2 up to 32, 4 up to 64, 8 beyond."""
    for limit, sockets in ((16, 1), (32, 2), (64, 4)):
        if cores <= limit:
            return sockets
    return 8


def policy_for(class_spec: Object, cores: int) -> Object | None:
    """The policy for so many cores, or None when none covers them."""
    for policy in class_spec.get("sizingPolicies") or ():
        if policy["cores"]["min"] <= cores <= policy["cores"]["max"]:
            return cast(Object, policy)
    return None


def percent(fraction: str) -> int | None:
    """``20`` for ``20%``; None for ``Auto``."""
    return None if fraction == AUTO_FRACTION else int(fraction.removesuffix("%"))


def sizing_faults(class_name: str, class_spec: Object, vm_spec: Object) -> list[str]:
    """Why the machine's sizes do not match the class: a sentence each, then a hint; empty when they do."""
    policies = class_spec.get("sizingPolicies") or []
    if not policies:
        return []
    cores = vm_spec["cpu"]["cores"]
    policy = policy_for(class_spec, cores)
    if policy is None:
        ranges = ", ".join(f"{entry['cores']['min']}-{entry['cores']['max']}" for entry in policies)
        fault = f'{cores} cores match no sizing policy of VirtualMachineClass "{class_name}": it allows {ranges}.'
        return [fault, _HINT]
    faults = [
        *_fraction_faults(policy, vm_spec["cpu"].get("coreFraction", "100%")),
        *_core_faults(policy["cores"], cores),
        *_memory_faults(policy.get("memory") or {}, to_bytes(vm_spec["memory"]["size"])),
        *_per_core_faults(policy.get("memory") or {}, to_bytes(vm_spec["memory"]["size"]), cores),
    ]
    return [*faults, _HINT] if faults else []


def _fraction_faults(policy: Object, fraction: str) -> Iterable[str]:
    allowed = policy.get("coreFractions") or []
    share = percent(fraction)
    if allowed and share is not None and share not in allowed:
        listed = ", ".join(f"{value}%" for value in allowed)
        yield f"Core fraction {fraction} is not allowed: choose one of {listed}."


def _core_faults(limits: Object, cores: int) -> Iterable[str]:
    step = limits.get("step") or 1
    below = limits["min"] + (cores - limits["min"]) // step * step
    if cores != below:
        near = [value for value in (below, below + step) if value <= limits["max"]]
        yield f"{cores} cores are between the allowed steps: choose {_either(near)}."


def _memory_faults(memory: Object, size: int) -> Iterable[str]:
    low, high, step = (_bytes_of(memory, key) for key in ("min", "max", "step"))
    fault = _range_fault(size, low, high)
    if fault:
        yield f"Memory {format_bytes(size)} is not allowed: it must be {fault}."
    elif step and high is not None:
        yield from _step_faults(size, low or 0, high, step)


def _per_core_faults(memory: Object, size: int, cores: int) -> Iterable[str]:
    per_core = memory.get("perCore") or {}
    low, high = (_bytes_of(per_core, key) for key in ("min", "max"))
    low, high = (None if value is None else value * cores for value in (low, high))
    fault = _range_fault(size, low, high)
    if fault:
        yield f"Memory {format_bytes(size)} is not allowed for {cores} cores: it must be {fault}."
        return
    step = _bytes_of(memory, "step")
    if step and high is not None and _bytes_of(memory, "max") is None:
        # The grid is of one core's memory; a machine gets as many of it as it has cores.
        yield from _step_faults(size, low or 0, high, step * cores)


def _step_faults(size: int, low: int, high: int, step: int) -> Iterable[str]:
    below = low + (size - low) // step * step
    if size != below:
        near = [format_bytes(value) for value in (below, below + step) if value <= high]
        yield f"Memory {format_bytes(size)} is between the allowed steps: choose {_either(near)}."


def _range_fault(size: int, low: int | None, high: int | None) -> str:
    if (low is None or size >= low) and (high is None or size <= high):
        return ""
    if low is not None and high is not None:
        return f"between {format_bytes(low)} and {format_bytes(high)}"
    return f"at least {format_bytes(low)}" if low is not None else f"at most {format_bytes(high or 0)}"


def _bytes_of(block: Object, key: str) -> int | None:
    """A limit in bytes. Zero is none: typed clients cannot leave a quantity out."""
    value: Any = block.get(key)
    return None if value is None else to_bytes(value) or None


def _either(values: Iterable[object]) -> str:
    return " or ".join(str(value) for value in values)
