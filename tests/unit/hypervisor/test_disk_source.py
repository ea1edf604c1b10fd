"""A disk by each kind of handle: libvirt's own schema takes it, and it is found again in the domain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from lxml import etree

from hyperd.hypervisor.xml.disk_source import target_of
from hyperd.hypervisor.xml.domain import domain_xml
from hyperd.imagefile.handle import BlockHandle, DiskFormat, FileHandle, Handle, NbdHandle
from tests.unit.hypervisor import specs
from tests.unit.hypervisor.test_domain import SCHEMA

HANDLES: dict[str, tuple[Handle, str]] = {
    "file": (FileHandle(Path("/v/a b"), DiskFormat.QCOW2), '<source file="/v/a b" />'),
    "block": (BlockHandle(Path("/dev/vg/a"), DiskFormat.RAW), '<source dev="/dev/vg/a" />'),
    "network": (
        NbdHandle(Path("/run/nbd.sock"), "a", DiskFormat.RAW),
        '<source protocol="nbd" name="a"><host transport="unix" socket="/run/nbd.sock" /></source>',
    ),
}


@pytest.mark.parametrize("type_", HANDLES)
def test_a_disk_is_of_its_handle_s_type_and_found_by_it(type_: str) -> None:
    handle, source = HANDLES[type_]
    disks = (specs.DATA, replace(specs.ROOT, source=handle))
    text = domain_xml(replace(specs.GENERIC, disks=disks))
    schema = etree.RelaxNG(etree.parse(str(SCHEMA)))
    assert schema.validate(etree.fromstring(text.encode())), schema.error_log
    assert source in text
    domain = ET.fromstring(text)
    disk = domain.findall("devices/disk")[1]
    assert disk.get("type") == type_
    assert target_of(domain, handle) == "sdb"
    assert target_of(domain, replace(handle, format=DiskFormat.QCOW2)) == "sdb"
    for other, _ in HANDLES.values():
        assert other == handle or not target_of(domain, other)
