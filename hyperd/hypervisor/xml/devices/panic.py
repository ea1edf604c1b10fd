"""What a guest that panics tells so; a run policy then sees a crash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self
from xml.etree import ElementTree as ET

from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.xml.devices.device import Device


@dataclass(frozen=True, slots=True)
class Panic(Device):
    """On ISA, at the port that QEMU gives it."""

    TAG: ClassVar[str] = "panic"

    @property
    def key(self) -> str:
        return "panic"

    @classmethod
    def of(cls, spec: DomainSpec) -> Iterator[Self]:
        yield cls()

    def to_xml(self) -> ET.Element:
        return ET.Element("panic", {"model": "isa"})

    @classmethod
    def from_xml(cls, element: ET.Element) -> Self | None:
        return cls() if element.get("model") == "isa" else None
