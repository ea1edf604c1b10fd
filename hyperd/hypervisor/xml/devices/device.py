"""What all devices have in common.

A device is a frozen dataclass of what a machine may choose of it; how libvirt writes it down is its own business.
It describes itself alone, as hot-plug needs it, or as one of a domain's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from typing import ClassVar, Self
from xml.etree import ElementTree as ET

from hyperd.hypervisor.slots import Address, Slot
from hyperd.hypervisor.spec import DomainSpec, machine_type
from hyperd.resources.kinds.virtual_machine import OsType


class Board(StrEnum):
    """What devices are plugged into. Only the first two are numbered here; the rest is left to libvirt."""

    Q35 = "q35"
    PC = "pc"
    OTHER = "other"


def board_of(spec: DomainSpec) -> Board:
    """The board of a machine."""
    if spec.os_type is OsType.LEGACY:
        return Board.PC
    return Board.Q35 if machine_type(spec.architecture) == "q35" else Board.OTHER


class Connector(StrEnum):
    """What a device needs one of."""

    ROOT_PORT = "root-port"
    """A function on PCIe's root bus, of which eight share a slot."""
    PCIE = "pcie"
    """A root port, which hot-plug needs; on an older board a slot of its bus."""
    PCI = "pci"
    """A slot of conventional PCI, on a PCIe board behind a bridge."""
    SCSI = "scsi"
    SATA = "sata"
    IDE = "ide"
    USB = "usb"


class Device(ABC):
    """One device of a machine."""

    __slots__ = ()

    TAG: ClassVar[str]
    """Its element's, which other types may have too."""

    @property
    @abstractmethod
    def key(self) -> str:
        """What it is among the devices of its machine, for as long as that lives: by identity, not by place."""

    @classmethod
    @abstractmethod
    def of(cls, spec: DomainSpec) -> Iterable[Self]:
        """The devices of this type that a machine has, in the order in which they get slots; as yet without."""

    @abstractmethod
    def to_xml(self) -> ET.Element:
        """Its element, complete."""

    @classmethod
    @abstractmethod
    def from_xml(cls, element: ET.Element) -> Self | None:
        """What ``to_xml`` or libvirt wrote of one, which adds much; None for what is no device of this type."""

    def seat(self, board: Board) -> Connector | Address | None:
        """What it needs to be plugged into, or where alone it may be; None where libvirt is not to be told."""
        return None

    @property
    def target_prefix(self) -> str:
        """Of its target's name; only disks have one."""
        return ""

    @property
    def slot(self) -> Slot:
        """Where it sits."""
        return Slot(getattr(self, "address", None), getattr(self, "target", ""))

    def at(self, slot: Slot) -> Self:
        """The same device at its slot."""
        given = {"target": slot.target} if self.target_prefix else {}
        return replace(self, address=slot.address, **given)  # type: ignore[type-var]


def add_address(element: ET.Element, address: Address | None) -> None:
    """Append the address, if there is one."""
    if address is not None:
        element.append(address.to_xml())
