"""Domains that the tests of this room build from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hyperd.hypervisor import slots
from hyperd.hypervisor.spec import (
    CpuMode,
    CpuModel,
    DiskCache,
    DiskSpec,
    DomainSpec,
    DomainType,
    NicSpec,
)
from hyperd.imagefile.handle import BlockHandle, DiskFormat, FileHandle, NbdHandle
from hyperd.resources.kinds.virtual_machine import Bootloader, OsType

UID = "6f1f4a5e-6c0b-4d3e-9d57-0c7f3f6a2b11"


def serial(number: int) -> str:
    """A serial as controllers make them: 32 hex digits."""
    return f"{number:032x}"


ROOT = DiskSpec(
    name="vd-root", source=FileHandle(Path("/v/root.qcow2"), DiskFormat.QCOW2), serial=serial(1), boot_order=1
)
DATA = DiskSpec(name="vd-data", source=FileHandle(Path("/v/data.raw"), DiskFormat.RAW), serial=serial(2))
IMAGE = DiskSpec(
    name="vi-ubuntu", source=FileHandle(Path("/i/ubuntu.qcow2"), DiskFormat.QCOW2), serial=serial(3), readonly=True
)
ISO = DiskSpec(
    name="cvi-installer",
    source=FileHandle(Path("/i/installer.iso"), DiskFormat.RAW),
    serial=serial(4),
    readonly=True,
    cdrom=True,
    boot_order=2,
)
SEED = DiskSpec(
    name="cloudinit",
    source=FileHandle(Path("/s/seed.img"), DiskFormat.RAW),
    serial=serial(5),
    readonly=True,
    scsi=True,
    cache=DiskCache.WRITEBACK,
)

BARE = DomainSpec(
    uid=UID,
    instance="hyperd",
    namespace="default",
    vm_name="web-1",
    generation=3,
    applied="c0ffee",
    domain_type=DomainType.QEMU,
    cores=1,
    memory_bytes=64 << 20,
    cpu=CpuModel(mode=CpuMode.MAXIMUM),
    vnc=False,
    agent=False,
)

GENERIC = replace(
    BARE,
    cores=4,
    sockets=2,
    memory_bytes=2 << 30,
    disks=(ROOT, SEED, DATA, IMAGE, ISO),
    nics=(NicSpec(tap="hv6f1f4a5e", mac="52:54:00:12:34:56", mtu=1450),),
    serial_socket=Path("/run/hyperd/c/6f1f.sock"),
    serial_log=Path("/var/log/hyperd/consoles/6f1f.log"),
    firmware_log=Path("/var/log/hyperd/consoles/6f1f.bios"),
    vnc=True,
    agent=True,
)
WINDOWS = replace(
    GENERIC,
    os_type=OsType.WINDOWS,
    domain_type=DomainType.KVM,
    cpu=CpuModel(mode=CpuMode.HOST_MODEL),
    firmware=Bootloader.EFI_WITH_SECURE_BOOT,
    nvram=Path("/n/6f1f.fd"),
    tpm=True,
)
LEGACY = replace(GENERIC, os_type=OsType.LEGACY, cpu_shares=512, cpu_quota=200_000)
PLAIN = replace(GENERIC, paravirt=False)
LEGACY_PLAIN = replace(LEGACY, paravirt=False, disks=(ROOT, DATA, IMAGE, ISO))
MODELLED = replace(
    GENERIC,
    firmware=Bootloader.EFI,
    nvram=Path("/n/6f1f.fd"),
    domain_type=DomainType.KVM,
    cpu=CpuModel(mode=CpuMode.CUSTOM, model="Nehalem", features=("aes", "invtsc")),
)


def _many(disk: DiskSpec, count: int) -> tuple[DiskSpec, ...]:
    return tuple(
        replace(disk, name=f"{disk.name}-{number}", serial=serial(100 + number), boot_order=None)
        for number in range(count)
    )


SECURE = replace(MODELLED, firmware=Bootloader.EFI_WITH_SECURE_BOOT)
KEPT = replace(
    GENERIC,
    disks=(ISO, DATA, SEED),
    slots=slots.decode(
        {
            f"disk/{DATA.serial}": {"target": "sdc", "address": "drive:0:0:2:0"},
            f"disk/{SEED.serial}": {"target": "sdf", "address": "drive:0:0:9:0"},
            "nic/52:54:00:12:34:56": {"address": "pci:0:7:0:0"},
            "pcie-root-port/3": {"address": "pci:0:0:4:0"},
            "rng": {"address": "pci:0:3:0:0"},
        }
    ),
)
"""As after hot-plug, and after disks in front of the others have gone."""

ALL = {
    "bare": BARE,
    "generic": GENERIC,
    "windows": WINDOWS,
    "legacy": LEGACY,
    "plain": PLAIN,
    "legacy-plain": LEGACY_PLAIN,
    "modelled": MODELLED,
    "efi": replace(MODELLED, cpu=CpuModel()),
    "secure": SECURE,
    "passthrough": replace(
        GENERIC, domain_type=DomainType.KVM, cpu=CpuModel(mode=CpuMode.HOST_PASSTHROUGH), cpu_shares=2048
    ),
    "windows-plain": replace(WINDOWS, paravirt=False),
    "windows-bios": replace(WINDOWS, firmware=Bootloader.BIOS, nvram=None, tpm=False),
    "kept": KEPT,
    "many-disks": replace(GENERIC, cores=16, disks=(*_many(DATA, 16), SEED)),
    "legacy-many": replace(LEGACY, disks=(*_many(DATA, 12), SEED)),
    "plain-many": replace(PLAIN, disks=(ROOT, *_many(DATA, 7), IMAGE)),
    "plain-images": replace(PLAIN, disks=(ROOT, *_many(IMAGE, 5))),
    "block": replace(GENERIC, disks=(replace(ROOT, source=BlockHandle(Path("/dev/vg/root"), DiskFormat.RAW)),)),
    "nbd": replace(GENERIC, disks=(replace(ROOT, source=NbdHandle(Path("/run/nbd"), "root", DiskFormat.QCOW2)),)),
    "unlinked": replace(GENERIC, nics=(), serial_log=None, firmware_log=None),
    "other-board": replace(GENERIC, architecture="aarch64"),
}
