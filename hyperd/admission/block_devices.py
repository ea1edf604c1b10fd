"""Rules of a virtual machine's ``blockDeviceRefs``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hyperd.admission.context import Context
from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, VIRTUAL_IMAGE, VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT
from hyperd.resources.kinds.virtual_image import ImagePhase
from hyperd.resources.kinds.virtual_machine import BlockDeviceKind
from hyperd.resources.values.meta import is_deleting
from hyperd.resources.values.names import MAX_BLOCK_DEVICES

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import BlockDeviceRef, VirtualMachine, VirtualMachineSpec
    from hyperd.resources.views.virtual_machine_block_device_attachment import VirtualMachineBlockDeviceAttachment

    Machine = Context[VirtualMachine, VirtualMachineSpec]

PATH = "spec.blockDeviceRefs"
_IMAGES = {
    BlockDeviceKind.VIRTUAL_IMAGE: VIRTUAL_IMAGE,
    BlockDeviceKind.CLUSTER_VIRTUAL_IMAGE: CLUSTER_VIRTUAL_IMAGE,
}


async def check(context: Machine) -> None:
    """Each device whole and once, each boot order once, and something to boot from in the first place."""
    refs = context.spec["blockDeviceRefs"]
    if not _check_whole(context, refs):
        return
    _check_unique(context, refs)
    await _check_first(context, refs[0])
    former = context.old_spec.get("blockDeviceRefs")
    if former is not None and _devices(former) == _devices(refs):
        return
    await _check_attachments(context, refs)
    if former is not None and not context.spec["enableParavirtualization"]:
        context.warn(f"{PATH}: without paravirtualization a change of devices needs a restart")


async def _check_attachments(context: Machine, refs: Sequence[BlockDeviceRef]) -> None:
    """What attachments bring the machine counts too, and is not brought twice."""
    found = await context.request.reader.find_all(
        VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT, context.request.namespace
    )
    own = [
        one
        for one in found
        if one["spec"]["virtualMachineName"] == context.request.name and not _hands_over(one, _devices(refs))
    ]
    brought = {
        (one["spec"]["blockDeviceRef"].get("kind"), one["spec"]["blockDeviceRef"].get("name")): one for one in own
    }
    former = _devices(context.old_spec.get("blockDeviceRefs") or ())
    for index, ref in enumerate(refs):
        other = brought.get((ref["kind"], ref["name"]))
        if other is not None and (ref["kind"], ref["name"]) not in former:
            context.forbidden(
                f"{PATH}[{index}]",
                f'{ref["kind"]} "{ref["name"]}" is attached by VirtualMachineBlockDeviceAttachment '
                f'"{other["metadata"]["name"]}" already: delete that first',
            )
    if len(refs) > len(former) and (count := len(refs) + len(own)) > MAX_BLOCK_DEVICES:
        context.forbidden(
            PATH,
            f"block device attached to virtual machine limit reached: {count} devices found, "
            f"{MAX_BLOCK_DEVICES} is maximum",
        )


def _hands_over(
    attachment: VirtualMachineBlockDeviceAttachment, named: Sequence[tuple[str | None, str | None]]
) -> bool:
    """Whether it is going and leaves its device, plugged in as it is, to the spec that names it."""
    ref = attachment["spec"]["blockDeviceRef"]
    return is_deleting(attachment) and (ref.get("kind"), ref.get("name")) in named


def _devices(refs: Sequence[BlockDeviceRef]) -> list[tuple[str | None, str | None]]:
    """What is compared of a running machine: all but the order of booting."""
    return [(ref.get("kind"), ref.get("name")) for ref in refs]


def _check_whole(context: Machine, refs: Sequence[BlockDeviceRef]) -> bool:
    whole = True
    for index, ref in enumerate(refs):
        for field in ("kind", "name"):
            if not ref.get(field):
                context.required(f"{PATH}[{index}].{field}", "a block device has a kind and a name")
                whole = False
    return whole


def _check_unique(context: Machine, refs: Sequence[BlockDeviceRef]) -> None:
    seen: set[tuple[str, str]] = set()
    orders: set[int] = set()
    for index, ref in enumerate(refs):
        device = (ref["kind"], ref["name"])
        if device in seen:
            context.duplicate(f"{PATH}[{index}]", {"kind": ref["kind"], "name": ref["name"]})
        seen.add(device)
        order = ref.get("bootOrder")
        if order is not None:
            if order in orders:
                context.duplicate(f"{PATH}[{index}].bootOrder", order)
            orders.add(order)


async def _check_first(context: Machine, first: BlockDeviceRef) -> None:
    kind = _IMAGES.get(first["kind"])
    image = await context.find(kind, first["name"]) if kind else None
    status = None if image is None else image.get("status")
    if status is None:
        return
    if status.get("phase") == ImagePhase.READY and not status.get("cdrom"):
        context.invalid(
            f"{PATH}[0]",
            first["name"],
            f"a non-CDROM {first['kind']} cannot occupy the first position in block devices: it is read-only, "
            "so make a VirtualDisk from it",
        )
