"""Devices, each alone: golden pairs, libvirt's own schema, and reading back what was written."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from hyperd.hypervisor.slots import Address, AddressType, drive, pci, usb
from hyperd.hypervisor.spec import DiskCache
from hyperd.hypervisor.xml.devices import TYPES
from hyperd.hypervisor.xml.devices.agent_channel import AgentChannel
from hyperd.hypervisor.xml.devices.controller import Controller
from hyperd.hypervisor.xml.devices.debug_port import DebugPort
from hyperd.hypervisor.xml.devices.device import Device
from hyperd.hypervisor.xml.devices.disk import Disk, DiskBus
from hyperd.hypervisor.xml.devices.graphics import Graphics
from hyperd.hypervisor.xml.devices.interface import Interface
from hyperd.hypervisor.xml.devices.memory_balloon import MemoryBalloon
from hyperd.hypervisor.xml.devices.panic import Panic
from hyperd.hypervisor.xml.devices.rng import Rng
from hyperd.hypervisor.xml.devices.serial_port import SerialPort
from hyperd.hypervisor.xml.devices.tablet import Tablet
from hyperd.hypervisor.xml.devices.tpm import Tpm
from hyperd.hypervisor.xml.devices.video import Video
from hyperd.hypervisor.xml.domain import domain_xml
from hyperd.hypervisor.xml.layout import devices_of, read_devices
from hyperd.imagefile.handle import BlockHandle, DiskFormat, FileHandle, NbdHandle
from tests.unit.hypervisor import specs

GOLDEN = Path(__file__).parents[2] / "golden" / "devices"
SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
SHELL = (
    "<domain type='qemu'><name>n</name><memory>1024</memory><os><type>hvm</type></os>"
    "<devices>{}</devices></domain>"
)
FILE = FileHandle(Path("/v/a b.qcow2"), DiskFormat.QCOW2)

EXAMPLES: dict[str, Device] = {
    "agent-channel": AgentChannel(Address(AddressType.VIRTIO_SERIAL, (0, 0, 1))),
    "controller-bridge": Controller("pci", 12, "pcie-to-pci-bridge", address=pci(1, 0)),
    "controller-port": Controller("pci", 1, "pcie-root-port", multifunction=True, address=pci(0, 2)),
    "controller-scsi": Controller("scsi", 0, "virtio-scsi", queues=4, address=pci(3, 0)),
    "controller-serial": Controller("virtio-serial", 0, address=pci(4, 0)),
    "controller-usb": Controller("usb", 0, "qemu-xhci", address=pci(2, 0)),
    "debug-port": DebugPort(Path("/l/a.bios")),
    "disk-block": Disk("ab", BlockHandle(Path("/dev/vg/a"), DiskFormat.RAW), DiskBus.VIRTIO, target="vda"),
    "disk-cdrom": Disk(
        "ab", FILE, DiskBus.SATA, readonly=True, cdrom=True, target="sdb", address=drive(unit=1), boot_order=2
    ),
    "disk-nbd": Disk("ab", NbdHandle(Path("/r/s"), "x", DiskFormat.RAW), DiskBus.SCSI, target="sda"),
    "disk-scsi": Disk("ab", FILE, DiskBus.SCSI, boot_order=1, target="sdd", address=drive(target=3)),
    "disk-usb": Disk(
        "ab", FILE, DiskBus.USB, readonly=True, cache=DiskCache.WRITEBACK, target="sdc", address=usb(1)
    ),
    "graphics": Graphics(),
    "interface": Interface("52:54:00:12:34:56", "hv0", "virtio", 1450, pci(1, 0)),
    "memory-balloon": MemoryBalloon(True, pci(5, 0)),
    "memory-balloon-none": MemoryBalloon(False),
    "panic": Panic(),
    "rng": Rng(pci(6, 0)),
    "serial-port": SerialPort(Path("/c/a"), Path("/l/a.log")),
    "tablet": Tablet(usb(1)),
    "tpm": Tpm(),
    "video": Video("vga", pci(0, 1)),
    "video-none": Video("none"),
}

TEXT = st.text(st.characters(min_codepoint=0x20, exclude_categories=("Cs", "Cn", "Cc")), min_size=1, max_size=12)
PATH = TEXT.map(lambda text: Path("/v") / text.replace("/", "_"))
NUMBER = st.integers(0, 31)
FORMAT = st.sampled_from(DiskFormat)
HANDLE = st.one_of(
    st.builds(FileHandle, PATH, FORMAT),
    st.builds(BlockHandle, PATH, FORMAT),
    st.builds(NbdHandle, PATH, TEXT, FORMAT),
)
PCI = st.none() | st.builds(pci, NUMBER, NUMBER, st.integers(0, 7))
DRIVE = st.none() | st.builds(drive, bus=NUMBER, target=NUMBER, unit=NUMBER, controller=NUMBER)
MODEL = st.sampled_from(["virtio-scsi", "qemu-xhci", "pcie-root-port"])


def _disk(cdrom: bool, readonly: bool) -> st.SearchStrategy[Disk]:
    return st.builds(
        Disk,
        serial=TEXT,
        source=HANDLE,
        bus=st.sampled_from(DiskBus),
        readonly=st.just(readonly or cdrom),
        cdrom=st.just(cdrom),
        cache=st.sampled_from(DiskCache),
        boot_order=st.none() | st.integers(1, 99),
        target=TEXT,
        address=DRIVE | PCI,
    )


DEVICES: dict[type[Device], st.SearchStrategy[Device]] = {
    AgentChannel: st.builds(AgentChannel, st.none() | st.just(Address(AddressType.VIRTIO_SERIAL, (0, 0, 1)))),
    Controller: st.builds(
        Controller, TEXT, NUMBER, MODEL | st.just(""), st.none() | st.integers(1, 8), st.just(False), PCI
    ),
    DebugPort: st.builds(DebugPort, PATH),
    Disk: st.tuples(st.booleans(), st.booleans()).flatmap(lambda kind: _disk(*kind)),
    Graphics: st.just(Graphics()),
    Interface: st.builds(Interface, TEXT, TEXT, TEXT, st.integers(68, 65535), PCI),
    MemoryBalloon: st.builds(MemoryBalloon, st.just(True), PCI) | st.just(MemoryBalloon(False)),
    Panic: st.just(Panic()),
    Rng: st.builds(Rng, PCI),
    SerialPort: st.builds(SerialPort, PATH, st.none() | PATH),
    Tablet: st.builds(Tablet, st.none() | st.builds(usb, NUMBER)),
    Tpm: st.just(Tpm()),
    Video: st.builds(Video, TEXT, PCI),
}


@pytest.fixture(scope="module")
def schema() -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(str(SCHEMA)))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_device_alone_gives_its_golden_xml_which_libvirt_s_schema_takes(
    name: str, schema: etree.RelaxNG
) -> None:
    tree = EXAMPLES[name].to_xml()
    ET.indent(tree)
    text = ET.tostring(tree, encoding="unicode") + "\n"
    golden = GOLDEN / f"{name}.xml"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()
    assert schema.validate(etree.fromstring(SHELL.format(text))), schema.error_log


def test_every_type_has_an_example_and_every_golden_file_its_device() -> None:
    assert {type(device) for device in EXAMPLES.values()} == set(TYPES) == set(DEVICES)
    assert {path.stem for path in GOLDEN.iterdir()} == set(EXAMPLES)


@pytest.mark.parametrize("type_", TYPES, ids=lambda type_: type_.__name__)
def test_a_device_is_read_back_as_it_was_written(type_: type[Device]) -> None:
    @given(device=DEVICES[type_])
    def holds(device: Device) -> None:
        text = ET.tostring(device.to_xml(), encoding="unicode")
        assert type_.from_xml(ET.fromstring(text)) == device

    holds()


@pytest.mark.parametrize("device", EXAMPLES.values(), ids=EXAMPLES)
def test_no_other_type_takes_a_device_for_its_own(device: Device) -> None:
    element = device.to_xml()
    takers = [type_ for type_ in TYPES if element.tag == type_.TAG and type_.from_xml(element) is not None]
    assert takers == [type(device)]


@pytest.mark.parametrize("name", [name for name in specs.ALL if name != "test-driver"])
def test_a_domain_s_devices_are_read_back(name: str) -> None:
    spec = specs.ALL[name]
    domain = ET.fromstring(domain_xml(spec))
    assert list(read_devices(domain)) == devices_of(spec)
