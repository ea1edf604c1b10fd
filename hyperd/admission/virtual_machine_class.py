"""Rules of VirtualMachineClass: policies that do not contradict each other, and one default at most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hyperd.admission import placement
from hyperd.admission.context import Context
from hyperd.resources.all import VIRTUAL_MACHINE_CLASS
from hyperd.resources.values import meta
from hyperd.resources.values.names import DEFAULT_CLASS_ANNOTATION
from hyperd.resources.values.quantity import to_bytes
from hyperd.resources.values.sizing import AUTO_FRACTION

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine_class import (
        MemoryRange,
        PolicyMemory,
        SizingPolicy,
        VirtualMachineClass,
        VirtualMachineClassSpec,
    )

    Class = Context[VirtualMachineClass, VirtualMachineClassSpec]

PATH = "spec.sizingPolicies"


async def review(context: Class) -> None:
    """Judge the policies and the mark of the default class."""
    await _check_default(context)
    if not context.spec_changed:
        return
    placement.check_class(context)
    policies = context.spec.get("sizingPolicies") or []
    _check_overlaps(context, policies)
    for index, policy in enumerate(policies):
        _check_fraction(context, f"{PATH}[{index}]", policy)
        _check_memory(context, f"{PATH}[{index}].memory", policy.get("memory") or {})


async def _check_default(context: Class) -> None:
    if meta.annotations(context.new).get(DEFAULT_CLASS_ANNOTATION) != "true":
        return
    for other in await context.request.reader.find_all(VIRTUAL_MACHINE_CLASS):
        name = other["metadata"]["name"]
        if name != context.request.name and meta.annotations(other).get(DEFAULT_CLASS_ANNOTATION) == "true":
            context.invalid(
                "metadata.annotations",
                DEFAULT_CLASS_ANNOTATION,
                f'VirtualMachineClass "{name}" is the default already: unmark it first',
            )


def _check_overlaps(context: Class, policies: Sequence[SizingPolicy]) -> None:
    for index, policy in enumerate(policies):
        cores = policy["cores"]
        for other in policies[:index]:
            if cores["min"] <= other["cores"]["max"] and other["cores"]["min"] <= cores["max"]:
                context.invalid(
                    f"{PATH}[{index}].cores",
                    f"{cores['min']}-{cores['max']}",
                    f'VirtualMachineClass "{context.request.name}" has size policy cpu crosses: '
                    f"{other['cores']['min']}-{other['cores']['max']} is in another policy",
                )


def _check_fraction(context: Class, path: str, policy: SizingPolicy) -> None:
    wanted = policy.get("defaultCoreFraction")
    if wanted is None:
        return
    path = f"{path}.defaultCoreFraction"
    if wanted == AUTO_FRACTION:
        context.forbidden(path, "automatic scaling of the core fraction is not built: give a percentage")
        return
    if isinstance(wanted, str) or not 1 <= wanted <= 100:
        context.invalid(path, wanted, "must be a percentage from 1 to 100")
        return
    allowed = policy.get("coreFractions")
    if allowed and wanted not in allowed:
        context.invalid(path, wanted, f"must be one of coreFractions: {', '.join(map(str, allowed))}")


def _check_memory(context: Class, path: str, memory: PolicyMemory) -> None:
    _check_range(context, path, memory)
    _check_range(context, f"{path}.perCore", memory.get("perCore") or {})
    _size(context, f"{path}.step", memory.get("step"))


def _check_range(context: Class, path: str, block: PolicyMemory | MemoryRange) -> None:
    low = _size(context, f"{path}.min", block.get("min"))
    high = _size(context, f"{path}.max", block.get("max"))
    if low and high and high < low:
        context.invalid(f"{path}.max", block["max"], f"must not be less than min, {block['min']}")


def _size(context: Class, path: str, value: str | int | None) -> int | None:
    """A size in bytes; zero is no limit, as typed clients write it."""
    if value is None:
        return None
    try:
        size = to_bytes(value)
    except ValueError as err:
        context.invalid(path, value, str(err))
        return None
    if size < 0:
        context.invalid(path, value, "must not be negative")
        return None
    return size
