"""The block devices of a machine as its status shows them.

What the running instance holds is what libvirt says, told apart by serials: the spec may ask for other devices by
now. A device that the spec no longer names stays listed as long as the instance holds it, so that nobody else may
take, delete or resize it as if it were free. Of a machine that is off, a device shows the target that it had and
will have again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from hyperd.controllers.machine import applied
from hyperd.controllers.machine.held import Held, serial_of
from hyperd.hypervisor.state import DomainInfo
from hyperd.resources.all import VIRTUAL_DISK
from hyperd.resources.schema.kind import AnyObject

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_block_device_attachment import VirtualMachineBlockDeviceAttachment
    from hyperd.resources.views.virtual_machine_status import BlockDeviceStatus

Sources = Callable[[str, str], AnyObject | None]
"""Kind and name → the VirtualDisk or image in the machine's reach, None when there is none."""


def device_entries(
    machine: VirtualMachine,
    domain: DomainInfo | None,
    sources: Sources,
    attachments: Iterable[VirtualMachineBlockDeviceAttachment] = (),
) -> list[BlockDeviceStatus]:
    """``status.blockDeviceRefs``: the instance's devices in its order, then what else the spec and
    ``attachments`` name."""
    refs = machine["spec"].get("blockDeviceRefs") or []
    orders: dict[tuple[str, str], int | None] = {(ref["kind"], ref["name"]): ref.get("bootOrder") for ref in refs}
    brought: dict[tuple[str, str], str] = {}
    for attachment in attachments:
        ref_ = attachment["spec"]["blockDeviceRef"]
        brought[ref_["kind"], ref_["name"]] = attachment["metadata"]["name"]
    held: Mapping[tuple[str, str], Held | None] = {}
    targets: dict[str, str] = {}
    former: dict[tuple[str, str], str] = {}
    if domain is None or not domain.active:
        former = targets_shown(machine)
    else:
        held = _held(applied.decode(domain.applied))
        targets = {disk.serial: disk.target for disk in domain.disks}
    shown: list[BlockDeviceStatus] = []
    for kind, name in dict.fromkeys([*held, *orders, *brought]):
        source, one = sources(kind, name), held.get((kind, name))
        target = targets.get(serial_of(source["metadata"]["uid"])) if source is not None else None
        if target is None and (kind, name) not in orders and (kind, name) not in brought:
            continue
        entry: BlockDeviceStatus = {
            "kind": kind,
            "name": name,
            "size": _size(kind, source),
            "attached": target is not None,
        }
        bringer = brought.get((kind, name)) or ("" if one is None else one.get("attachment"))
        if target is not None and (bringer or (one is not None and one.get("hotplugged"))):
            entry["hotplugged"] = True
        if shown_target := target or former.get((kind, name)):
            entry["target"] = shown_target
        if order := orders.get((kind, name)):
            entry["bootOrder"] = order
        if bringer:
            entry["virtualMachineBlockDeviceAttachmentName"] = bringer
        shown.append(entry)
    return shown


def _held(running: applied.Applied) -> Mapping[tuple[str, str], Held | None]:
    """What the instance has, by kind and name, in its order; a record without devices knows its spec's alone."""
    if running.devices:
        return {(one["kind"], one["name"]): one for one in running.devices}
    return {(ref["kind"], ref["name"]): None for ref in running.configuration.get("blockDeviceRefs", ())}


def targets_shown(machine: VirtualMachine) -> dict[tuple[str, str], str]:
    """Kind and name → target, as the status has it."""
    entries = (machine.get("status") or {}).get("blockDeviceRefs") or ()
    return {(entry["kind"], entry["name"]): entry["target"] for entry in entries if entry.get("target")}


def _size(kind: str, source: AnyObject | None) -> str:
    status = (source or {}).get("status") or {}
    if kind == VIRTUAL_DISK.kind:
        return str(status.get("capacity") or "")
    return str((status.get("size") or {}).get("unpacked") or "")
