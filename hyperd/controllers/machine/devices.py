"""A machine's block devices: disks of this node, and images, which are copied to the node's cache first."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hyperd.controllers import usage
from hyperd.controllers.attachment.attachments import Attachments
from hyperd.controllers.context import Context
from hyperd.controllers.image.reference import reference_of
from hyperd.controllers.image.volume import on_volume
from hyperd.controllers.machine.applied import holds
from hyperd.controllers.machine.copies import Copies, Missing
from hyperd.controllers.ownership import disk_node
from hyperd.imagefile.handle import Handle
from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, VIRTUAL_DISK, VIRTUAL_IMAGE, VIRTUAL_MACHINE
from hyperd.resources.core.storage_class import WAIT_FOR_FIRST_CONSUMER
from hyperd.resources.kinds.virtual_disk import VirtualDiskPhase
from hyperd.resources.kinds.virtual_image import ImagePhase
from hyperd.resources.kinds.virtual_machine_conditions import BlockDevicesReason, VirtualMachineCondition
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.schema.kind import Kind, V
from hyperd.resources.values.conditions import find_condition, set_condition

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk
    from hyperd.resources.views.virtual_image import VirtualImage
    from hyperd.resources.views.virtual_machine import BlockDeviceRef, VirtualMachine

Wake = Callable[[], None]
"""Queues a machine again."""

_TAKEN = "is in use by another VM"
_AWAITS_CONSUMER = f"is {WAIT_FOR_FIRST_CONSUMER}, not Ready."
_USABLE_DISK_PHASES = (VirtualDiskPhase.READY, VirtualDiskPhase.RESIZING)
_ALIVE = (
    VirtualMachinePhase.STARTING,
    VirtualMachinePhase.RUNNING,
    VirtualMachinePhase.STOPPING,
    VirtualMachinePhase.PAUSE,
)


@dataclass(frozen=True)
class Device:
    """One block device that is there."""

    kind: str
    name: str
    uid: str
    image: Handle | None
    """What an image is read by; a disk's volume has to be attached first."""
    size: str
    readonly: bool
    cdrom: bool
    boot_order: int | None
    attachment: str = ""
    """The VirtualMachineBlockDeviceAttachment that brings it; empty for one of the spec."""


class Devices:
    """Finds the devices that machines name."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._attachments = Attachments(context)
        self._copies = Copies(context.images, self._image_uids)
        for kind in usage.DEVICE_KINDS.values():
            context.informer(kind)

    async def close(self) -> None:
        """Stop downloads into the cache."""
        await self._copies.close()

    async def resolve(self, machine: VirtualMachine, wake: Wake) -> tuple[list[Device], str]:
        """Devices that are there, and what the others wait for; ``BlockDevicesReady`` is set in place."""
        found, problems = [], []
        for ref in machine["spec"].get("blockDeviceRefs") or ():
            device, problem = await self._device(machine, ref, wake)
            if device is not None:
                found.append(device)
            else:
                problems.append(problem)
        message, type_ = " ".join(problems), VirtualMachineCondition.BLOCK_DEVICES_READY
        if not problems:
            set_condition(machine, type_, True, reason=BlockDevicesReason.READY)
            return found, ""
        self._tell_taken(machine, message)
        reason = BlockDevicesReason.NOT_READY
        if all(problem.endswith(_AWAITS_CONSUMER) for problem in problems):
            reason = BlockDevicesReason.WAITING_FOR_FIRST_CONSUMER
        set_condition(machine, type_, False, reason=reason, message=message)
        return found, message

    async def attached(self, machine: VirtualMachine, wake: Wake) -> tuple[list[Device], dict[str, str]]:
        """Devices of the machine's attachments that are there; and of the others, by name, what they wait for."""
        found, waiting = [], {}
        for attachment in self._attachments.accepted(machine):
            name, ref = attachment["metadata"]["name"], attachment["spec"]["blockDeviceRef"]
            device, waiting[name] = await self._device(machine, {"kind": ref["kind"], "name": ref["name"]}, wake)
            if device is not None:
                found.append(replace(device, attachment=name))
        return found, waiting

    def _tell_taken(self, machine: VirtualMachine, message: str) -> None:
        """An event for a disk that another machine holds, once for each time that this comes up."""
        before = find_condition(machine, VirtualMachineCondition.BLOCK_DEVICES_READY) or {}
        if _TAKEN in message and before.get("message") != message:
            self._context.events.event(machine, "Warning", "VirtualDiskAlreadyInUse", message)

    async def _device(self, machine: VirtualMachine, ref: BlockDeviceRef, wake: Wake) -> tuple[Device | None, str]:
        if ref.get("kind") == VIRTUAL_DISK.kind:
            disk = self._source(machine, VIRTUAL_DISK, ref["name"])
            return (None, disk) if isinstance(disk, str) else self._disk(machine, disk, ref)
        kind = usage.IMAGE_KINDS.get(ref.get("kind", ""))
        if kind is None:
            return None, f"Device kind {ref.get('kind')!r} is not known."
        image = self._source(machine, kind, ref["name"])
        if isinstance(image, str):
            return None, image
        return await self._image(machine["metadata"]["uid"], kind, image, ref, wake)

    def _source(self, machine: VirtualMachine, kind: Kind[V], name: str) -> V | str:
        """The disk or image, or why there is none."""
        namespace = machine["metadata"]["namespace"] if kind.namespaced else ""
        source = self._context.informer(kind).get(namespace, name)
        if source is None:
            return f'{kind.kind} "{name}" does not exist.'
        if source["metadata"].get("deletionTimestamp"):
            return f'{kind.kind} "{name}" is being deleted.'
        return source

    def _disk(self, machine: VirtualMachine, disk: VirtualDisk, ref: BlockDeviceRef) -> tuple[Device | None, str]:
        meta, status = disk["metadata"], disk.get("status") or {}
        if status.get("phase") not in _USABLE_DISK_PHASES and not self._moves_under(machine, disk):
            phase = status.get("phase") or VirtualDiskPhase.PENDING
            progress = (
                f" ({status['progress']})"
                if status.get("progress") and phase in (VirtualDiskPhase.PROVISIONING, VirtualDiskPhase.MIGRATING)
                else ""
            )
            return None, f'VirtualDisk "{meta["name"]}" is {phase}{progress}, not Ready.'
        if not self._context.ownership.keeps(disk):
            return (
                None,
                f'VirtualDisk "{meta["name"]}" is on node {disk_node(disk)}, not on {self._context.node_name}.',
            )
        domain = self._context.hypervisor.last_known.get(machine["metadata"]["uid"])
        has = domain is not None and domain.active and holds(domain, meta["uid"])
        if not has and (awaited := self._context.volumes.awaited(meta["uid"])):
            return None, awaited
        if usage.reader(disk):
            return None, f'VirtualDisk "{meta["name"]}" {usage.READ}.'
        holder = self._other_holder(machine, disk)
        if holder:
            return None, f'VirtualDisk "{meta["name"]}" {_TAKEN}, "{holder}".'
        return (
            Device(
                kind=VIRTUAL_DISK.kind,
                name=meta["name"],
                uid=meta["uid"],
                image=None,
                size=status.get("capacity", ""),
                readonly=False,
                cdrom=False,
                boot_order=ref.get("bootOrder"),
            ),
            "",
        )

    def _moves_under(self, machine: VirtualMachine, disk: VirtualDisk) -> bool:
        """Whether the disk is moved to another StorageClass while the machine's guest has it."""
        domain = self._context.hypervisor.last_known.get(machine["metadata"]["uid"])
        has = domain is not None and domain.active and holds(domain, disk["metadata"]["uid"])
        return has and usage.is_moved(disk)

    def _other_holder(self, machine: VirtualMachine, disk: VirtualDisk) -> str:
        """The name of another machine that has the disk, or starts with it."""
        meta, uid = disk["metadata"], machine["metadata"]["uid"]
        domains = self._context.hypervisor.last_known
        for item in usage.machines_using(self._machines, VIRTUAL_DISK, meta["namespace"], meta["name"]):
            if item.uid == uid:
                continue
            domain, other = domains.get(item.uid), item.object()
            starting = (other.get("status") or {}).get("phase") in _ALIVE
            has = domain is not None and domain.active and holds(domain, meta["uid"])
            if has or (starting and usage.mounts(other, VIRTUAL_DISK, meta["name"])):
                return item.name
        return ""

    def _image_uids(self) -> frozenset[str]:
        """Of all images that there are: their copies are still asked for."""
        informers = map(self._context.informer, (VIRTUAL_IMAGE, CLUSTER_VIRTUAL_IMAGE))
        return frozenset(item.uid for informer in informers for item in informer.items())

    async def _image(
        self, machine_uid: str, kind: Kind, image: usage.Image, ref: BlockDeviceRef, wake: Wake
    ) -> tuple[Device | None, str]:
        meta, status = image["metadata"], image.get("status") or {}
        if status.get("phase") != ImagePhase.READY:
            return (
                None,
                f'{kind.kind} "{meta["name"]}" is {status.get("phase") or ImagePhase.PENDING}, not Ready.',
            )
        if on_volume(image):
            return await self._image_volume(image, ref)
        reference = reference_of(self._context, kind, image)
        cached = self._copies.get(meta["uid"], reference, machine=machine_uid, wake=wake)
        if isinstance(cached, Missing):
            return None, f'{kind.kind} "{meta["name"]}" {cached.why}'
        if not await asyncio.to_thread(_touched, cached.path):
            self._copies.forget(meta["uid"])
            wake()
            return None, f'{kind.kind} "{meta["name"]}" left the node\'s cache; copying it again.'
        return (
            Device(
                kind=kind.kind,
                name=meta["name"],
                uid=meta["uid"],
                image=cached.handle,
                size=(status.get("size") or {}).get("unpacked", ""),
                readonly=True,
                cdrom=cached.cdrom,
                boot_order=ref.get("bootOrder"),
            ),
            "",
        )

    async def _image_volume(self, image: VirtualImage, ref: BlockDeviceRef) -> tuple[Device | None, str]:
        """Of an image that is on a volume; many machines may have it at once."""
        meta, status = image["metadata"], image["status"]
        if await self._context.volumes.find(meta["uid"]) is None:
            return None, f'The volume of VirtualImage "{meta["name"]}" is gone from the node.'
        device = Device(
            kind=image["kind"],
            name=meta["name"],
            uid=meta["uid"],
            image=None,
            size=(status.get("size") or {}).get("unpacked", ""),
            readonly=True,
            cdrom=status.get("cdrom", False),
            boot_order=ref.get("bootOrder"),
        )
        return device, ""


def _touched(path: Path) -> bool:
    """Whether the cached file is there; its time says then that it is in use."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True
