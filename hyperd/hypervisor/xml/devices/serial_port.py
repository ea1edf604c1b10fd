"""The first serial port, which is the console: libvirtd binds the socket, virtlogd keeps what the guest writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self
from xml.etree import ElementTree as ET

from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.xml.devices.device import Device
from hyperd.hypervisor.xml.element import add, attribute


@dataclass(frozen=True, slots=True)
class SerialPort(Device):
    """The socket to write to and read from; ``log`` gets a copy of what is read."""

    TAG: ClassVar[str] = "serial"

    socket: Path
    log: Path | None = None

    @property
    def key(self) -> str:
        return "serial/0"

    @classmethod
    def of(cls, spec: DomainSpec) -> Iterator[Self]:
        if spec.serial_socket is not None:
            yield cls(spec.serial_socket, spec.serial_log)

    def to_xml(self) -> ET.Element:
        element = ET.Element("serial", {"type": "unix"})
        add(element, "source", {"mode": "bind", "path": str(self.socket)})
        if self.log is not None:
            add(element, "log", {"file": str(self.log), "append": "on"})
        add(element, "target", {"type": "isa-serial", "port": "0"})
        return element

    @classmethod
    def from_xml(cls, element: ET.Element) -> Self | None:
        if element.get("type") != "unix":
            return None
        log = attribute(element, "log", "file")
        return cls(Path(attribute(element, "source", "path")), Path(log) if log else None)
