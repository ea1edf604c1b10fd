"""The graphics card, or libvirt's word that there is none: it would add one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self
from xml.etree import ElementTree as ET

from hyperd.hypervisor.slots import Address, pci
from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.xml.devices.device import Board, Device, add_address
from hyperd.hypervisor.xml.element import add, attribute
from hyperd.resources.kinds.virtual_machine import Bootloader

_NONE = "none"
_PRIMARY = {Board.Q35: pci(0, 1), Board.PC: pci(0, 2)}


@dataclass(frozen=True, slots=True)
class Video(Device):
    """``model`` is libvirt's; ``none`` for a machine without a screen."""

    TAG: ClassVar[str] = "video"

    model: str
    address: Address | None = None

    @property
    def key(self) -> str:
        return "video"

    @classmethod
    def of(cls, spec: DomainSpec) -> Iterator[Self]:
        screen = "vga" if spec.firmware is Bootloader.BIOS else "bochs"
        yield cls(screen if spec.vnc else _NONE)

    def seat(self, board: Board) -> Address | None:
        return None if self.model == _NONE else _PRIMARY.get(board)

    def to_xml(self) -> ET.Element:
        element = ET.Element("video")
        shown = {} if self.model == _NONE else {"vram": "16384", "heads": "1", "primary": "yes"}
        add(element, "model", {"type": self.model, **shown})
        add_address(element, self.address)
        return element

    @classmethod
    def from_xml(cls, element: ET.Element) -> Self | None:
        return cls(attribute(element, "model", "type"), Address.from_xml(element))
