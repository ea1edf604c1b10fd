"""A pointer with absolute places, so that a screen's pointer is where its viewer's is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self
from xml.etree import ElementTree as ET

from hyperd.hypervisor.slots import Address
from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.xml.devices.device import Board, Connector, Device, add_address


@dataclass(frozen=True, slots=True)
class Tablet(Device):
    """On USB."""

    TAG: ClassVar[str] = "input"

    address: Address | None = None

    @property
    def key(self) -> str:
        return "input/tablet"

    @classmethod
    def of(cls, spec: DomainSpec) -> Iterator[Self]:
        yield cls()

    def seat(self, board: Board) -> Connector:
        return Connector.USB

    def to_xml(self) -> ET.Element:
        element = ET.Element("input", {"type": "tablet", "bus": "usb"})
        add_address(element, self.address)
        return element

    @classmethod
    def from_xml(cls, element: ET.Element) -> Self | None:
        return cls(Address.from_xml(element)) if element.get("type") == "tablet" else None
