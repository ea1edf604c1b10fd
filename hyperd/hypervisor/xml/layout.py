"""The devices of a machine, each at its slot; and those that a domain has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from xml.etree import ElementTree as ET

from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.xml.assignment import assign
from hyperd.hypervisor.xml.devices import TYPES
from hyperd.hypervisor.xml.devices.controller import Controller
from hyperd.hypervisor.xml.devices.device import Device, board_of
from hyperd.hypervisor.xml.devices.disk import key_of
from hyperd.hypervisor.xml.slots import AddressType, Slot, Slots


def devices_of(spec: DomainSpec) -> list[Device]:
    """All devices of a machine, each at its slot: that of ``spec.slots``, or the next free one."""
    devices = [device for type_ in TYPES for device in type_.of(spec)]
    slots = assign(devices, spec.slots, board_of(spec))
    return _with_functions([device.at(slots.get(device.key, Slot())) for device in devices])


def slots_of(spec: DomainSpec) -> dict[str, Slot]:
    """Where the devices of a machine sit, for the record."""
    return {device.key: device.slot for device in devices_of(spec) if device.slot != Slot()}


def disk_targets(spec: DomainSpec) -> dict[str, str]:
    """Disk name → target (``sda``), which is how libvirt calls it in events."""
    slots = slots_of(spec)
    return {disk.name: slots[key_of(disk.serial)].target for disk in spec.disks}


def read_devices(domain: ET.Element) -> Iterator[Device]:
    """The devices of a domain that are of a type known here."""
    for element in domain.iterfind("devices/*"):
        read = (type_.from_xml(element) for type_ in TYPES if element.tag == type_.TAG)
        device = next((device for device in read if device is not None), None)
        if device is not None:
            yield device


def read_slots(domain: ET.Element) -> Slots:
    """Where the devices of a domain sit, whoever assigned it."""
    return {device.key: device.slot for device in read_devices(domain) if device.slot != Slot()}


def _with_functions(devices: list[Device]) -> list[Device]:
    """Function 0 of a slot has to say that there are others."""
    numbers = (device.slot.address for device in devices)
    shared = {one.numbers[:3] for one in numbers if one and one.type is AddressType.PCI and one.numbers[3]}
    return [
        replace(device, multifunction=True)
        if isinstance(device, Controller)
        and device.address is not None
        and device.address.numbers[3:] == (0,)
        and device.address.numbers[:3] in shared
        else device
        for device in devices
    ]
