"""A running guest's XML as another node's hypervisor is to have it: its own files and marks, all else the same."""

from __future__ import annotations

from collections.abc import Container, Mapping
from xml.etree import ElementTree as ET

from hyperd.hypervisor.state import DomainInfo
from hyperd.hypervisor.xml.disk_source import add_source, disk_type
from hyperd.hypervisor.xml.domain import METADATA_NAMESPACE, marks
from hyperd.imagefile.handle import Handle


def xml_elsewhere(xml: str, sources: Mapping[str, Handle], domain: DomainInfo, instance: str) -> str:
    """``xml``, libvirtd's own, with other ``sources`` by the disks' serials, and marked as ``domain`` says."""
    tree = ET.fromstring(xml)  # noqa: S314  libvirtd's own XML
    for disk in tree.iterfind("devices/disk"):
        if (source := sources.get(disk.findtext("serial", ""))) is not None:
            _have(disk, source)
    marked = tree.find(f"metadata/{{{METADATA_NAMESPACE}}}vm")
    if marked is not None:
        marked.attrib.clear()
        marked.attrib.update(marks(domain, instance))
    return ET.tostring(tree, encoding="unicode")


def copied_targets(xml: str, serials: Container[str]) -> list[str]:
    """What libvirt calls the disks with these serials."""
    tree = ET.fromstring(xml)  # noqa: S314  libvirtd's own XML
    found = ((disk.findtext("serial", ""), disk.find("target")) for disk in tree.iterfind("devices/disk"))
    return [target.get("dev", "") for serial, target in found if serial in serials and target is not None]


def _have(disk: ET.Element, source: Handle) -> None:
    for tag in ("source", "backingStore", "mirror"):
        for element in disk.findall(tag):
            disk.remove(element)
    disk.set("type", disk_type(source))
    driver = disk.find("driver")
    if driver is not None:
        driver.set("type", source.format)
    add_source(disk, source)
