"""The XML of a domain: golden pairs, libvirt's own schema, and text that tries to break out."""

from __future__ import annotations

import os
import string
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from hyperd.hypervisor.slots import Slot
from hyperd.hypervisor.spec import DiskSpec, DomainSpec, NicSpec
from hyperd.hypervisor.xml.domain import METADATA_NAMESPACE, disk_targets, domain_xml, metadata_xml
from hyperd.imagefile.handle import DiskFormat, FileHandle
from tests.unit.hypervisor import specs

DATA = Path(__file__).parents[2] / "golden" / "machines"
SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")


@pytest.fixture(scope="module")
def schema() -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(str(SCHEMA)))


@pytest.mark.parametrize("name", specs.ALL)
def test_a_spec_gives_its_golden_xml(name: str) -> None:
    tree = ET.fromstring(domain_xml(specs.ALL[name]))
    ET.indent(tree)
    text = ET.tostring(tree, encoding="unicode") + "\n"
    golden = DATA / f"{name}.xml"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("name", specs.ALL)
def test_the_xml_is_valid_for_libvirts_schema(name: str, schema: etree.RelaxNG) -> None:
    document = etree.fromstring(domain_xml(specs.ALL[name]).encode())
    assert schema.validate(document), schema.error_log


def test_every_field_of_a_spec_changes_the_xml_of_some_golden_domain() -> None:
    """A field that nothing reads would be silently ignored."""
    used = {
        kind: {
            field.name for field in fields(kind) for spec in specs.ALL.values() if _differs(spec, kind, field.name)
        }
        for kind in (DomainSpec, DiskSpec, NicSpec)
    }
    for kind, names in used.items():
        assert names == {field.name for field in fields(kind)}


OTHER_VALUES: dict[type, dict[str, Any]] = {
    DomainSpec: {
        "uid": "00000000-0000-4000-8000-000000000000",
        "instance": "other",
        "namespace": "other",
        "vm_name": "other",
        "generation": 99,
        "applied": "other",
        "domain_type": "kvm",
        "cores": 8,
        "memory_bytes": 1 << 30,
        "sockets": 1,
        "cpu": specs.MODELLED.cpu,
        "cpu_shares": 77,
        "cpu_quota": 77_000,
        "os_type": specs.LEGACY.os_type,
        "firmware": specs.WINDOWS.firmware,
        "nvram": Path("/other"),
        "paravirt": False,
        "disks": (),
        "nics": (),
        "serial_socket": None,
        "serial_log": None,
        "firmware_log": None,
        "vnc": False,
        "agent": False,
        "tpm": True,
        "architecture": "aarch64",
        "slots": {f"disk/{specs.ROOT.serial}": Slot(target="sdq")},
        "epoch": 7,
        "emulator": Path("/other"),
    },
    DiskSpec: {
        "name": "other",
        "source": FileHandle(Path("/other"), DiskFormat.RAW),
        "serial": "other",
        "readonly": True,
        "cdrom": True,
        "boot_order": 9,
        "cache": specs.SEED.cache,
        "scsi": True,
    },
    NicSpec: {"tap": "other", "mac": "52:54:00:00:00:01", "mtu": 9000},
}


def _differs(spec: DomainSpec, kind: type, name: str) -> bool:
    value = OTHER_VALUES[kind][name]
    if kind is DomainSpec:
        other = replace(spec, **{name: value})
    elif kind is DiskSpec and spec.disks:
        other = replace(spec, disks=(replace(spec.disks[0], **{name: value}), *spec.disks[1:]))
    elif kind is NicSpec and spec.nics:
        other = replace(spec, nics=(replace(spec.nics[0], **{name: value}),))
    else:
        return False
    return _seen(other) != _seen(spec)


def _seen(spec: DomainSpec) -> tuple[str, dict[str, str]]:
    return domain_xml(spec), disk_targets(spec)


def _shape(element: ET.Element) -> list[object]:
    """Tags and attribute names, without any text."""
    return [element.tag, sorted(element.attrib), [_shape(child) for child in element]]


HOSTILE = st.one_of(
    st.text(),
    st.text(alphabet=string.punctuation + "\x00\x1b\n\r\t\ufffe\ud800"),
    st.sampled_from(['"/><disk type="file"/>', "]]>", "<!--", "&lt;", "<!ENTITY x SYSTEM 'file:///etc/shadow'>"]),
)


@given(namespace=HOSTILE, name=HOSTILE, applied=HOSTILE, source=HOSTILE)
def test_no_text_changes_the_structure(namespace: str, name: str, applied: str, source: str) -> None:
    plain = ET.fromstring(domain_xml(specs.GENERIC))
    root = replace(
        specs.ROOT, source=FileHandle(Path("/v") / source.replace("/", "_").replace("\x00", "_"), DiskFormat.QCOW2)
    )
    hostile = replace(
        specs.GENERIC,
        namespace=namespace,
        vm_name=name,
        applied=applied,
        disks=(root, *specs.GENERIC.disks[1:]),
    )
    tree = ET.fromstring(domain_xml(hostile).encode("utf-8", "replace"))
    assert _shape(tree) == _shape(plain)
    assert tree.findtext("name") == plain.findtext("name")


@given(name=st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), min_size=1))
def test_a_name_is_read_back_as_it_was_written(name: str) -> None:
    name = name.replace("\ufffe", "").replace("\uffff", "")
    tree = ET.fromstring(domain_xml(replace(specs.BARE, vm_name=name)))
    ours = tree.find(f"metadata/{{{METADATA_NAMESPACE}}}vm")
    assert ours is not None
    assert ours.get("name") == name


def test_the_metadata_alone_is_the_element_of_the_domain() -> None:
    inside = ET.fromstring(domain_xml(specs.GENERIC)).find(f"metadata/{{{METADATA_NAMESPACE}}}vm")
    assert inside is not None
    assert ET.fromstring(metadata_xml(specs.GENERIC)).attrib == inside.attrib


def test_disks_keep_their_place_in_the_guest() -> None:
    assert disk_targets(specs.GENERIC) == {
        "vd-root": "sda",
        "cloudinit": "sdb",
        "vd-data": "sdc",
        "vi-ubuntu": "sdd",
        "cvi-installer": "sde",
    }


def test_a_legacy_guest_gets_virtio_blk_and_ide_but_its_seed_on_scsi() -> None:
    assert disk_targets(specs.LEGACY) == {
        "vd-root": "vda",
        "cloudinit": "sda",
        "vd-data": "vdb",
        "vi-ubuntu": "vdc",
        "cvi-installer": "hda",
    }


def test_the_27th_disk_is_sdaa() -> None:
    many = tuple(replace(specs.ROOT, name=str(i), serial=specs.serial(i)) for i in range(28))
    targets = list(disk_targets(replace(specs.GENERIC, disks=many)).values())
    assert targets[25:] == ["sdz", "sdaa", "sdab"]


@pytest.mark.parametrize("name", [name for name in specs.ALL if name != "test-driver"])
def test_every_disk_stops_the_guest_on_errors_of_reads_and_writes(name: str) -> None:
    for driver in ET.fromstring(domain_xml(specs.ALL[name])).iterfind("devices/disk/driver"):
        assert (driver.get("error_policy"), driver.get("rerror_policy")) == ("stop", "stop")
        assert driver.get("type") in ("raw", "qcow2")


@pytest.mark.parametrize("name", specs.ALL)
def test_no_read_only_disk_sits_where_qemu_would_refuse_it(name: str) -> None:
    for disk in ET.fromstring(domain_xml(specs.ALL[name])).iterfind("devices/disk[readonly]"):
        target = disk.find("target")
        assert target is not None
        if disk.get("device") == "disk":
            assert target.get("bus") not in ("sata", "ide")
