"""The devices of a domain: which bus and model each gets, and their XML.

Disks stop the guest on an I/O error, for reads too: a guest that is told of the error may give up for good, one
that is paused goes on when there is space again. Disks on virtio-scsi have their address from their place in the
list, so that ``sda`` in the guest stays ``sda``.
"""

from __future__ import annotations

import string
from enum import StrEnum
from xml.etree import ElementTree as ET

from hyperd.hypervisor.disk_source import add_source, disk_type
from hyperd.hypervisor.element import add
from hyperd.hypervisor.spec import DiskCache, DiskSpec, DomainSpec, Firmware, NicSpec, OsType
from hyperd.imagefile.handle import DiskFormat

SPARE_PCIE_PORTS = 4
"""Root ports left empty for network cards plugged in later; disks need none."""
MAX_QUEUES = 8


class _Bus(StrEnum):
    SCSI = "scsi"
    VIRTIO = "virtio"
    SATA = "sata"
    IDE = "ide"
    USB = "usb"


_PREFIX = {_Bus.SCSI: "sd", _Bus.VIRTIO: "vd", _Bus.SATA: "sd", _Bus.IDE: "hd", _Bus.USB: "sd"}

_NIC_MODEL = {
    (True, False): "virtio",
    (True, True): "virtio-transitional",
    (False, False): "e1000",
    (False, True): "rtl8139",
}
"""By paravirtualisation and Legacy."""


def disk_targets(spec: DomainSpec) -> dict[str, str]:
    """Disk name → target (``sda``), which is how libvirt calls it in events and ``block_resize``."""
    targets: dict[str, str] = {}
    used: dict[str, int] = {}
    for disk in spec.disks:
        prefix = _PREFIX[_bus(spec, disk)]
        index = used.get(prefix, 0)
        used[prefix] = index + 1
        targets[disk.name] = prefix + _letters(index)
    return targets


def add_devices(domain: ET.Element, spec: DomainSpec) -> None:
    """Append ``<devices>``."""
    devices = add(domain, "devices")
    targets = disk_targets(spec)
    for disk in spec.disks:
        _add_disk(devices, spec, disk, target=targets[disk.name])
    _add_controllers(devices, spec)
    for nic in spec.nics:
        _add_nic(devices, spec, nic)
    _add_serial(devices, spec)
    if spec.agent and spec.paravirt:
        channel = add(devices, "channel", {"type": "unix"})
        add(channel, "target", {"type": "virtio", "name": "org.qemu.guest_agent.0"})
    add(devices, "input", {"type": "tablet", "bus": "usb"})
    if spec.tpm:
        tpm = add(devices, "tpm", {"model": "tpm-crb"})
        add(tpm, "backend", {"type": "emulator", "version": "2.0"})
    _add_screen(devices, spec)
    _add_paravirtual(devices, spec)
    add(devices, "panic", {"model": "isa"})


def _bus(spec: DomainSpec, disk: DiskSpec) -> _Bus:
    legacy = spec.os_type is OsType.LEGACY
    if not spec.paravirt:
        if disk.readonly and not disk.cdrom:
            return _Bus.USB  # QEMU's SATA and IDE disks are always writable
        if disk.scsi:
            return _Bus.SCSI
        return _Bus.IDE if legacy else _Bus.SATA
    if disk.scsi or not legacy:
        return _Bus.SCSI
    return _Bus.IDE if disk.cdrom else _Bus.VIRTIO


def _letters(index: int) -> str:
    """0 → a, 25 → z, 26 → aa."""
    name = ""
    while index >= 0:
        name = string.ascii_lowercase[index % 26] + name
        index = index // 26 - 1
    return name


def _add_disk(devices: ET.Element, spec: DomainSpec, disk: DiskSpec, *, target: str) -> None:
    bus = _bus(spec, disk)
    element = add(devices, "disk", {"type": disk_type(disk.source), "device": "cdrom" if disk.cdrom else "disk"})
    driver = {
        "name": "qemu",
        "type": disk.source.format,
        "cache": disk.cache,
        "io": _io(disk),
        "error_policy": "stop",
        "rerror_policy": "stop",
    }
    if not disk.readonly and not disk.cdrom:
        driver["discard"] = "unmap"
    if bus is _Bus.VIRTIO:
        driver["iothread"] = "1"
    add(element, "driver", driver)
    add_source(element, disk.source)
    add(element, "target", {"dev": target, "bus": bus})
    if disk.readonly or disk.cdrom:
        add(element, "readonly")
    add(element, "serial", text=disk.serial)
    if disk.boot_order is not None:
        add(element, "boot", {"order": str(disk.boot_order)})
    add(element, "alias", {"name": f"ua-{disk.serial}"})
    if bus is _Bus.SCSI:
        number = spec.disks.index(disk)
        address = {"type": "drive", "controller": "0", "bus": "0", "target": str(number), "unit": "0"}
        add(element, "address", address)


def _io(disk: DiskSpec) -> str:
    """Native AIO needs O_DIRECT, and would block QEMU while a growing qcow2 allocates."""
    return "native" if disk.cache is DiskCache.NONE and disk.source.format is DiskFormat.RAW else "threads"


def _add_controllers(devices: ET.Element, spec: DomainSpec) -> None:
    legacy = spec.os_type is OsType.LEGACY
    if not legacy:
        add(devices, "controller", {"type": "pci", "index": "0", "model": "pcie-root"})
        for index in range(1, _pcie_devices(spec) + SPARE_PCIE_PORTS + 1):
            add(devices, "controller", {"type": "pci", "index": str(index), "model": "pcie-root-port"})
    usb = "piix3-uhci" if legacy else "qemu-xhci"
    add(devices, "controller", {"type": "usb", "index": "0", "model": usb})
    if spec.paravirt or any(_bus(spec, disk) is _Bus.SCSI for disk in spec.disks):
        scsi = add(devices, "controller", {"type": "scsi", "index": "0", "model": "virtio-scsi"})
        add(scsi, "driver", {"queues": str(min(spec.cores, MAX_QUEUES)), "iothread": "1"})
    if spec.paravirt:
        add(devices, "controller", {"type": "virtio-serial", "index": "0"})


def _pcie_devices(spec: DomainSpec) -> int:
    """What sits on a root port: xHCI, SCSI, serial, balloon, random numbers, network cards."""
    return 5 + len(spec.nics)


def _add_nic(devices: ET.Element, spec: DomainSpec, nic: NicSpec) -> None:
    model = _NIC_MODEL[spec.paravirt, spec.os_type is OsType.LEGACY]
    interface = add(devices, "interface", {"type": "ethernet"})
    add(interface, "mac", {"address": nic.mac})
    add(interface, "target", {"dev": nic.tap, "managed": "no"})
    add(interface, "model", {"type": model})
    add(interface, "mtu", {"size": str(nic.mtu)})
    add(interface, "rom", {"enabled": "no"})


def _add_serial(devices: ET.Element, spec: DomainSpec) -> None:
    if spec.serial_socket is None:
        return
    serial = add(devices, "serial", {"type": "unix"})
    add(serial, "source", {"mode": "bind", "path": str(spec.serial_socket)})
    if spec.serial_log is not None:
        add(serial, "log", {"file": str(spec.serial_log), "append": "on"})
    add(serial, "target", {"type": "isa-serial", "port": "0"})
    if spec.firmware_log is not None and spec.firmware is Firmware.BIOS:
        debug = add(devices, "serial", {"type": "file"})
        add(debug, "source", {"path": str(spec.firmware_log)})
        add(add(debug, "target", {"type": "isa-debug", "port": "1"}), "model", {"name": "isa-debugcon"})
        add(debug, "address", {"type": "isa", "iobase": "0x402"})


def _add_screen(devices: ET.Element, spec: DomainSpec) -> None:
    if not spec.vnc:
        add(add(devices, "video"), "model", {"type": "none"})
        return
    graphics = add(devices, "graphics", {"type": "vnc"})
    add(graphics, "listen", {"type": "none"})
    model = "vga" if spec.firmware is Firmware.BIOS else "bochs"
    add(add(devices, "video"), "model", {"type": model, "vram": "16384", "heads": "1", "primary": "yes"})


def _add_paravirtual(devices: ET.Element, spec: DomainSpec) -> None:
    """Balloon without statistics, which would cost a round trip per guest; random numbers for Generic."""
    if not spec.paravirt:
        add(devices, "memballoon", {"model": "none"})
        return
    add(devices, "memballoon", {"model": "virtio", "freePageReporting": "on"})
    if spec.os_type is OsType.GENERIC:
        rng = add(devices, "rng", {"model": "virtio"})
        add(rng, "backend", {"model": "random"}, text="/dev/urandom")
