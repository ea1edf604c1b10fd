"""The screen's way out: no socket in a folder that QEMU may write, libvirt hands over a connected one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self
from xml.etree import ElementTree as ET

from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.xml.devices.device import Device
from hyperd.hypervisor.xml.element import add


@dataclass(frozen=True, slots=True)
class Graphics(Device):
    """VNC, listening nowhere."""

    TAG: ClassVar[str] = "graphics"

    @property
    def key(self) -> str:
        return "graphics"

    @classmethod
    def of(cls, spec: DomainSpec) -> Iterator[Self]:
        if spec.vnc:
            yield cls()

    def to_xml(self) -> ET.Element:
        element = ET.Element("graphics", {"type": "vnc"})
        add(element, "listen", {"type": "none"})
        return element

    @classmethod
    def from_xml(cls, element: ET.Element) -> Self | None:
        return cls() if element.get("type") == "vnc" else None
