"""Whether a guest runs the QEMU that it would be started with now: a host's updates leave what runs as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hyperd.controllers.machine import applied
from hyperd.resources.all import NODE
from hyperd.resources.kinds.virtual_machine_conditions import VirtualMachineCondition
from hyperd.resources.values import meta, names
from hyperd.resources.values.conditions import find_condition

if TYPE_CHECKING:
    from hyperd.controllers.context import Context
    from hyperd.hypervisor.state import DomainInfo
    from hyperd.resources.views.core import Node
    from hyperd.resources.views.virtual_machine import VirtualMachine

_DIGITS: Final = 9
_PARTS: Final = 4


async def outdated(context: Context, domain: DomainInfo, *, moves: bool) -> str:
    """A sentence about another QEMU on the node than the guest runs; empty where it is the same, or unknown.

    What the node has is what its Node says, so that whoever reads of this finds it there. ``moves`` is whether
    guests can go to other nodes.
    """
    node = context.informer(NODE).get("", context.node_name)
    now = "" if node is None else digest_of(node)
    runs = await context.hypervisor.emulators.running(domain.pid) if now else ""
    if node is None or not runs or runs == now:
        return ""
    has = meta.labels(node).get(names.QEMU_VERSION_LABEL, "")
    had, cure = applied.decode(domain.applied).qemu, "migrate or restart" if moves else "restart"
    which = f"QEMU {had}" if had and had != has else f"another build of QEMU {has}"
    return f"The guest runs {which}; node {context.node_name} has {has} by now: {cure} the virtual machine."


def is_outdated(machine: VirtualMachine) -> bool:
    """Whether its status says so."""
    found = find_condition(machine, VirtualMachineCondition.FIRMWARE_UP_TO_DATE) or {}
    return found.get("status") == "False"


def digest_of(node: Node) -> str:
    """Of the QEMU that guests are started with there; empty where the node does not tell."""
    return meta.labels(node).get(names.QEMU_DIGEST_LABEL, "")


def version_of(node: Node) -> tuple[int, ...]:
    """Of that QEMU, to be compared; empty where the node tells none."""
    parts = meta.labels(node).get(names.QEMU_VERSION_LABEL, "").split(".")
    if not all(part.isdecimal() and len(part) < _DIGITS for part in parts):
        return ()
    return tuple(map(int, (parts + ["0"] * _PARTS)[:_PARTS]))
