"""The devices of a machine, each at its slot; and those that a domain has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from xml.etree import ElementTree as ET

from hyperd.hypervisor.slots import Slot, Slots, disk_key
from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.xml.assignment import assign
from hyperd.hypervisor.xml.devices import TYPES
from hyperd.hypervisor.xml.devices.controller import Controller
from hyperd.hypervisor.xml.devices.device import Device, board_of


def devices_of(spec: DomainSpec) -> list[Device]:
    """All devices of a machine, each at its slot: that of ``spec.slots``, or the next free one."""
    devices = _wanted(spec)
    slots = assign(devices, spec.slots, board_of(spec))
    return _with_functions([device.at(slots[device.key]) if device.key in slots else device for device in devices])


def slots_of(spec: DomainSpec) -> dict[str, Slot]:
    """Where the devices of a machine sit, for the record."""
    return assign(_wanted(spec), spec.slots, board_of(spec))


def _wanted(spec: DomainSpec) -> list[Device]:
    return [device for type_ in TYPES for device in type_.of(spec)]


def disk_targets(spec: DomainSpec) -> dict[str, str]:
    """Disk name → target (``sda``), which is how libvirt calls it in events."""
    slots = slots_of(spec)
    return {disk.name: slots[disk_key(disk.serial)].target for disk in spec.disks}


def read_devices(domain: ET.Element) -> Iterator[Device]:
    """The devices of a domain that are of a type known here."""
    for element in domain.iterfind("devices/*"):
        read = (type_.from_xml(element) for type_ in TYPES if element.tag == type_.TAG)
        device = next((device for device in read if device is not None), None)
        if device is not None:
            yield device


def read_slots(domain: ET.Element) -> Slots:
    """Where the devices of a domain sit, whoever assigned it."""
    found = ((device.key, device.slot) for device in read_devices(domain))
    return {key: slot for key, slot in found if slot != Slot()}


def _with_functions(devices: list[Device]) -> list[Device]:
    """Function 0 of a slot has to say that there are others."""
    ports = [one for one in devices if isinstance(one, Controller) and one.address is not None]
    shared = {one.address.numbers[:3] for one in ports if one.address and one.address.numbers[3]}
    first = {one.key for one in ports if one.address and one.address.numbers in {(*slot, 0) for slot in shared}}
    return [
        replace(one, multifunction=True) if isinstance(one, Controller) and one.key in first else one
        for one in devices
    ]
