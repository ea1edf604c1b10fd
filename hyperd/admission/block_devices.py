"""Rules of a virtual machine's ``blockDeviceRefs``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hyperd.admission.context import Context
from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, VIRTUAL_IMAGE
from hyperd.resources.kinds.virtual_image import ImagePhase
from hyperd.resources.kinds.virtual_machine import BlockDeviceKind
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.schema.unbuilt import not_live_in

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import BlockDeviceRef, VirtualMachine, VirtualMachineSpec

    Machine = Context[VirtualMachine, VirtualMachineSpec]

PATH = "spec.blockDeviceRefs"
_RUNNING = frozenset({
    VirtualMachinePhase.STARTING, VirtualMachinePhase.RUNNING, VirtualMachinePhase.MIGRATING,
    VirtualMachinePhase.PAUSE, VirtualMachinePhase.STOPPING,
})  # fmt: skip
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
    if former is None or _devices(former) == _devices(refs):
        return
    if not context.spec["enableParavirtualization"]:
        context.warn(f"{PATH}: without paravirtualization a change of devices needs a restart")
    elif context.phase in _RUNNING:
        for sentence in not_live_in(context.request.kind, ["blockDeviceRefs"]):
            context.warn(f"{PATH}: {sentence}")


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
