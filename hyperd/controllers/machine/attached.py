"""The block devices of a machine as its status shows them.

What the running instance holds is what libvirt says, told apart by serials: the spec may ask for other devices by
now. A device that the spec no longer names stays listed as long as the instance holds it, so that nobody else may
take, delete or resize it as if it were free. Of a machine that is off, a device shows the target that it had and
will have again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from hyperd.controllers.machine import applied
from hyperd.controllers.machine.plan import serial_of
from hyperd.hypervisor.state import DomainInfo
from hyperd.resources.all import VIRTUAL_DISK
from hyperd.resources.schema.kind import AnyObject

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import BlockDeviceRef, VirtualMachine
    from hyperd.resources.views.virtual_machine_status import BlockDeviceStatus

Sources = Callable[[str, str], AnyObject | None]
"""Kind and name → the VirtualDisk or image in the machine's reach, None when there is none."""


def device_entries(
    machine: VirtualMachine, domain: DomainInfo | None, sources: Sources
) -> list[BlockDeviceStatus]:
    """``status.blockDeviceRefs``: the instance's devices in its order, then what the spec names beside them."""
    refs = machine["spec"].get("blockDeviceRefs") or []
    orders = {(ref["kind"], ref["name"]): ref.get("bootOrder") for ref in refs}
    held: Iterable[BlockDeviceRef] = ()
    targets: dict[str, str] = {}
    former: dict[tuple[str, str], str] = {}
    if domain is None or not domain.active:
        former = targets_shown(machine)
    else:
        held = applied.decode(domain.applied).configuration.get("blockDeviceRefs", ())
        targets = {disk.serial: disk.target for disk in domain.disks}
    shown: list[BlockDeviceStatus] = []
    for kind, name in dict.fromkeys([*((ref["kind"], ref["name"]) for ref in held), *orders]):
        source = sources(kind, name)
        target = targets.get(serial_of(source["metadata"]["uid"])) if source is not None else None
        if target is None and (kind, name) not in orders:
            continue
        entry: BlockDeviceStatus = {
            "kind": kind,
            "name": name,
            "size": _size(kind, source),
            "attached": target is not None,
        }
        if shown_target := target or former.get((kind, name)):
            entry["target"] = shown_target
        if order := orders.get((kind, name)):
            entry["bootOrder"] = order
        shown.append(entry)
    return shown


def targets_shown(machine: VirtualMachine) -> dict[tuple[str, str], str]:
    """Kind and name → target, as the status has it."""
    entries = (machine.get("status") or {}).get("blockDeviceRefs") or ()
    return {(entry["kind"], entry["name"]): entry["target"] for entry in entries if entry.get("target")}


def _size(kind: str, source: AnyObject | None) -> str:
    status = (source or {}).get("status") or {}
    if kind == VIRTUAL_DISK.kind:
        return str(status.get("capacity") or "")
    return str((status.get("size") or {}).get("unpacked") or "")
