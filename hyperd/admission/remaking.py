"""What operations that put machines back, or make copies of them, do in their user's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hyperd.admission.context import Context
from hyperd.resources.all import (
    SECRET,
    VIRTUAL_DISK,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT,
    VIRTUAL_MACHINE_IP_ADDRESS,
    VIRTUAL_MACHINE_SNAPSHOT,
)
from hyperd.resources.schema.kind import AnyObject

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine

PATH: Final = "spec.type"
_MADE: Final = (
    VIRTUAL_MACHINE,
    VIRTUAL_DISK,
    VIRTUAL_MACHINE_IP_ADDRESS,
    VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT,
)
_REMOVED: Final = (VIRTUAL_DISK, VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT)


async def require_to_make(context: Context[AnyObject, AnyObject], *, secret: bool) -> None:
    """Deny unless the user may make each kind of object that a copy has."""
    for kind in (*_MADE, *([SECRET] if secret else [])):
        await context.require(PATH, "create", kind, context.request.namespace)


async def require_to_restore(context: Context[AnyObject, AnyObject], *, secret: bool) -> None:
    """Deny unless the user may also change the machine, and remove what is replaced."""
    await context.require(PATH, "update", VIRTUAL_MACHINE, context.request.namespace)
    await require_to_make(context, secret=secret)
    for kind in _REMOVED:
        await context.require(PATH, "delete", kind, context.request.namespace)


async def saves_secret(context: Context[AnyObject, AnyObject], snapshot: str) -> bool:
    """Whether a snapshot brings a Secret; also where nobody knows yet."""
    found = await context.find(VIRTUAL_MACHINE_SNAPSHOT, snapshot)
    resources = None if found is None else (found.get("status") or {}).get("resources")
    return resources is None or any(each["kind"] == SECRET.kind for each in resources)


def has_secret(machine: VirtualMachine | None) -> bool:
    """Whether a copy of the machine brings a Secret; also where nobody knows."""
    if machine is None:
        return True
    provisioning = machine["spec"].get("provisioning")
    return provisioning is not None and bool(provisioning.get("userDataRef") or provisioning.get("sysprepRef"))
