"""Who uses a disk, as its status shows it: machines, an image that is being made of it, an export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.image.source import SOURCE_INDEX, reads
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE
from hyperd.resources.kinds.data_source import InUseReason
from hyperd.resources.kinds.virtual_disk import DiskReadyReason, VirtualDiskCondition, VirtualDiskPhase
from hyperd.resources.values.conditions import set_condition

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import AttachedVirtualMachine, VirtualDisk

_EXPORTED = "The disk is being exported; wait for that, or end it."


def show_usage(context: Context, disk: VirtualDisk) -> str:
    """Who names the disk and who uses it; a sentence, empty when nobody does."""
    meta, status = disk["metadata"], disk["status"]
    users: list[AttachedVirtualMachine] = []
    machines = context.informer(VIRTUAL_MACHINE)
    for item in usage.machines_using(machines, VIRTUAL_DISK, meta["namespace"], meta["name"]):
        users.append({"name": item.name, "mounted": usage.mounts(item.object(), VIRTUAL_DISK, meta["name"])})
    users.sort(key=lambda user: user["name"])
    if users:
        status["attachedToVirtualMachines"] = users
    else:
        status.pop("attachedToVirtualMachines", None)
    used, type_ = "", VirtualDiskCondition.IN_USE
    if any(user["mounted"] for user in users):
        set_condition(disk, type_, True, reason=InUseReason.ATTACHED_TO_VIRTUAL_MACHINE)
        used = "A running virtual machine holds the disk; stop it first."
    elif reader := _reader(context, disk):
        used = f"{reader} is being made of the disk; wait for it, or delete it first."
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


def _reader(context: Context, disk: VirtualDisk) -> str:
    """The image that is being made of the disk, by kind and name; empty without one."""
    value = usage.device_value(VIRTUAL_DISK.kind, disk["metadata"]["namespace"], disk["metadata"]["name"])
    for kind in usage.IMAGE_KINDS.values():
        for item in context.informer(kind).by_index(SOURCE_INDEX, value):
            if reads(item.object()):
                return f'{kind.kind} "{item.name}"'
    return ""
