"""Where a machine's devices sat before its start, from all that knows: a guest is to find them there again.

A domain that is defined knows best, whichever version defined it. A stop by policy removes the definition, and
with it the record; the targets are in the status then, and a machine without hot-plug has the same layout else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hyperd.controllers.machine import applied
from hyperd.controllers.machine.attached import targets_shown
from hyperd.controllers.machine.devices import Device
from hyperd.controllers.machine.held import serial_of
from hyperd.hypervisor.interface import Hypervisor
from hyperd.hypervisor.slots import Slot, Slots, decode, disk_key

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine


async def known_slots(machine: VirtualMachine, devices: Iterable[Device], hypervisor: Hypervisor) -> Slots:
    """Those of the domain before those of its record, and those before what the status shows."""
    uid = machine["metadata"]["uid"]
    known = shown(machine, devices)
    domain = hypervisor.last_known.get(uid)
    if domain is not None:
        known |= decode(applied.decode(domain.applied).slots)
        known |= await hypervisor.slots(uid)
    return known


def shown(machine: VirtualMachine, devices: Iterable[Device]) -> dict[str, Slot]:
    """The targets that the status has of a machine's devices."""
    targets = targets_shown(machine)
    return {
        disk_key(serial_of(device.uid)): Slot(target=targets[device.kind, device.name])
        for device in devices
        if (device.kind, device.name) in targets
    }
