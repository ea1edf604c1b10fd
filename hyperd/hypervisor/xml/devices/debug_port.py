"""The port that SeaBIOS tells its doings to; other firmware tells nothing there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self
from xml.etree import ElementTree as ET

from hyperd.hypervisor.slots import Address, AddressType
from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.xml.devices.device import Device
from hyperd.hypervisor.xml.element import add, attribute
from hyperd.resources.kinds.virtual_machine import Bootloader

_PORT = Address(AddressType.ISA, (0x402,))


@dataclass(frozen=True, slots=True)
class DebugPort(Device):
    """``path`` gets what is told, anew with each start."""

    TAG: ClassVar[str] = "serial"

    path: Path

    @property
    def key(self) -> str:
        return "serial/1"

    @classmethod
    def of(cls, spec: DomainSpec) -> Iterator[Self]:
        if spec.serial_socket is not None and spec.firmware_log is not None and spec.firmware is Bootloader.BIOS:
            yield cls(spec.firmware_log)

    def to_xml(self) -> ET.Element:
        element = ET.Element("serial", {"type": "file"})
        add(element, "source", {"path": str(self.path)})
        target = add(element, "target", {"type": "isa-debug", "port": "1"})
        add(target, "model", {"name": "isa-debugcon"})
        element.append(_PORT.to_xml())
        return element

    @classmethod
    def from_xml(cls, element: ET.Element) -> Self | None:
        if attribute(element, "target", "type") != "isa-debug":
            return None
        return cls(Path(attribute(element, "source", "path")))
