"""The channel of QEMU's guest agent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self
from xml.etree import ElementTree as ET

from hyperd.hypervisor.slots import Address, AddressType
from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.xml.devices.device import Board, Device, add_address
from hyperd.hypervisor.xml.element import add, attribute

_NAME = "org.qemu.guest_agent.0"
_PORT = Address(AddressType.VIRTIO_SERIAL, (0, 0, 1))


@dataclass(frozen=True, slots=True)
class AgentChannel(Device):
    """libvirt makes the socket."""

    TAG: ClassVar[str] = "channel"

    address: Address | None = None

    @property
    def key(self) -> str:
        return "channel/agent"

    @classmethod
    def of(cls, spec: DomainSpec) -> Iterator[Self]:
        if spec.agent and spec.paravirt:
            yield cls()

    def seat(self, board: Board) -> Address:
        return _PORT

    def to_xml(self) -> ET.Element:
        element = ET.Element("channel", {"type": "unix"})
        add(element, "target", {"type": "virtio", "name": _NAME})
        add_address(element, self.address)
        return element

    @classmethod
    def from_xml(cls, element: ET.Element) -> Self | None:
        return cls(Address.from_xml(element)) if attribute(element, "target", "name") == _NAME else None
