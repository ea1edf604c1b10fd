"""A network card on a tap that exists already when the domain starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self
from xml.etree import ElementTree as ET

from hyperd.hypervisor.slots import Address
from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.xml.devices.device import Board, Connector, Device, add_address
from hyperd.hypervisor.xml.element import add, attribute
from hyperd.resources.kinds.virtual_machine import OsType

_MODELS = {
    (True, False): "virtio",
    (True, True): "virtio-transitional",
    (False, False): "e1000",
    (False, True): "rtl8139",
}
"""By paravirtualisation and Legacy."""
_CONVENTIONAL = ("e1000", "rtl8139")


def needs_bridge(spec: DomainSpec) -> bool:
    """Whether the machine's cards sit on conventional PCI."""
    return bool(spec.nics) and _model(spec) in _CONVENTIONAL


def _model(spec: DomainSpec) -> str:
    return _MODELS[spec.paravirt, spec.os_type is OsType.LEGACY]


@dataclass(frozen=True, slots=True)
class Interface(Device):
    """``mtu`` in bytes."""

    TAG: ClassVar[str] = "interface"

    mac: str
    tap: str
    model: str
    mtu: int
    address: Address | None = None

    @property
    def key(self) -> str:
        return f"nic/{self.mac}"

    @classmethod
    def of(cls, spec: DomainSpec) -> Iterator[Self]:
        for nic in spec.nics:
            yield cls(mac=nic.mac, tap=nic.tap, model=_model(spec), mtu=nic.mtu)

    def seat(self, board: Board) -> Connector:
        return Connector.PCI if self.model in _CONVENTIONAL else Connector.PCIE

    def to_xml(self) -> ET.Element:
        element = ET.Element("interface", {"type": "ethernet"})
        add(element, "mac", {"address": self.mac})
        add(element, "target", {"dev": self.tap, "managed": "no"})
        add(element, "model", {"type": self.model})
        add(element, "mtu", {"size": str(self.mtu)})
        add(element, "rom", {"enabled": "no"})
        add_address(element, self.address)
        return element

    @classmethod
    def from_xml(cls, element: ET.Element) -> Self | None:
        if element.get("type") != "ethernet":
            return None
        return cls(
            mac=attribute(element, "mac", "address"),
            tap=attribute(element, "target", "dev"),
            model=attribute(element, "model", "type"),
            mtu=int(attribute(element, "mtu", "size") or 0),
            address=Address.from_xml(element),
        )
