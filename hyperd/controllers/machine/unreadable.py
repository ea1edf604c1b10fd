"""Why a guest that an I/O error paused could not read: its disk is used before the image is on the node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.resources.all import VIRTUAL_DISK
from hyperd.resources.kinds.virtual_disk import DiskFetchReason, VirtualDiskCondition
from hyperd.resources.values.conditions import find_condition

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine


def damaged(context: Context, machine: VirtualMachine) -> str:
    """Which disk's image comes wrong where a guest reads it, a sentence; empty where none does."""
    return _of_disks(context, machine, DiskFetchReason.DAMAGE_READ)


def unreadable(context: Context, machine: VirtualMachine) -> str:
    """Likewise, of any image that has not come yet: who serves it may have ended, and is started again."""
    if why := damaged(context, machine):
        return why
    found = _of_disks(context, machine, *DiskFetchReason)
    return f"{found} It goes on once its image is served again." if found else ""


def _of_disks(context: Context, machine: VirtualMachine, *reasons: DiskFetchReason) -> str:
    for kind, name in sorted(set(usage.references(machine))):
        if kind != VIRTUAL_DISK.kind:
            continue
        disk = context.informer(VIRTUAL_DISK).get(machine["metadata"]["namespace"], name)
        told = None if disk is None else find_condition(disk, VirtualDiskCondition.IMAGE_FETCHED)
        if told is not None and told["reason"] in reasons:
            return f'VirtualDisk "{name}" could not be read. {told.get("message", "")}'.strip()
    return ""
