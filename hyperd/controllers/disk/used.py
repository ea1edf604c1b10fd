"""Who uses a disk, as its status shows it: machines, an image that is being made of it, an export, a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.image.source import SOURCE_INDEX, reads
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT, VIRTUAL_MACHINE
from hyperd.resources.kinds.data_source import InUseReason
from hyperd.resources.kinds.virtual_disk import (
    DiskReadyReason,
    DiskSnapshottingReason,
    VirtualDiskCondition,
    VirtualDiskPhase,
)
from hyperd.resources.kinds.virtual_disk_snapshot import SnapshotPhase
from hyperd.resources.values.conditions import remove_condition, set_condition
from hyperd.store.interface import Item

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import AttachedVirtualMachine, VirtualDisk
    from hyperd.resources.views.virtual_machine import VirtualMachine

_EXPORTED = "The disk is being exported; wait for that, or end it."


def show_usage(context: Context, disk: VirtualDisk) -> str:
    """Who names the disk and who uses it; a sentence, empty when nobody does."""
    meta, status = disk["metadata"], disk["status"]
    users = _users(context, disk)
    if users:
        status["attachedToVirtualMachines"] = users
    else:
        status.pop("attachedToVirtualMachines", None)
    used, type_ = "", VirtualDiskCondition.IN_USE
    if mounting := next((user["name"] for user in users if user["mounted"]), ""):
        set_condition(disk, type_, True, reason=InUseReason.ATTACHED_TO_VIRTUAL_MACHINE)
        used = f'{VIRTUAL_MACHINE.kind} "{mounting}" holds the disk; stop it first.'
    elif usage.is_moved(disk):
        # Whoever would read it waits until this says that it may.
        set_condition(disk, type_, False, reason=InUseReason.NOT_IN_USE)
    elif image := reader(context, disk):
        used = f"{image} is being made of the disk; wait for it, or delete it first."
        set_condition(disk, type_, True, reason=InUseReason.USED_FOR_IMAGE_CREATION, message=used)
    elif context.reservations.of(meta["uid"]):
        used = _EXPORTED
        set_condition(disk, type_, True, reason=InUseReason.USED_FOR_DATA_EXPORT, message=used)
        if status.get("phase") == VirtualDiskPhase.READY:
            status["phase"] = VirtualDiskPhase.EXPORTING
            reason = DiskReadyReason.EXPORTING
            set_condition(disk, VirtualDiskCondition.READY, False, reason=reason, message=used)
    else:
        set_condition(disk, type_, False, reason=InUseReason.NOT_IN_USE)
    return used


def _users(context: Context, disk: VirtualDisk) -> list[AttachedVirtualMachine]:
    """The machines that name the disk; one that an attachment would give it to counts once no other has it."""
    meta, machines = disk["metadata"], context.informer(VIRTUAL_MACHINE)
    users: list[AttachedVirtualMachine] = []
    waiting: set[str] = set()
    for item in usage.machines_using(machines, VIRTUAL_DISK, meta["namespace"], meta["name"]):
        machine = item.object()
        users.append({"name": item.name, "mounted": usage.mounts(machine, VIRTUAL_DISK, meta["name"])})
        if not usage.names(machine, VIRTUAL_DISK, meta["name"]):
            waiting.add(item.name)
    if any(user["mounted"] for user in users):
        users = [user for user in users if user["mounted"] or user["name"] not in waiting]
    return sorted(users, key=lambda user: user["name"])


def reader(context: Context, disk: VirtualDisk) -> str:
    """The image that is being made of the disk, by kind and name; empty without one."""
    value = usage.device_value(VIRTUAL_DISK.kind, disk["metadata"]["namespace"], disk["metadata"]["name"])
    for kind in usage.IMAGE_KINDS.values():
        for item in context.informer(kind).by_index(SOURCE_INDEX, value):
            if reads(item.object()):
                return f'{kind.kind} "{item.name}"'
    return ""


def holding(context: Context, disk: VirtualDisk) -> Item[VirtualMachine] | None:
    """The machine that has the disk open, or is about to."""
    meta, machines = disk["metadata"], context.informer(VIRTUAL_MACHINE)
    for item in usage.machines_using(machines, VIRTUAL_DISK, meta["namespace"], meta["name"]):
        if usage.mounts(item.object(), VIRTUAL_DISK, meta["name"]):
            return item
    return None


def snapshot(context: Context, disk: VirtualDisk) -> str:
    """The name of the snapshot that is being taken of the disk; empty without one."""
    where = f"{disk['metadata']['namespace']}/{disk['metadata']['name']}"
    for item in context.informer(VIRTUAL_DISK_SNAPSHOT).by_index("disk", where):
        if (item.object().get("status") or {}).get("phase") == SnapshotPhase.IN_PROGRESS:
            return item.name
    return ""


def show_snapshot(context: Context, disk: VirtualDisk) -> None:
    """Whether one is being taken."""
    if snapshot(context, disk):
        reason = DiskSnapshottingReason.SNAPSHOTTING
        set_condition(disk, VirtualDiskCondition.SNAPSHOTTING, True, reason=reason)
    else:
        remove_condition(disk, VirtualDiskCondition.SNAPSHOTTING)
