"""Who has a disk open though the machines that an informer shows do not, and who reads it for an image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.machine.applied import holds
from hyperd.controllers.machine.fence import Fence
from hyperd.controllers.machine.held import serial_of
from hyperd.controllers.machine.holding import Act
from hyperd.errors import TemporaryError
from hyperd.hypervisor.state import DomainInfo
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE

if TYPE_CHECKING:
    from hyperd.controllers.usage import Device


async def holder(context: Context, source: Device) -> str:
    """Asked of the store and of the host, before a volume is removed: a sentence, empty when nobody has it.

    ``source`` is the disk or image that the volume is of.
    """
    meta, fence, kind = source["metadata"], Fence(context), usage.DEVICE_KINDS[source["kind"]]
    what = "disk" if kind is VIRTUAL_DISK else "image"
    for machine in await context.store.find_all(VIRTUAL_MACHINE, meta.get("namespace", "")):
        if usage.mounts(machine, kind, meta["name"]):
            return f"A running virtual machine holds the {what}; stop it first."
        if (kind.kind, meta["name"]) in usage.references(machine):
            standing = fence.judge(machine, context.hypervisor.last_known.get(machine["metadata"]["uid"]))
            if not standing.permits(Act.DELETE_VOLUME):
                name = machine["metadata"]["name"]
                guest = f'the guest of virtual machine "{name}", which has the {what}'
                return f"It is not certain which node has {guest}."
    if not (context.hypervisor.connected or context.hypervisor.last_known):
        return (
            f"libvirt does not answer on node {context.node_name}: nobody knows which guest has the {what} open."
        )
    uid = opener(context, meta["uid"])
    return f"The guest of domain {uid} has the {what} open; see `hv gc`." if uid else ""


def opener(context: Context, uid: str) -> str:
    """uid of a guest that runs here with the disk or image ``uid``, or notes that it gets it; empty for none."""
    return next(iter(openers(context, uid)), "")


def openers(context: Context, uid: str) -> list[str]:
    """Of all of them: an image may be several guests'."""
    known = context.hypervisor.last_known.values()
    return [domain.uid for domain in known if domain.active and holds(domain, uid)]


async def guest_of(context: Context, namespace: str, name: str, uid: str) -> DomainInfo | None:
    """The guest that has the disk open on this node. Asked of the hypervisor: a list may be short."""
    serial, seen = serial_of(uid), {opener(context, uid)} - {""}
    machines = usage.machines_using(context.informer(VIRTUAL_MACHINE), VIRTUAL_DISK, namespace, name)
    for machine in {*seen, *(item.uid for item in machines)}:
        domain = await context.hypervisor.info(machine)
        if domain is not None and domain.active and any(disk.serial == serial for disk in domain.disks):
            return domain
    return None


async def require_unread(context: Context, namespace: str, disks: Iterable[str]) -> None:
    """Once the store has it that a machine starts with ``disks``.

    TemporaryError where it says that one is read, or moved.
    """
    for name in disks:
        disk = await context.store.find(VIRTUAL_DISK, namespace, name)
        if disk is not None and (why := usage.unusable(disk)):
            raise TemporaryError(f'VirtualDisk "{name}" {why}.')


async def require_free(context: Context, namespace: str, disk: str) -> None:
    """Once a domain notes that it gets ``disk``.

    TemporaryError where the store says that it is read or moved, or goes.
    Who reads, moves or removes it asks ``opener`` after the store has that, so that one of both sees the other.
    """
    found = await context.store.find(VIRTUAL_DISK, namespace, disk)
    if found is None or found["metadata"].get("deletionTimestamp"):
        raise TemporaryError(f'VirtualDisk "{disk}" is being deleted.')
    if why := usage.unusable(found):
        raise TemporaryError(f'VirtualDisk "{disk}" {why}.')
