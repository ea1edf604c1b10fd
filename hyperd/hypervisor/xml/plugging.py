"""What is plugged into a domain that runs: a disk at a slot that is free there, and the controller that it needs.

A disk that is plugged in is on virtio-scsi whatever the machine's own bus is: it needs no slot of PCI, and the
guest has to release nothing when it goes.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from hyperd.hypervisor.slots import Slot
from hyperd.hypervisor.spec import DiskSpec
from hyperd.hypervisor.xml.assignment import assign
from hyperd.hypervisor.xml.devices.controller import Controller, scsi_controller
from hyperd.hypervisor.xml.devices.device import Board, Device
from hyperd.hypervisor.xml.devices.disk import Disk, DiskBus
from hyperd.hypervisor.xml.layout import read_devices, read_slots


def devices_to_plug(domain: ET.Element, disk: DiskSpec, had: Slot) -> list[Device]:
    """The disk at its slot, after what it needs first; none where the domain has it.

    ``had`` is where it sat before, which it gets again if that is free.
    """
    there = list(read_devices(domain))
    new = Disk(
        serial=disk.serial,
        source=disk.source,
        bus=DiskBus.SCSI,
        readonly=disk.readonly or disk.cdrom,
        cdrom=disk.cdrom,
        cache=disk.cache,
    )
    if any(device.key == new.key for device in there):
        return []
    wanted: list[Device] = []
    if not any(isinstance(device, Controller) and device.type == "scsi" for device in there):
        wanted.append(scsi_controller(int(domain.findtext("vcpu", "1"))))
    wanted.append(new)
    slots = assign([*there, *wanted], {**read_slots(domain), new.key: had}, _board(domain))
    return [device.at(slots[device.key]) if device.key in slots else device for device in wanted]


def disk_element(domain: ET.Element, serial: str) -> ET.Element | None:
    """The disk of a domain with a serial, as libvirt wrote it."""
    return next((disk for disk in domain.iterfind("devices/disk") if disk.findtext("serial") == serial), None)


def _board(domain: ET.Element) -> Board:
    type_ = domain.find("os/type")
    machine = "" if type_ is None else type_.get("machine", "")
    if machine.startswith(("pc-q35", "q35")):
        return Board.Q35
    return Board.PC if machine.startswith("pc") else Board.OTHER
