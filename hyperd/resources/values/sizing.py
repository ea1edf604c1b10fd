"""How cores are laid out, and what a class's sizing policies allow.

Pure functions over the JSON of specs; admission refuses by them, and the VM controller shows by them that a
running machine no longer matches its class.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from hyperd.resources.schema.kind import AnyObject, Object
from hyperd.resources.values.quantity import format_bytes, to_bytes

AUTO_FRACTION = "Auto"
_HINT = "Change that, or ask the administrator for another sizing policy."


def socket_count(cores: int) -> int:
    """Sockets of a machine with so many cores: 1 up to 16, 2 up to 32, 4 up to 64, 8 beyond."""
    for limit, sockets in ((16, 1), (32, 2), (64, 4)):
        if cores <= limit:
            return sockets
    return 8


def policy_for(class_spec: AnyObject, cores: int) -> Object | None:
    """The policy for so many cores, or None when none covers them."""
    for policy in class_spec.get("sizingPolicies") or ():
        if policy["cores"]["min"] <= cores <= policy["cores"]["max"]:
            return cast(Object, policy)
    return None


def percent(fraction: str) -> int | None:
    """``20`` for ``20%``; None for ``Auto``."""
    return None if fraction == AUTO_FRACTION else int(fraction.removesuffix("%"))


def sizing_fault(class_name: str, class_spec: AnyObject, vm_spec: AnyObject) -> str:
    """Why the machine's sizes do not fit the class: fields to change, and to what, and whom to ask; or nothing."""
    policies = class_spec.get("sizingPolicies") or []
    if not policies:
        return ""
    cores, size = vm_spec["cpu"]["cores"], to_bytes(vm_spec["memory"]["size"])
    policy = policy_for(class_spec, cores)
    if policy is None:
        ranges = either([_span(entry["cores"]["min"], entry["cores"]["max"]) for entry in policies])
        faults = [f"spec.cpu.cores is {cores}, but must be {ranges}"]
    else:
        memory = policy.get("memory") or {}
        faults = [
            *_fraction_faults(policy, vm_spec["cpu"].get("coreFraction", "100%")),
            *_core_faults(policy["cores"], cores),
            *_memory_faults(memory, size),
            *_per_core_faults(memory, size, cores),
        ]
    if not faults:
        return ""
    joined = "; and ".join(filter(None, ["; ".join(faults[:-1]), faults[-1]]))
    return f'VirtualMachineClass "{class_name}" does not allow this size: {joined}. {_HINT}'


def count_of_cores(cores: int) -> str:
    """``1 core``, ``2 cores``."""
    return f"{cores} core" if cores == 1 else f"{cores} cores"


def either(values: Sequence[object]) -> str:
    """``a``, ``a or b``, ``a, b, or c``."""
    *others, last = map(str, values)
    if len(others) < 2:
        return " or ".join([*others, last])
    return f"{', '.join(others)}, or {last}"


def _span(low: int, high: int) -> str:
    return f"{low}" if low == high else f"between {low} and {high}"


def _fraction_faults(policy: Object, fraction: str) -> Iterable[str]:
    allowed = policy.get("coreFractions") or []
    share = percent(fraction)
    if allowed and share is not None and share not in allowed:
        listed = either([f"{value}%" for value in allowed])
        yield f"spec.cpu.coreFraction is {fraction}, but must be {listed}"


def _core_faults(limits: Object, cores: int) -> Iterable[str]:
    step = limits.get("step") or 1
    below = limits["min"] + (cores - limits["min"]) // step * step
    if cores != below:
        near = [value for value in (below, below + step) if value <= limits["max"]]
        grid = f"it goes from {limits['min']} to {limits['max']} in steps of {step}"
        yield f"spec.cpu.cores is {cores}, but must be {either(near)}: {grid}"


def _memory_faults(memory: Object, size: int) -> Iterable[str]:
    low, high, step = (_bytes_of(memory, key) for key in ("min", "max", "step"))
    fault = _range_fault(size, low, high)
    if fault:
        yield f"spec.memory.size is {format_bytes(size)}, but must be {fault}"
    elif step and high is not None and (near := _off_grid(size, low or 0, high, step)):
        grid = f"it goes from {format_bytes(low or 0)} to {format_bytes(high)} in steps of {format_bytes(step)}"
        yield f"spec.memory.size is {format_bytes(size)}, but must be {near}: {grid}"


def _per_core_faults(memory: Object, size: int, cores: int) -> Iterable[str]:
    per_core = memory.get("perCore") or {}
    low, high = (_bytes_of(per_core, key) for key in ("min", "max"))
    in_all = [None if value is None else value * cores for value in (low, high)]
    wrong = f"spec.memory.size is {format_bytes(size)}, but for {count_of_cores(cores)} must be"
    fault = _range_fault(size, *in_all)
    if fault:
        yield f"{wrong} {fault}: per core it is {_limits(low, high)}"
        return
    step = _bytes_of(memory, "step")
    if step and high is not None and _bytes_of(memory, "max") is None:
        # The grid is of one core's memory; a machine gets as many of it as it has cores.
        near = _off_grid(size, (low or 0) * cores, high * cores, step * cores)
        if near:
            grid = f"from {format_bytes(low or 0)} to {format_bytes(high)} in steps of {format_bytes(step)}"
            yield f"{wrong} {near}: per core it goes {grid}"


def _off_grid(size: int, low: int, high: int, step: int) -> str:
    """The steps on both sides of a size that is between them; empty for one that is on the grid."""
    below = low + (size - low) // step * step
    if size == below:
        return ""
    return either([format_bytes(value) for value in (below, below + step) if 0 < value <= high])


def _range_fault(size: int, low: int | None, high: int | None) -> str:
    if (low is None or size >= low) and (high is None or size <= high):
        return ""
    return _limits(low, high)


def _limits(low: int | None, high: int | None) -> str:
    if low is not None and high is not None:
        return f"between {format_bytes(low)} and {format_bytes(high)}"
    return f"at least {format_bytes(low)}" if low is not None else f"at most {format_bytes(high or 0)}"


def _bytes_of(block: Object, key: str) -> int | None:
    """A limit in bytes. Zero is none: typed clients cannot leave a quantity out."""
    value = block.get(key)
    return None if value is None else to_bytes(value) or None
