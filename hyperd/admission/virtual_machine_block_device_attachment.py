"""Rules of VirtualMachineBlockDeviceAttachment: a device is attached once, and where there is room for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperd.admission.context import Context
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE, VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT
from hyperd.resources.kinds.virtual_machine import BlockDeviceKind, OsType
from hyperd.resources.values import meta
from hyperd.resources.values.names import MAX_BLOCK_DEVICES, SELECTED_NODE_ANNOTATION

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_block_device_attachment import (
        VirtualMachineBlockDeviceAttachment,
        VirtualMachineBlockDeviceAttachmentSpec,
    )

    Attachment = Context[VirtualMachineBlockDeviceAttachment, VirtualMachineBlockDeviceAttachmentSpec]

_PATH = "spec.blockDeviceRef"
_MACHINE_PATH = "spec.virtualMachineName"


async def review(context: Attachment) -> None:
    """Judge a new attachment; afterwards it is fixed."""
    if not context.creating:
        return
    ref = context.spec["blockDeviceRef"]
    for field in ("kind", "name"):
        if not ref.get(field):
            context.required(f"{_PATH}.{field}", "a block device has a kind and a name")
    if context.causes:
        return
    namespace, name = context.request.namespace, context.spec["virtualMachineName"]
    others = await context.request.reader.find_all(VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT, namespace)
    for other in others:
        same = other["spec"]["virtualMachineName"] == name or ref["kind"] == BlockDeviceKind.VIRTUAL_DISK
        if other["spec"]["blockDeviceRef"] == ref and same:
            context.forbidden(
                _PATH,
                f'{ref["kind"]} "{ref["name"]}" is attached by VirtualMachineBlockDeviceAttachment '
                f'"{other["metadata"]["name"]}" already',
            )
    machine = await context.find(VIRTUAL_MACHINE, name)
    if machine is not None:
        count = sum(other["spec"]["virtualMachineName"] == name for other in others)
        await _check_machine(context, machine, count)


async def _check_machine(context: Attachment, machine: VirtualMachine, attachments: int) -> None:
    spec, ref = machine["spec"], context.spec["blockDeviceRef"]
    own = spec.get("blockDeviceRefs") or ()
    # One of a device that the spec names is accepted, as the reference does, and Failed with Conflict.
    if (count := len(own) + attachments) >= MAX_BLOCK_DEVICES:
        context.forbidden(
            _MACHINE_PATH,
            f"block device attached to virtual machine limit reached: {count + 1} devices found, "
            f"{MAX_BLOCK_DEVICES} is maximum",
        )
    if spec.get("osType") == OsType.LEGACY and not spec.get("enableParavirtualization", True):
        context.forbidden(
            _MACHINE_PATH,
            "nothing can be attached to a running virtual machine of osType Legacy without paravirtualization",
        )
    disk = await context.find(VIRTUAL_DISK, ref["name"]) if ref["kind"] == BlockDeviceKind.VIRTUAL_DISK else None
    kept = "" if disk is None else meta.annotations(disk).get(SELECTED_NODE_ANNOTATION, "")
    runs = (machine.get("status") or {}).get("nodeName") or ""
    if kept and runs and kept != runs:
        context.forbidden(
            _PATH, f'VirtualDisk "{ref["name"]}" is on node {kept}, and the virtual machine on node {runs}'
        )
