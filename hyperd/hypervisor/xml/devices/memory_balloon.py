"""The balloon, which gives free pages back; without statistics, which would cost a round trip per guest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self
from xml.etree import ElementTree as ET

from hyperd.hypervisor.slots import Address
from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.xml.devices.device import Board, Connector, Device, add_address


@dataclass(frozen=True, slots=True)
class MemoryBalloon(Device):
    """``there=False`` is libvirt's word that there is none: it would add one."""

    TAG: ClassVar[str] = "memballoon"

    there: bool
    address: Address | None = None

    @property
    def key(self) -> str:
        return "memballoon"

    @classmethod
    def of(cls, spec: DomainSpec) -> Iterator[Self]:
        yield cls(spec.paravirt)

    def seat(self, board: Board) -> Connector | None:
        return Connector.PCIE if self.there else None

    def to_xml(self) -> ET.Element:
        if not self.there:
            return ET.Element("memballoon", {"model": "none"})
        element = ET.Element("memballoon", {"model": "virtio", "freePageReporting": "on"})
        add_address(element, self.address)
        return element

    @classmethod
    def from_xml(cls, element: ET.Element) -> Self | None:
        return cls(element.get("model") != "none", Address.from_xml(element))
