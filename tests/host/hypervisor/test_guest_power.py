"""What a guest does to itself: reboot, power off, panic. Each is a boot sector of a few bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hyperd.hypervisor.hypervisor import LibvirtHypervisor
from hyperd.hypervisor.spec import DiskCache, DiskSpec, DomainSpec
from hyperd.hypervisor.state import DomainState
from hyperd.imagefile.handle import DiskFormat, FileHandle
from tests.host.hypervisor.conftest import Record
from tests.unit.hypervisor import specs

REBOOT = bytes.fromhex("b0fe e664 ebfe")  # out 0x64, 0xfe: the keyboard controller's reset
POWER_OFF = bytes.fromhex("ba0406 b80020 ef ebfe")  # out 0x604, 0x2000: ACPI sleep state 5
PANIC = bytes.fromhex("ba0505 b001 ee f4 ebfd")  # out 0x505, 1: the panic device


def booting(spec: DomainSpec, folder: Path, code: bytes) -> DomainSpec:
    """A guest that runs ``code``."""
    disk = folder / "boot.raw"
    disk.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    root = DiskSpec(
        name="vd-root",
        source=FileHandle(disk, DiskFormat.RAW),
        serial=specs.serial(1),
        boot_order=1,
        cache=DiskCache.WRITEBACK,
    )
    return replace(spec, disks=(root,))


async def test_a_reboot_keeps_qemu(
    hypervisor: LibvirtHypervisor, record: Record, qemu_dir: Path, spec: DomainSpec
) -> None:
    before = await hypervisor.define_and_start(booting(spec, qemu_dir, REBOOT))
    await record.event("rebooted")
    after = await hypervisor.info(spec.uid)
    assert after is not None
    assert (after.state, after.pid) == (DomainState.RUNNING, before.pid)


async def test_a_power_off_by_the_guest_stops_the_domain_and_says_so(
    hypervisor: LibvirtHypervisor, record: Record, qemu_dir: Path, spec: DomainSpec
) -> None:
    await hypervisor.define_and_start(booting(spec, qemu_dir, POWER_OFF))
    assert (await record.event("stopped")).reason == "shutdown"
    assert (await record.event("shutdown")).reason == "guest"
    after = await hypervisor.info(spec.uid)
    assert after is not None
    assert (after.state, after.reason) == (DomainState.SHUTOFF, "shutdown")


async def test_a_panic_ends_the_domain_as_crashed(
    hypervisor: LibvirtHypervisor, record: Record, qemu_dir: Path, spec: DomainSpec
) -> None:
    await hypervisor.define_and_start(booting(spec, qemu_dir, PANIC))
    assert (await record.event("stopped")).reason == "crashed"
    after = await hypervisor.info(spec.uid)
    assert after is not None
    assert (after.state, after.reason) == (DomainState.SHUTOFF, "crashed")
