"""What another node's libvirtd may ask while a guest comes from there."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperd.errors import PermanentError
from hyperd.hypervisor.rpc import Calls, Guest

UID = "6f1f4a5e-6c0b-4d3e-9d57-0c7f3f6a2b11"
EMULATOR = "/var/lib/hyperd/emulator/emulator"
DISK = "/var/lib/hyperd/volumes/1.qcow2"
GUEST = Guest(UID, EMULATOR, {DISK: "qcow2"}, ["/run/hyperd/c", "/var/lib/hyperd/seeds"], {"unix:///x"})
REMOTE, KEEPALIVE = 0x20008086, 0x6B656570
FLAGS = 1 | 2 | 8 | 32 | 64
END = struct.pack(">II", 0, FLAGS)
OPEN, SUPPORTS, PREPARE, FINISH, DEFINE, CREATE = 1, 60, 303, 306, 11, 10
XML = f"""<domain type="qemu">
  <name>hyperd-{UID}</name><uuid>{UID}</uuid><title>shop/web</title>
  <metadata><v:vm xmlns:v="urn:hyperd:domain:v1" applied="{{}}"/></metadata>
  <resource><partition>/machine</partition></resource><os><type>hvm</type><loader>/usr/share/OVMF/OVMF_CODE.fd</loader></os>
  <seclabel type="dynamic" model="dac" relabel="yes"/>
  <devices>
    <emulator>{EMULATOR}</emulator>
    <disk type="file" device="disk"><driver name="qemu" type="qcow2"/><source file="{DISK}"/></disk>
    <disk type="file"><driver name="qemu" type="raw"/><source file="/var/lib/hyperd/seeds/{UID}.img"/></disk>
    <graphics type="vnc"><listen type="none"/></graphics>
    <tpm model="tpm-crb"><backend type="emulator" version="2.0"/></tpm>
    <interface type="ethernet"><target dev="vm1"/></interface>
    <serial type="unix"><source mode="bind" path="/run/hyperd/c/{UID}/s"/></serial>
    <channel type="unix"><target type="virtio" name="org.qemu.guest_agent.0"/></channel>
    <rng model="virtio"><backend model="random">/dev/urandom</backend></rng>
  </devices>
</domain>"""


def text(said: str) -> bytes:
    data = said.encode()
    return struct.pack(">I", len(data)) + data + b"\0" * (-len(data) % 4)


def packet(call: int, arguments: bytes = b"", *, program: int = REMOTE, type_: int = 0) -> bytes:
    return struct.pack(">7I", 28 + len(arguments), program, 1, call, type_, 1, 0) + arguments


def parameters(*said: tuple[str, str]) -> bytes:
    bandwidth = text("bandwidth") + struct.pack(">IQ", 4, 640)
    texts = b"".join(text(name) + struct.pack(">I", 7) + text(value) for name, value in said)
    return struct.pack(">I", len(said) + 1) + bandwidth + texts


def prepare(xml: str, *, uri: str = "unix:///x", flags: int = FLAGS, cookie: str = "") -> bytes:
    said = parameters(
        ("destination_xml", xml), ("migrate_uri", uri), ("migrate_disks", "a"), ("migrate_disks", "b")
    )
    return packet(PREPARE, said + text(cookie) + struct.pack(">I", flags))


def finish(name: str = f"hyperd-{UID}", *, flags: int = FLAGS, cookie: str = "") -> bytes:
    said = parameters(("destination_name", name)) + text(cookie)
    return packet(FINISH, said + struct.pack(">II", flags, 0))


def remembered(xml: str) -> str:
    return f"<qemu-migration><name>x</name>{xml}</qemu-migration>\0"


def opened(uri: str) -> bytes:
    return packet(OPEN, struct.pack(">I", 1) + text(uri) + struct.pack(">I", 0))


ALL = (
    opened("qemu:///system")
    + packet(SUPPORTS, struct.pack(">I", 14))
    + packet(1, program=KEEPALIVE, type_=2)
    + prepare(XML, cookie="<qemu-migration><graphics type='vnc' port='-1'/></qemu-migration>\0")
    + finish(cookie=remembered(XML))
)


@given(st.lists(st.integers(1, 200), min_size=1))
def test_what_a_migration_needs_passes_however_it_comes(sizes: list[int]) -> None:
    calls, passed, left, at = Calls(GUEST), b"", ALL, 0
    while left:
        size = sizes[at % len(sizes)]
        passed += calls.feed(left[:size])
        left, at = left[size:], at + 1
    assert passed == ALL


@pytest.mark.parametrize(
    "asked",
    [
        packet(DEFINE, text(XML)),
        packet(CREATE, text(XML)),
        packet(PREPARE, type_=3),
        packet(1, program=0x20008087),
        opened("lxc:///"),
        opened("qemu:///system?x=1"),
        finish("hyperd-another"),
        finish(f"another{UID}"),
        finish(flags=FLAGS & ~32),
        finish(cookie=remembered(XML.replace(DISK, "/etc/shadow"))),
        finish(cookie=remembered("<x>" + XML.replace(EMULATOR, "/bin/sh") + "</x>")),
        finish(cookie="nothing"),
        packet(FINISH, finish()[28:] + b"\0\0\0\0"),
        prepare(XML, flags=FLAGS & ~32),
        prepare(XML, flags=FLAGS | 4),
        prepare(XML, uri="unix:///run/another"),
        prepare(XML, uri="tcp:0.0.0.0"),
        prepare(XML, cookie=remembered(XML.replace(UID, UID[::-1]))),
        packet(
            PREPARE, parameters(("destination_xml", XML), ("destination_xml", XML)) + struct.pack(">II", 0, FLAGS)
        ),
        packet(
            PREPARE, parameters(("destination_xml", XML), ("listen_address", "::")) + struct.pack(">II", 0, FLAGS)
        ),
        packet(PREPARE, parameters(("destination_xml", XML))[:40]),
        packet(PREPARE, parameters() + END),
        struct.pack(">7I", 1 << 30, REMOTE, 1, PREPARE, 0, 1, 0),
        struct.pack(">7I", 3, REMOTE, 1, PREPARE, 0, 1, 0),
    ],
)
def test_nothing_else_does(asked: bytes) -> None:
    with pytest.raises(PermanentError):
        Calls(GUEST).feed(asked)


@pytest.mark.parametrize(
    ("of", "instead"),
    [
        (f"<uuid>{UID}</uuid>", "<uuid>6f1f4a5e-6c0b-4d3e-9d57-0c7f3f6a2b12</uuid>"),
        (EMULATOR, "/bin/sh"),
        (EMULATOR, DISK),
        (DISK, "/etc/shadow"),
        (DISK, f"/run/hyperd/c/../../../etc/shadow?{UID}"),
        (DISK, "/var/lib/hyperd/seeds/another.img"),
        (DISK, "/usr/share/../../etc/shadow"),
        (DISK, "etc/shadow"),
        (f'file="{DISK}"', 'dev="dev/sda"'),
        ("/usr/share/OVMF/OVMF_CODE.fd", "etc/shadow"),
        (">/dev/urandom<", ">etc/shadow<"),
        ('<target dev="vm1"/>', '<script path="/tmp/x"/>'),
        ('<interface type="ethernet">', '<interface type="direct">'),
        ('<disk type="file">', '<disk type="network">'),
        ('type="raw"/>', 'type="qcow2"/>'),
        ('type="qcow2"/>', 'type="raw"/>'),
        ('type="qcow2"/>', 'type="qcow2"/><driver type="vmdk"/>'),
        ('type="qcow2"/>', 'type="qcow2"/><source file="/usr/share/x"/>'),
        ('device="disk"', 'device="lun"'),
        ('device="disk"', 'device="disk" rawio="yes"'),
        (f"<name>hyperd-{UID}</name>", "<name>hyperd-another</name>"),
        ('<listen type="none"/>', ""),
        ('<backend type="emulator" version="2.0"/>', '<backend type="passthrough"/>'),
        ("<type>hvm</type>", f'<type>hvm</type><nvram format="qcow2">/var/lib/hyperd/seeds/{UID}.fd</nvram>'),
        ("<type>hvm</type>", '<type>hvm</type><nvram type="network"><source protocol="nbd" name="x"/></nvram>'),
        ('<seclabel type="dynamic"', '<seclabel type="none"'),
        ('<rng model="virtio">', '<hostdev mode="subsystem" type="pci"/><rng model="virtio">'),
        ('<rng model="virtio">', '<filesystem type="mount"/><rng model="virtio">'),
        ("</devices>", '</devices><devices><hostdev mode="subsystem" type="usb"/></devices>'),
        ("</uuid>", f"</uuid><uuid>{UID}</uuid>"),
        ("</emulator>", "</emulator><emulator>/bin/sh</emulator>"),
        ('<target dev="vm1"/>', '<target dev="vm1"/><script path="poweroff"/>'),
        ('<target dev="vm1"/>', '<target dev="vm1"/><downscript path="/usr/share/x"/>'),
        (f'<source file="{DISK}"/>', f'<source file="{DISK}"/><backingStore type="nvme"/>'),
        (f'<source file="{DISK}"/>', f'<source file="{DISK}"/><backingStore><format type="raw"/></backingStore>'),
        ('<serial type="unix">', '<serial type="tcp">'),
        ('<serial type="unix">', '<serial type="dev">'),
        ('<backend model="random">', '<backend model="egd" type="tcp">'),
        ('<target type="virtio"', '<source mode="bind" path="/run/libvirt/qemu/channel/x"/><target type="virtio"'),
        (
            '<seclabel type="dynamic" model="dac" relabel="yes"/>',
            '<seclabel type="dynamic" model="dac"><baselabel>0:0</baselabel></seclabel>',
        ),
        ("<type>hvm</type>", "<type>hvm</type><kernel>vmlinuz</kernel>"),
        ("<os>", '<q:commandline xmlns:q="http://libvirt.org/schemas/domain/qemu/1.0"/><os>'),
        ("<os>", "<on_lock>x</on_lock><os>"),
        ("<domain ", '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/shadow">]><domain '),
        ("</domain>", ""),
    ],
)
def test_a_guest_has_nothing_that_is_not_its_own(of: str, instead: str) -> None:
    assert of in XML
    with pytest.raises(PermanentError):
        Calls(GUEST).feed(prepare(XML.replace(of, instead, 1)))
