"""A guest's XML for another node: its own files and marks, and not a thing else."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from hyperd.hypervisor.state import DomainInfo, DomainState
from hyperd.hypervisor.xml.elsewhere import copied_targets, xml_elsewhere
from hyperd.imagefile.handle import BlockHandle, DiskFormat, FileHandle, Handle

_XML = """<domain type='kvm'>
<metadata><h:vm xmlns:h='urn:hyperd:domain:v1' instance='hyperd' namespace='shop' name='web' generation='1'
 applied='old' epoch='3'/></metadata>
<devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/>
<source file='/a/root.qcow2' index='2'/>
<backingStore type='file'><format type='qcow2'/><source file='/a/base'/></backingStore>
<target dev='sda' bus='scsi'/><serial>s1</serial></disk>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/a/seed.img'/><target dev='sdb'/>
<readonly/><serial>s2</serial></disk>
</devices></domain>"""
_DOMAIN = DomainInfo("u", "shop", "web", 1, 'new "record"', DomainState.RUNNING, "booted", True, epoch=3)


def test_disks_are_opened_by_what_the_other_node_has() -> None:
    sources: dict[str, Handle] = {"s1": FileHandle(Path("/b/root.img"), DiskFormat.RAW)}
    tree = ET.fromstring(xml_elsewhere(_XML, sources, _DOMAIN, "hyperd"))
    first, second = tree.findall("devices/disk")
    assert first.find("source") is not None
    assert [element.attrib for element in first.findall("source")] == [{"file": "/b/root.img"}]
    assert first.find("backingStore") is None
    assert [element.attrib for element in first.findall("driver")] == [
        {"name": "qemu", "type": "raw", "cache": "none"}
    ]
    (before,) = [disk for disk in ET.fromstring(_XML).findall("devices/disk") if disk.findtext("serial") == "s2"]
    assert ET.tostring(second) == ET.tostring(before)
    marked = tree.find("metadata/{urn:hyperd:domain:v1}vm")
    assert marked is not None
    assert (marked.get("applied"), marked.get("epoch")) == ('new "record"', "3")
    assert copied_targets(_XML, sources) == ["sda"]


def test_a_file_may_become_a_device() -> None:
    xml = xml_elsewhere(_XML, {"s1": BlockHandle(Path("/dev/x"), DiskFormat.RAW)}, _DOMAIN, "hyperd")
    disk = ET.fromstring(xml).find("devices/disk")
    assert disk is not None
    assert disk.get("type") == "block"
    assert [element.attrib for element in disk.findall("source")] == [{"dev": "/dev/x"}]
