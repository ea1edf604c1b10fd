"""Console, log and screen of a real guest: a boot sector that says ``>`` on its serial port and echoes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from hyperd.errors import ServiceUnavailable
from hyperd.hypervisor.console.hub import ConsoleHub, ConsoleSession
from hyperd.hypervisor.console.vnc import GraphicsStream
from hyperd.hypervisor.hypervisor import LibvirtHypervisor
from hyperd.hypervisor.spec import DiskCache, DiskSpec, DomainSpec
from hyperd.imagefile.handle import DiskFormat, FileHandle
from hyperd.settings import Settings
from tests.host.node import Node
from tests.unit.hypervisor import specs

ECHO = bytes.fromhex(
    "baf803 b03e ee"  # out 0x3f8, '>'
    "bafd03 ec a801 74f8"  # wait for a byte on COM1
    "baf803 ec ee ebf1"  # send it back, again
)


@pytest.fixture
def conf(qemu_dir: Path) -> Settings:
    conf = Settings(run_dir=qemu_dir, log_dir=qemu_dir)
    conf.console_dir.mkdir(mode=0o711)
    conf.console_log_dir.mkdir(mode=0o700)
    return conf


@pytest.fixture
def guest(spec: DomainSpec, qemu_dir: Path, conf: Settings) -> DomainSpec:
    disk = qemu_dir / "boot.raw"
    disk.write_bytes(ECHO.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    root = DiskSpec(
        name="vd-root",
        source=FileHandle(disk, DiskFormat.RAW),
        serial=specs.serial(1),
        boot_order=1,
        cache=DiskCache.WRITEBACK,
    )
    return replace(
        spec,
        disks=(root,),
        serial_socket=conf.console_dir / spec.uid,
        serial_log=conf.console_log_dir / f"{spec.uid}.log",
        vnc=True,
    )


@pytest.fixture
async def hub(conf: Settings) -> AsyncIterator[ConsoleHub]:
    hub = ConsoleHub(conf)
    yield hub
    await hub.close()


async def until(session: ConsoleSession, end: bytes) -> bytes:
    data = b""
    async with asyncio.timeout(30):
        while end not in data:
            piece = await session.read()
            assert piece, f"the console ended after {data!r}"
            data += piece
    return data


async def logged(hub: ConsoleHub, uid: str, text: bytes) -> None:
    """Wait until the log, which virtlogd writes a little later, ends with ``text``."""
    said = b""
    async with asyncio.timeout(30):
        async for piece in hub.log(uid, follow=True):
            said += piece
            if said.endswith(text):
                return


async def test_a_console_survives_libvirts_death_and_ends_with_the_guest(
    node: Node, hypervisor: LibvirtHypervisor, hub: ConsoleHub, guest: DomainSpec
) -> None:
    await hypervisor.define_and_start(guest)
    first = await hub.attach(guest.uid, replay=1000)
    await until(first, b">")
    await first.write(b"hello")
    await until(first, b"hello")
    await asyncio.to_thread(node.kill_libvirtd)
    await first.write(b"still here")
    await until(first, b"still here")
    await asyncio.to_thread(node.start_libvirtd)
    await hypervisor.wait_connected()
    second = await hub.attach(guest.uid, replay=1000)
    assert b"still here" in await until(second, b"still here")

    await hypervisor.destroy(guest.uid)
    assert await asyncio.wait_for(first.read(), 10) == b""
    with pytest.raises(ServiceUnavailable):
        await hub.attach(guest.uid)
    await logged(hub, guest.uid, b">hellostill here")


async def test_a_restarted_daemon_finds_the_console_and_what_it_said(
    hypervisor: LibvirtHypervisor, hub: ConsoleHub, guest: DomainSpec, conf: Settings
) -> None:
    await hypervisor.define_and_start(guest)
    await logged(hub, guest.uid, b">")
    before = await hub.attach(guest.uid)
    await before.write(b"abc")
    await until(before, b"abc")
    await logged(hub, guest.uid, b">abc")
    await hub.close()
    restarted = ConsoleHub(conf)
    session = await restarted.attach(guest.uid, replay=1000)
    assert b">abc" in await until(session, b"abc")
    await session.write(b"def")
    await until(session, b"def")
    await restarted.close()


async def test_the_screen_is_reached_without_a_socket_in_any_folder(
    hypervisor: LibvirtHypervisor, guest: DomainSpec
) -> None:
    await hypervisor.define_and_start(guest)
    stream = await GraphicsStream.open(hypervisor, guest.uid)
    assert await asyncio.wait_for(stream.read(), 10) == b"RFB 003.008\n"
    await stream.write(b"RFB 003.008\n")
    assert await asyncio.wait_for(stream.read(), 10)
    await hypervisor.destroy(guest.uid)
    assert await asyncio.wait_for(stream.read(), 10) == b""
    stream.close()
