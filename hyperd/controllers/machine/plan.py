"""From a machine and what it needs to one domain: a pure function of what was found.

Device names, serials and order follow api-reference §6.9; CPU topology and fractions follow §6.8.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from hyperd.controllers.machine import applied, firmware, holding, networking
from hyperd.controllers.machine.dependencies import Dependencies
from hyperd.controllers.machine.devices import Device
from hyperd.controllers.machine.held import Held, seed_serial, serial_of
from hyperd.controllers.machine.networking import Cards, link_of
from hyperd.controllers.placement.interface import NOWHERE_ELSE, Quarters
from hyperd.hypervisor.facts.host import CpuChoice, HostFacts, choose_cpu
from hyperd.hypervisor.slots import Slots, encode
from hyperd.hypervisor.spec import (
    DiskSpec,
    DomainSpec,
    DomainType,
    NicSpec,
)
from hyperd.imagefile.handle import Handle
from hyperd.network.interface import Card, Link
from hyperd.resources.kinds.virtual_machine import Bootloader, NetworkType, OsType, ProvisioningType
from hyperd.resources.kinds.virtual_machine_class import CPUType
from hyperd.resources.values.quantity import to_bytes
from hyperd.resources.values.sizing import socket_count
from hyperd.settings import Settings

if TYPE_CHECKING:
    from hyperd.controllers.machine.capacity import Sized
    from hyperd.resources.views.virtual_machine import Network, VirtualMachine, VirtualMachineSpec
    from hyperd.resources.views.virtual_machine_class import ClassCPU, VirtualMachineClassSpec

_PREFIXES = {"VirtualDisk": "vd", "VirtualImage": "vi", "ClusterVirtualImage": "cvi"}
_MAX_DEVICE_NAME = 63
_NO_TPM = "The guest has no TPM: install swtpm and swtpm-tools on the node, and restart the virtual machine."


@dataclass(frozen=True)
class Plan:
    """One start of one machine."""

    domain: DomainSpec
    note: str
    """What the guest does not get as it was asked for; a sentence each."""


def fraction_of(spec: Sized) -> int:
    """``cpu.coreFraction`` in percent; 100 when unset."""
    text = str(spec["cpu"].get("coreFraction") or "100%")
    return int(text.removesuffix("%")) if text.removesuffix("%").isdigit() else 100


def memory_of(spec: Sized) -> int:
    """Guest memory in bytes."""
    return to_bytes(spec["memory"]["size"])


def device_name(device: Device) -> str:
    """``vd-root``, ``vi-debian``: unique within a machine; long names end in a hash."""
    name = f"{_PREFIXES[device.kind]}-{device.name}"
    if len(name) <= _MAX_DEVICE_NAME:
        return name
    return f"{name[: _MAX_DEVICE_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def disks(
    spec: VirtualMachineSpec, devices: list[Device], sources: Mapping[str, Handle], seed: Handle | None, uid: str
) -> tuple[DiskSpec, ...]:
    """All disks in order, each by its source, found by uid; without a bootOrder, the list's order boots.

    What attachments bring comes behind the seed, as it would be plugged in, and boots nothing.
    """
    own = [device for device in devices if not device.attachment]
    explicit = any(device.boot_order is not None for device in own)
    found = [
        disk_of(device, sources[device.uid], boot_order=device.boot_order if explicit else index + 1)
        for index, device in enumerate(own)
    ]
    if seed is not None:
        found.append(_seed(spec, seed, uid))
    found.extend(disk_of(device, sources[device.uid], scsi=True) for device in devices if device.attachment)
    return tuple(found)


def _seed(spec: VirtualMachineSpec, seed: Handle, uid: str) -> DiskSpec:
    """What the guest configures itself by: a disk for cloud-init, a CD-ROM for sysprep."""
    if spec.get("provisioning", {}).get("type") == ProvisioningType.SYSPREP_REF:
        return DiskSpec(name="sysprep", source=seed, serial=serial_of(f"{uid}/sysprep"), readonly=True, cdrom=True)
    return DiskSpec(
        name="cloudinit",
        source=seed,
        serial=seed_serial(uid),
        readonly=True,
        scsi=bool(spec.get("enableParavirtualization", True)),
    )


def disk_of(device: Device, source: Handle, *, boot_order: int | None = None, scsi: bool = False) -> DiskSpec:
    """One device as a disk."""
    return DiskSpec(
        name=device_name(device),
        source=source,
        serial=serial_of(device.uid),
        readonly=device.readonly,
        cdrom=device.cdrom,
        boot_order=boot_order,
        scsi=scsi,
    )


def held_of(device: Device, *, hotplugged: bool = False) -> Held:
    """A device as the record has it."""
    held: Held = {"kind": device.kind, "name": device.name, "uid": device.uid}
    if device.attachment:
        held["attachment"] = device.attachment
    if hotplugged:
        held["hotplugged"] = True
    return held


@dataclass(frozen=True)
class Start:
    """What one start has of its own: what the domain is started for, and what was found on the node for it."""

    sources: Mapping[str, Handle] = field(default_factory=dict)
    """What the devices are opened by, by their uids."""
    seed: Handle | None = None
    cards: tuple[Card, ...] = ()
    operation: str = ""
    store: str = ""
    qemu: str = ""
    """The version that will run it."""
    restarting: bool = False
    slots: Slots | None = None
    """Where devices sat before; the others get theirs now. None where nothing is started."""
    assign: Callable[[DomainSpec], Slots] = lambda domain: domain.slots
    """The hypervisor's: where the devices of a domain are to sit."""
    quarters: Quarters = NOWHERE_ELSE


def make_plan(
    machine: VirtualMachine,
    found: Dependencies,
    start: Start,
    *,
    settings: Settings,
    facts: HostFacts,
    type_: DomainType,
) -> Plan:
    """The whole plan. Raises PermanentError where this host cannot run the machine."""
    spec = machine["spec"]
    choice = _cpu(found.class_spec, facts, type_)
    guest = _guest(machine, facts, choice, type_)
    domain = replace(
        _with_files(guest, settings),
        instance=settings.instance,
        disks=disks(spec, found.devices, start.sources, start.seed, guest.uid),
        nics=tuple(NicSpec(card.tap, card.mac, card.mtu) for card in start.cards),
        slots=start.slots or {},
        emulator=start.quarters.emulator,
        # A Pod's share is its cgroup's.
        cpu_shares=None if start.quarters.pod else guest.cpu_shares,
    )
    if start.slots is not None:
        domain = replace(domain, slots=start.assign(domain))
    record = replace(
        applied.record_of(spec, found.class_spec),
        operation=start.operation,
        store=start.store,
        address=str(found.address or ""),
        address_name=found.address_name,
        qemu=start.qemu,
        restarting=start.restarting,
        slots=encode(domain.slots),
        devices=tuple(map(held_of, found.devices)),
        pod=start.quarters.pod,
        cards=networking.encode(found.cards),
    )
    notes = [choice.reason, "" if facts.tpm or not _wants_tpm(spec) else _NO_TPM]
    return Plan(replace(domain, applied=record.encode()), " ".join(note for note in notes if note))


def _guest(machine: VirtualMachine, facts: HostFacts, choice: CpuChoice, type_: DomainType) -> DomainSpec:
    """What the machine itself says of its domain."""
    meta, spec = machine["metadata"], machine["spec"]
    cores = spec["cpu"]["cores"]
    return DomainSpec(
        uid=meta["uid"],
        instance="",
        namespace=meta["namespace"],
        vm_name=meta["name"],
        generation=meta["generation"],
        applied="",
        domain_type=type_,
        cores=cores,
        sockets=socket_count(cores),
        cpu=choice.cpu,
        cpu_shares=_cpu_shares(spec, facts),
        memory_bytes=memory_of(spec),
        os_type=OsType(spec.get("osType") or OsType.GENERIC),
        firmware=Bootloader(spec.get("bootloader") or Bootloader.BIOS),
        paravirt=spec.get("enableParavirtualization", True),
        tpm=facts.tpm and _wants_tpm(spec),
        architecture=facts.architecture,
        epoch=holding.read(machine).epoch,
    )


def _with_files(domain: DomainSpec, settings: Settings) -> DomainSpec:
    """Where this node keeps what a guest has beside its disks."""
    uid = domain.uid
    return replace(
        domain,
        nvram=firmware.variables_path(settings, uid, domain.firmware),
        serial_socket=settings.console_dir / uid,
        serial_log=settings.console_log_dir / f"{uid}.log",
        firmware_log=firmware.log_path(settings, uid),
    )


def _cpu_shares(spec: VirtualMachineSpec, facts: HostFacts) -> int | None:
    """What the machine is sure to get under contention; idle cores are its to use."""
    fraction = fraction_of(spec)
    return max(2, 1024 * spec["cpu"]["cores"] * fraction // 100) if facts.cpu_tuning and fraction < 100 else None


def _wants_tpm(spec: VirtualMachineSpec) -> bool:
    return spec.get("osType") == OsType.WINDOWS


def _cpu(class_spec: VirtualMachineClassSpec | None, facts: HostFacts, type_: DomainType) -> CpuChoice:
    cpu: ClassCPU = {"type": CPUType.HOST} if class_spec is None else class_spec["cpu"]
    return choose_cpu(
        facts,
        type_,
        cpu_type=cpu["type"],
        model=cpu.get("model", ""),
        features=tuple(cpu.get("features") or ()),
    )


def links_of(
    machine: VirtualMachine, address: IPv4Address | None, networks: Iterable[Network] | None, cards: Cards
) -> list[Link]:
    """The machine's links: to the main network if it has an address, and to each other of ``spec.networks``."""
    uid, name = machine["metadata"]["uid"], machine["metadata"]["name"]
    others = [network for network in networks or () if network["type"] != NetworkType.MAIN]
    return [
        *([Link(uid, name, address)] if address is not None else []),
        *(link_of(machine, network, index, cards) for index, network in enumerate(others, start=1)),
    ]
