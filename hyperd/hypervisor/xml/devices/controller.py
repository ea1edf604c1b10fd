"""Controllers: what other devices are plugged into.

A PCIe machine has a numbered plan of root ports, each with room for one device, and some spare ones for what is
plugged in later. Ports that a machine has keep their numbers; what it needs more of is added behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import ClassVar, Self
from xml.etree import ElementTree as ET

from hyperd.hypervisor.slots import Address, Slots, pci
from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.xml.devices.device import Board, Connector, Device, board_of
from hyperd.hypervisor.xml.devices.disk import has_scsi_disk
from hyperd.hypervisor.xml.devices.interface import needs_bridge
from hyperd.hypervisor.xml.element import add, attribute

SPARE_PCIE_PORTS = 4
"""Root ports left empty for network cards plugged in later; disks need none."""
MAX_QUEUES = 8
ROOT_PORT = "pcie-root-port"
BRIDGE = "pcie-to-pci-bridge"
_ON_PORTS = 5
"""xHCI, SCSI, serial, balloon, random numbers."""
_PIIX3_USB = pci(0, 1, 2)


@dataclass(frozen=True, slots=True)
class Controller(Device):
    """``queues`` is that of virtio-scsi; ``multifunction`` says that other functions share its slot."""

    TAG: ClassVar[str] = "controller"

    type: str
    index: int
    model: str = ""
    queues: int | None = None
    multifunction: bool = False
    address: Address | None = None

    @property
    def key(self) -> str:
        return f"{self.model if self.type == 'pci' else self.type}/{self.index}"

    @classmethod
    def of(cls, spec: DomainSpec) -> Iterator[Self]:
        board = board_of(spec)
        if board is not Board.PC:
            yield cls("pci", 0, "pcie-root")
            bridged = board is Board.Q35 and needs_bridge(spec)
            ports, bridge = _pcie_plan(spec.slots, _ON_PORTS + len(spec.nics) + SPARE_PCIE_PORTS + bridged)
            for index in ports:
                yield cls("pci", index, ROOT_PORT)
            if bridged:
                yield cls("pci", bridge, BRIDGE)
        yield cls("usb", 0, "piix3-uhci" if board is Board.PC else "qemu-xhci")
        if spec.paravirt or has_scsi_disk(spec):
            yield cls("scsi", 0, "virtio-scsi", queues=min(spec.cores, MAX_QUEUES))
        if spec.paravirt:
            yield cls("virtio-serial", 0)

    def seat(self, board: Board) -> Connector | Address | None:
        if self.type == "pci":
            return {ROOT_PORT: Connector.ROOT_PORT, BRIDGE: Connector.PCIE}.get(self.model)
        return _PIIX3_USB if self.model == "piix3-uhci" else Connector.PCIE

    def to_xml(self) -> ET.Element:
        element = ET.Element("controller", {"type": self.type, "index": str(self.index)})
        if self.model:
            element.set("model", self.model)
        if self.queues is not None:
            add(element, "driver", {"queues": str(self.queues)})
        if self.address is not None:
            address = self.address.to_xml()
            if self.multifunction:
                address.set("multifunction", "on")
            element.append(address)
        return element

    @classmethod
    def from_xml(cls, element: ET.Element) -> Self | None:
        queues = attribute(element, "driver", "queues")
        return cls(
            type=element.get("type", ""),
            index=int(element.get("index", "0")),
            model=element.get("model", ""),
            queues=int(queues) if queues else None,
            multifunction=attribute(element, "address", "multifunction") == "on",
            address=Address.from_xml(element),
        )


def scsi_controller(cores: int) -> Controller:
    """The one that a machine gets when its first disk on SCSI is plugged in."""
    return Controller("scsi", 0, "virtio-scsi", queues=min(cores, MAX_QUEUES))


def _pcie_plan(known: Slots, wanted: int) -> tuple[list[int], int]:
    """The numbers of at least ``wanted`` root ports, and of a bridge: those known, then the next free ones."""
    ports, bridges = _indices(known, ROOT_PORT), _indices(known, BRIDGE)
    used = {*ports, *bridges}
    free = (number for number in count(1) if number not in used)
    while len(ports) < wanted:
        ports.append(next(free))
    return sorted(ports), bridges[0] if bridges else next(free)


def _indices(known: Slots, model: str) -> list[int]:
    found = (key.partition("/") for key in known)
    return sorted(int(index) for name, _, index in found if name == model and index.isdecimal())
