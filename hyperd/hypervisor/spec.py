"""What a domain is to be, as plain frozen data.

A controller derives one ``DomainSpec`` from an object and the host's facts; ``domain.domain_xml`` turns it into
libvirt's XML. Neither needs libvirt, so both are tested without it. All paths are absolute, all sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from hyperd.hypervisor.slots import Slots
from hyperd.imagefile.handle import Handle
from hyperd.resources.kinds.virtual_machine import Bootloader, OsType


class DomainType(StrEnum):
    """libvirt's ``<domain type=…>``: hardware acceleration, or emulation."""

    KVM = "kvm"
    QEMU = "qemu"


class CpuMode(StrEnum):
    """libvirt's ``<cpu mode=…>``."""

    HOST_MODEL = "host-model"
    HOST_PASSTHROUGH = "host-passthrough"
    MAXIMUM = "maximum"
    CUSTOM = "custom"


class DiskCache(StrEnum):
    """``none`` bypasses the page cache (O_DIRECT); ``writeback`` is for file systems that cannot."""

    NONE = "none"
    WRITEBACK = "writeback"


@dataclass(frozen=True, slots=True)
class CpuModel:
    """The guest's CPU. ``model`` counts for mode custom only; ``features`` must be there on the host."""

    mode: CpuMode = CpuMode.HOST_MODEL
    model: str = ""
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DiskSpec:
    """One block device.

    ``name`` (``vd-root``, ``vi-ubuntu``) is unique in the domain; ``serial`` is the md5 hex of the source
    object's uid. An ISO is raw with ``cdrom=True``. ``scsi=True`` puts the disk on virtio-scsi whatever the
    domain's own bus is, as hot-plugged disks and cloud-init seeds need it.
    """

    name: str
    source: Handle
    serial: str
    readonly: bool = False
    cdrom: bool = False
    boot_order: int | None = None
    cache: DiskCache = DiskCache.NONE
    scsi: bool = False


@dataclass(frozen=True, slots=True)
class NicSpec:
    """One network card on a tap that exists already when the domain starts."""

    tap: str
    mac: str
    mtu: int = 1500


_MACHINES = {"x86_64": "q35", "i686": "q35"}


def machine_type(architecture: str) -> str:
    """The modern machine that QEMU has for a processor."""
    return _MACHINES.get(architecture, "virt")


@dataclass(frozen=True, slots=True)
class DomainSpec:
    """One domain, whole. ``uid`` is the VirtualMachine's uid and becomes the domain's UUID.

    ``cores`` is the number of vCPUs in all, ``sockets`` divides it. ``cpu_shares`` (weight, 1024 is one core)
    and ``cpu_quota`` (µs of CPU time per 100 ms, all vCPUs together) are None where the host has no CPU
    cgroup. ``nvram`` is required for EFI; libvirt fills it from the firmware's template. ``applied`` is the
    caller's record of what the domain is started with, read back as ``DomainInfo.applied``. ``firmware_log`` gets
    what SeaBIOS tells its debug port, anew with each start; other firmware tells nothing. ``agent`` adds the
    guest agent's channel. ``tpm`` needs ``HostFacts.tpm``.
    ``slots`` are those that devices have already, by ``Device.key``; the others get theirs from what is free.
    ``epoch`` is a fencing token: that of who holds the machine, 0 for nobody's. ``emulator`` is started in the
    place of the QEMU that libvirt knows.
    """

    uid: str
    instance: str
    namespace: str
    vm_name: str
    generation: int
    applied: str
    domain_type: DomainType
    cores: int
    memory_bytes: int
    sockets: int = 1
    cpu: CpuModel = CpuModel()
    cpu_shares: int | None = None
    cpu_quota: int | None = None
    os_type: OsType = OsType.GENERIC
    firmware: Bootloader = Bootloader.BIOS
    nvram: Path | None = None
    paravirt: bool = True
    disks: tuple[DiskSpec, ...] = ()
    nics: tuple[NicSpec, ...] = ()
    serial_socket: Path | None = None
    serial_log: Path | None = None
    firmware_log: Path | None = None
    vnc: bool = True
    agent: bool = True
    tpm: bool = False
    architecture: str = "x86_64"
    slots: Slots = field(default_factory=dict)
    epoch: int = 0
    emulator: Path | None = None

    @property
    def name(self) -> str:
        """The domain's name on the host."""
        return domain_name(self.instance, self.uid)


def domain_name(instance: str, uid: str) -> str:
    """``<instance>-<uid>``: how a domain of ours is called."""
    return f"{instance}-{uid}"
