"""Whether a guest runs the QEMU that it would be started with now: a host's updates leave what runs as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hyperd.controllers.machine import applied
from hyperd.errors import HyperdError
from hyperd.resources.kinds.virtual_machine_conditions import VirtualMachineCondition
from hyperd.resources.values import meta, names
from hyperd.resources.values.conditions import find_condition

if TYPE_CHECKING:
    from hyperd.controllers.context import Context
    from hyperd.hypervisor.state import DomainInfo
    from hyperd.resources.views.core import Node
    from hyperd.resources.views.virtual_machine import VirtualMachine

_DIGITS: Final = 9


async def outdated(context: Context, domain: DomainInfo, *, moves: bool) -> str:
    """A sentence about another QEMU on the node than the guest runs; empty where it is the same, or unknown.

    ``moves`` is whether guests can go to other nodes.
    """
    emulators = context.hypervisor.emulators
    try:
        now, runs = await emulators.present(), await emulators.running(domain.pid)
    except HyperdError:
        return ""  # libvirt is away: it is asked again once it is back
    if now is None or not runs or runs == now.digest:
        return ""
    had, cure = applied.decode(domain.applied).qemu, "migrate or restart" if moves else "restart"
    which = f"QEMU {had}" if had and had != now.version else f"another build of QEMU {now.version}"
    return (
        f"The guest runs {which}; node {context.node_name} has {now.version} by now: {cure} the virtual machine."
    )


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
    return tuple(map(int, parts)) if all(part.isdecimal() and len(part) < _DIGITS for part in parts) else ()
