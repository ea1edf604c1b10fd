"""Random numbers from the host's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self
from xml.etree import ElementTree as ET

from hyperd.hypervisor.slots import Address
from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.xml.devices.device import Board, Connector, Device, add_address
from hyperd.hypervisor.xml.element import add
from hyperd.resources.kinds.virtual_machine import OsType


@dataclass(frozen=True, slots=True)
class Rng(Device):
    """Of Generic guests: others have no driver for it."""

    TAG: ClassVar[str] = "rng"

    address: Address | None = None

    @property
    def key(self) -> str:
        return "rng"

    @classmethod
    def of(cls, spec: DomainSpec) -> Iterator[Self]:
        if spec.paravirt and spec.os_type is OsType.GENERIC:
            yield cls()

    def seat(self, board: Board) -> Connector:
        return Connector.PCIE

    def to_xml(self) -> ET.Element:
        element = ET.Element("rng", {"model": "virtio"})
        add(element, "backend", {"model": "random"}, text="/dev/urandom")
        add_address(element, self.address)
        return element

    @classmethod
    def from_xml(cls, element: ET.Element) -> Self | None:
        return cls(Address.from_xml(element)) if element.get("model") == "virtio" else None
