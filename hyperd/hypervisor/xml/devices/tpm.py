"""A TPM 2.0, which swtpm plays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self
from xml.etree import ElementTree as ET

from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.xml.devices.device import Device
from hyperd.hypervisor.xml.element import add, attribute


@dataclass(frozen=True, slots=True)
class Tpm(Device):
    """Its state is libvirt's to keep, by the domain's UUID."""

    TAG: ClassVar[str] = "tpm"

    @property
    def key(self) -> str:
        return "tpm"

    @classmethod
    def of(cls, spec: DomainSpec) -> Iterator[Self]:
        if spec.tpm:
            yield cls()

    def to_xml(self) -> ET.Element:
        element = ET.Element("tpm", {"model": "tpm-crb"})
        add(element, "backend", {"type": "emulator", "version": "2.0"})
        return element

    @classmethod
    def from_xml(cls, element: ET.Element) -> Self | None:
        return cls() if attribute(element, "backend", "type") == "emulator" else None
