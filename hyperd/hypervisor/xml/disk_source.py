"""A handle as libvirt's ``<source>`` of a disk, and the disk of a domain that has it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from hyperd.hypervisor.xml.element import add, attribute, clean
from hyperd.imagefile.handle import BlockHandle, DiskFormat, FileHandle, Handle, NbdHandle


def disk_type(source: Handle) -> str:
    """libvirt's ``<disk type=…>``."""
    match source:
        case FileHandle():
            return "file"
        case BlockHandle():
            return "block"
        case NbdHandle():
            return "network"


def add_source(disk: ET.Element, source: Handle) -> None:
    """Append ``<source>`` to a disk of the type that ``disk_type`` says."""
    match source:
        case FileHandle(path=path):
            add(disk, "source", {"file": str(path)})
        case BlockHandle(path=path):
            add(disk, "source", {"dev": str(path)})
        case NbdHandle(socket=socket, name=name):
            element = add(disk, "source", {"protocol": "nbd", "name": name})
            add(element, "host", {"transport": "unix", "socket": str(socket)})


def add_below(disk: ET.Element, source: Handle) -> None:
    """Append what ``source`` overlays, where that is not to be taken from its header."""
    if not isinstance(source, FileHandle) or source.below is None:
        return
    below = source.below
    element = add(disk, "backingStore", {"type": disk_type(below)})
    add(element, "format", {"type": below.format})
    add_source(element, below)
    add(element, "backingStore")


def read_source(disk: ET.Element) -> Handle | None:
    """The handle of a disk; None for a source of another kind, or an empty drive."""
    format_ = attribute(disk, "driver", "type")
    if format_ not in list(DiskFormat) or disk.find("source") is None:
        return None
    match disk.get("type"):
        case "file":
            return FileHandle(Path(attribute(disk, "source", "file")), DiskFormat(format_), _below(disk))
        case "block":
            return BlockHandle(Path(attribute(disk, "source", "dev")), DiskFormat(format_))
        case "network" if attribute(disk, "source", "protocol") == "nbd":
            socket, name = attribute(disk, "source/host", "socket"), attribute(disk, "source", "name")
            return NbdHandle(Path(socket), name, DiskFormat(format_))
    return None


def _below(disk: ET.Element) -> NbdHandle | None:
    """What serves the image that a disk overlays. Files are not told: a header says the same, and is never old."""
    below = disk.find("backingStore")
    if below is None or below.get("type") != "network" or attribute(below, "source", "protocol") != "nbd":
        return None
    format_ = attribute(below, "format", "type")
    if format_ not in list(DiskFormat):
        return None
    socket, name = attribute(below, "source/host", "socket"), attribute(below, "source", "name")
    return NbdHandle(Path(socket), name, DiskFormat(format_))


def target_of(domain: ET.Element, source: Handle) -> str:
    """The target (``sda``) of the disk that a domain has open by ``source``; empty when there is none.

    By the source: a target is another disk's after a restart that changed the order.
    """
    for disk in domain.iterfind("devices/disk"):
        found, target = disk.find("source"), disk.find("target")
        if found is not None and target is not None and _is(found, source):
            return target.get("dev", "")
    return ""


def _is(element: ET.Element, source: Handle) -> bool:
    match source:
        case FileHandle(path=path):
            return element.get("file") == clean(str(path))
        case BlockHandle(path=path):
            return element.get("dev") == clean(str(path))
        case NbdHandle(socket=socket, name=name):
            host = element.find("host")
            return (
                host is not None
                and (element.get("protocol"), element.get("name")) == ("nbd", clean(name))
                and host.get("socket") == clean(str(socket))
            )
