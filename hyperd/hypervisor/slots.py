"""Where a device sits: what libvirt calls an address, and the name that a disk's target has.

A slot is assigned to a device once (``assignment``) and stands in the domain's XML and in the applied record, so
that a guest finds the device at the same place after each restart, whatever else came or went.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from xml.etree import ElementTree as ET


class AddressType(StrEnum):
    """libvirt's ``<address type=…>``."""

    PCI = "pci"
    DRIVE = "drive"
    USB = "usb"
    VIRTIO_SERIAL = "virtio-serial"
    ISA = "isa"


_PARTS = {
    AddressType.PCI: {"domain": "0x{:04x}", "bus": "0x{:02x}", "slot": "0x{:02x}", "function": "0x{:x}"},
    AddressType.DRIVE: dict.fromkeys(("controller", "bus", "target", "unit"), "{}"),
    AddressType.USB: dict.fromkeys(("bus", "port"), "{}"),
    AddressType.VIRTIO_SERIAL: dict.fromkeys(("controller", "bus", "port"), "{}"),
    AddressType.ISA: {"iobase": "0x{:x}"},
}


@dataclass(frozen=True, slots=True)
class Address:
    """One address; ``numbers`` are its parts in the order that libvirt writes them."""

    type: AddressType
    numbers: tuple[int, ...]

    def __str__(self) -> str:
        return ":".join((self.type, *map(str, self.numbers)))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """What ``str`` gave; None for anything else."""
        name, *numbers = text.split(":")
        type_ = next((one for one in AddressType if one == name), None)
        if type_ is None or len(numbers) != len(_PARTS[type_]) or not all(map(_NUMBER.fullmatch, numbers)):
            return None
        return cls(type_, tuple(map(int, numbers)))

    def to_xml(self) -> ET.Element:
        """``<address>``."""
        parts = zip(_PARTS[self.type].items(), self.numbers, strict=True)
        return ET.Element(
            "address", {"type": self.type, **{name: form.format(number) for (name, form), number in parts}}
        )

    @classmethod
    def from_xml(cls, device: ET.Element) -> Self | None:
        """The address of a device; None where it has none, or one of a kind that is never assigned here."""
        element = device.find("address")
        if element is None:
            return None
        type_ = next((one for one in AddressType if one == element.get("type")), None)
        if type_ is None:
            return None
        try:
            return cls(type_, tuple(int(element.get(name, "0"), 0) for name in _PARTS[type_]))
        except ValueError:  # behind a USB hub: 1.2
            return None


_NUMBER = re.compile("[0-9]{1,5}")


def pci(bus: int, slot: int, function: int = 0) -> Address:
    """A PCI address in domain 0."""
    return Address(AddressType.PCI, (0, bus, slot, function))


def drive(*, bus: int = 0, target: int = 0, unit: int = 0, controller: int = 0) -> Address:
    """A disk's address on SCSI, SATA or IDE."""
    return Address(AddressType.DRIVE, (controller, bus, target, unit))


def usb(port: int) -> Address:
    """A port of the machine's only USB bus."""
    return Address(AddressType.USB, (0, port))


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one device sits; ``target`` (``sda``) is a disk's. What is not assigned is left to libvirt."""

    address: Address | None = None
    target: str = ""


Slots = Mapping[str, Slot]
"""By what a device is among those of its machine, which is no place in any list: ``Device.key``."""


def disk_key(serial: str) -> str:
    """``Device.key`` of the disk with a serial."""
    return f"disk/{serial}"


def encode(slots: Slots) -> dict[str, dict[str, str]]:
    """For a record in JSON."""
    return {
        key: {
            **({"address": str(slot.address)} if slot.address is not None else {}),
            **({"target": slot.target} if slot.target else {}),
        }
        for key, slot in slots.items()
    }


def decode(record: object) -> dict[str, Slot]:
    """What ``encode`` made; what is not understood is left out, and so assigned anew."""
    found: dict[str, Slot] = {}
    for key, value in record.items() if isinstance(record, dict) else ():
        if isinstance(key, str) and isinstance(value, dict):
            address = Address.parse(str(value.get("address", "")))
            found[key] = Slot(address, str(value.get("target", "")))
    return found
