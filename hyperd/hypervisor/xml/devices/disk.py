"""A block device.

It stops the guest on an I/O error, for reads too: a guest that is told of the error may give up for good, one that
is paused goes on when there is space again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Self
from xml.etree import ElementTree as ET

from hyperd.hypervisor.slots import Address, disk_key
from hyperd.hypervisor.spec import DiskCache, DiskSpec, DomainSpec
from hyperd.hypervisor.xml.devices.device import Board, Connector, Device, add_address
from hyperd.hypervisor.xml.disk_source import add_below, add_source, disk_type, read_source
from hyperd.hypervisor.xml.element import add, attribute
from hyperd.imagefile.handle import DiskFormat, Handle
from hyperd.resources.kinds.virtual_machine import OsType


class DiskBus(StrEnum):
    """libvirt's ``<target bus=…>``."""

    SCSI = "scsi"
    VIRTIO = "virtio"
    SATA = "sata"
    IDE = "ide"
    USB = "usb"


_PREFIX = {
    DiskBus.SCSI: "sd",
    DiskBus.VIRTIO: "vd",
    DiskBus.SATA: "sd",
    DiskBus.IDE: "hd",
    DiskBus.USB: "sd",
}
_CONNECTOR = {
    DiskBus.SCSI: Connector.SCSI,
    DiskBus.VIRTIO: Connector.PCIE,
    DiskBus.SATA: Connector.SATA,
    DiskBus.IDE: Connector.IDE,
    DiskBus.USB: Connector.USB,
}


def _bus(spec: DomainSpec, disk: DiskSpec) -> DiskBus:
    legacy = spec.os_type is OsType.LEGACY
    if not spec.paravirt:
        if disk.readonly and not disk.cdrom:
            return DiskBus.USB  # QEMU's SATA and IDE disks are always writable
        if disk.scsi:
            return DiskBus.SCSI
        return DiskBus.IDE if legacy else DiskBus.SATA
    if disk.scsi or not legacy:
        return DiskBus.SCSI
    return DiskBus.IDE if disk.cdrom else DiskBus.VIRTIO


def has_scsi_disk(spec: DomainSpec) -> bool:
    """Whether a disk of the machine needs a SCSI controller."""
    return any(_bus(spec, disk) is DiskBus.SCSI for disk in spec.disks)


@dataclass(frozen=True, slots=True)
class Disk(Device):
    """A disk or, with ``cdrom``, an optical drive, which is read-only."""

    TAG: ClassVar[str] = "disk"

    serial: str
    source: Handle
    bus: DiskBus
    readonly: bool = False
    cdrom: bool = False
    cache: DiskCache = DiskCache.NONE
    boot_order: int | None = None
    target: str = ""
    address: Address | None = None

    @property
    def key(self) -> str:
        return disk_key(self.serial)

    @classmethod
    def of(cls, spec: DomainSpec) -> Iterator[Self]:
        for disk in spec.disks:
            yield cls(
                serial=disk.serial,
                source=disk.source,
                bus=_bus(spec, disk),
                readonly=disk.readonly or disk.cdrom,
                cdrom=disk.cdrom,
                cache=disk.cache,
                boot_order=disk.boot_order,
            )

    def seat(self, board: Board) -> Connector:
        return _CONNECTOR[self.bus]

    @property
    def target_prefix(self) -> str:
        return _PREFIX[self.bus]

    def to_xml(self) -> ET.Element:
        element = ET.Element("disk", {"type": disk_type(self.source), "device": "cdrom" if self.cdrom else "disk"})
        driver = {
            "name": "qemu",
            "type": self.source.format,
            "cache": self.cache,
            "io": self._io(),
            "error_policy": "stop",
            "rerror_policy": "stop",
        }
        if not self.readonly:
            driver["discard"] = "unmap"
        add(element, "driver", driver)
        add_source(element, self.source)
        add_below(element, self.source)
        add(element, "target", {"dev": self.target, "bus": self.bus})
        if self.readonly:
            add(element, "readonly")
        add(element, "serial", text=self.serial)
        if self.boot_order is not None:
            add(element, "boot", {"order": str(self.boot_order)})
        add(element, "alias", {"name": f"ua-{self.serial}"})
        add_address(element, self.address)
        return element

    def _io(self) -> str:
        """Native AIO needs O_DIRECT, and would block QEMU while a growing qcow2 allocates."""
        direct = self.cache is DiskCache.NONE and self.source.format is DiskFormat.RAW
        return "native" if direct else "threads"

    @classmethod
    def from_xml(cls, element: ET.Element) -> Self | None:
        source = read_source(element)
        bus = attribute(element, "target", "bus")
        if source is None or bus not in list(DiskBus):
            return None
        order = attribute(element, "boot", "order")
        return cls(
            serial=element.findtext("serial", ""),
            source=source,
            bus=DiskBus(bus),
            readonly=element.find("readonly") is not None,
            cdrom=element.get("device") == "cdrom",
            cache=DiskCache(attribute(element, "driver", "cache") or DiskCache.NONE),
            boot_order=int(order) if order else None,
            target=attribute(element, "target", "dev"),
            address=Address.from_xml(element),
        )
