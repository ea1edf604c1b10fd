"""One domain as libvirt's XML.

Built by ElementTree only: no name, label or path of a user can add an element, whatever it holds. What every
domain of ours has in common:

* ``on_reboot=restart``: with ``destroy``, a reboot and a power-off could not be told apart afterwards.
* ``on_crash=destroy`` with a panic device, so that a run policy sees the crash and acts.
* our metadata element says whose it is; a domain without it is never touched.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from hyperd.hypervisor.spec import CpuMode, DomainSpec, DomainType, machine_type
from hyperd.hypervisor.state import DomainInfo
from hyperd.hypervisor.xml.element import add, clean
from hyperd.hypervisor.xml.layout import devices_of, disk_targets
from hyperd.resources.kinds.virtual_machine import Bootloader, OsType
from hyperd.resources.values import names
from hyperd.resources.values.charges import TRANSLATED_BYTES

__all__ = ["METADATA_NAMESPACE", "METADATA_PREFIX", "disk_targets", "domain_xml", "marks", "metadata_xml"]

METADATA_NAMESPACE = "urn:hyperd:domain:v1"
METADATA_PREFIX = "hyperd"
APPLIED_BEFORE = "spec-hash"
"""How the first version of our metadata called what is ``applied`` now; read, never written."""
CPU_PERIOD_US = 100_000

ET.register_namespace(METADATA_PREFIX, METADATA_NAMESPACE)


def domain_xml(spec: DomainSpec) -> str:
    """The whole domain, ready for ``define``."""
    domain = ET.Element("domain", type=spec.domain_type)
    add(domain, "name", text=spec.name)
    add(domain, "uuid", text=spec.uid)
    add(domain, "title", text=f"{spec.namespace}/{spec.vm_name}".replace("\n", " "))
    add(domain, "metadata").append(_metadata(spec))
    add(domain, "memory", {"unit": "b"}, text=str(spec.memory_bytes))
    add(domain, "vcpu", {"placement": "static"}, text=str(spec.cores))
    # No I/O threads: in one, QEMU 7.2 takes a guest's write through a copy that has begun and has no bitmap of
    # what is in flight yet, and dies. Without them a copy begins in the thread that takes the writes.
    _add_cpu_tuning(domain, spec)
    _add_sysinfo(domain)
    _add_os(domain, spec)
    _add_features(domain, spec)
    _add_cpu(domain, spec)
    _add_clock(domain, spec)
    add(domain, "on_poweroff", text="destroy")
    add(domain, "on_reboot", text="restart")
    add(domain, "on_crash", text="destroy")
    power = add(domain, "pm")
    add(power, "suspend-to-mem", {"enabled": "no"})
    add(power, "suspend-to-disk", {"enabled": "no"})
    devices = add(domain, "devices")
    if spec.emulator is not None:
        add(devices, "emulator", text=str(spec.emulator))
    devices.extend(device.to_xml() for device in devices_of(spec))
    return ET.tostring(domain, encoding="unicode")


def metadata_xml(spec: DomainSpec) -> str:
    """Our metadata element alone, as ``virDomainSetMetadata`` takes it: libvirt adds the namespace itself."""
    return ET.tostring(ET.Element("vm", _metadata(spec).attrib), encoding="unicode")


def marked_xml(domain: DomainInfo, instance: str) -> str:
    """The same of a domain that is there already."""
    return ET.tostring(ET.Element("vm", marks(domain, instance)), encoding="unicode")


def _metadata(spec: DomainSpec) -> ET.Element:
    return ET.Element(f"{{{METADATA_NAMESPACE}}}vm", marks(spec, spec.instance))


def marks(marked: DomainSpec | DomainInfo, instance: str) -> dict[str, str]:
    """The attributes of our metadata element."""
    said = {
        "instance": instance,
        "namespace": marked.namespace,
        "name": marked.vm_name,
        "generation": str(marked.generation),
        "applied": marked.applied,
    }
    if marked.epoch:
        said["epoch"] = str(marked.epoch)
    return {key: clean(value) for key, value in said.items()}


def _add_cpu_tuning(domain: ET.Element, spec: DomainSpec) -> None:
    if spec.cpu_shares is None and spec.cpu_quota is None:
        return
    tuning = add(domain, "cputune")
    if spec.cpu_shares is not None:
        add(tuning, "shares", text=str(spec.cpu_shares))
    if spec.cpu_quota is not None:
        add(tuning, "global_period", text=str(CPU_PERIOD_US))
        add(tuning, "global_quota", text=str(spec.cpu_quota))


def _add_sysinfo(domain: ET.Element) -> None:
    system = add(add(domain, "sysinfo", {"type": "smbios"}), "system")
    add(system, "entry", {"name": "manufacturer"}, text="hyperd")
    add(system, "entry", {"name": "product"}, text="Virtual Machine")


def _add_os(domain: ET.Element, spec: DomainSpec) -> None:
    efi = spec.firmware is not Bootloader.BIOS
    os = add(domain, "os", {"firmware": "efi"} if efi else {})
    machine = "pc" if spec.os_type is OsType.LEGACY else machine_type(spec.architecture)
    add(os, "type", {"arch": spec.architecture, "machine": machine}, text="hvm")
    if efi:
        secure = "yes" if spec.firmware is Bootloader.EFI_WITH_SECURE_BOOT else "no"
        firmware = add(os, "firmware")
        add(firmware, "feature", {"enabled": secure, "name": "enrolled-keys"})
        add(firmware, "feature", {"enabled": secure, "name": "secure-boot"})
    if spec.nvram is not None and efi:
        add(os, "nvram", text=str(spec.nvram))
    add(os, "smbios", {"mode": "sysinfo"})


def _add_features(domain: ET.Element, spec: DomainSpec) -> None:
    features = add(domain, "features")
    add(features, "acpi")
    add(features, "apic")
    if _hyperv(spec):
        hyperv = add(features, "hyperv", {"mode": "custom"})
        for name in ("relaxed", "vapic", "vpindex", "runtime", "synic", "stimer", "reset", "frequencies"):
            add(hyperv, name, {"state": "on"})
        add(hyperv, "spinlocks", {"state": "on", "retries": "8191"})
    if spec.firmware is Bootloader.EFI_WITH_SECURE_BOOT:
        add(features, "smm", {"state": "on"})
    add(features, "vmport", {"state": "off"})
    if spec.emulator is not None and spec.domain_type is DomainType.QEMU:
        # Else it grows until the Pod's limit ends the guest.
        add(add(features, "tcg"), "tb-cache", {"unit": "b"}, text=str(TRANSLATED_BYTES))


def _hyperv(spec: DomainSpec) -> bool:
    """Enlightenments are KVM's; emulation has none and refuses to start with them."""
    return spec.os_type is OsType.WINDOWS and spec.domain_type is DomainType.KVM


def _add_cpu(domain: ET.Element, spec: DomainSpec) -> None:
    model = spec.cpu
    custom = model.mode is CpuMode.CUSTOM
    cpu = add(domain, "cpu", {"mode": model.mode, **({"match": "exact", "check": "partial"} if custom else {})})
    if custom:
        add(cpu, "model", {"fallback": "forbid"}, text=model.model)
    topology = {"dies": "1", "cores": str(spec.cores // spec.sockets), "threads": "1"}
    add(cpu, "topology", {"sockets": str(spec.sockets), **topology})
    for feature in model.features:
        policy = "optional" if feature in names.OPTIONAL_CPU_FEATURES else "require"
        add(cpu, "feature", {"policy": policy, "name": feature})


def _add_clock(domain: ET.Element, spec: DomainSpec) -> None:
    windows = spec.os_type is OsType.WINDOWS
    clock = add(domain, "clock", {"offset": "localtime" if windows else "utc"})
    if spec.domain_type is not DomainType.KVM:
        return
    add(clock, "timer", {"name": "rtc", "tickpolicy": "catchup"})
    add(clock, "timer", {"name": "pit", "tickpolicy": "delay"})
    add(clock, "timer", {"name": "hpet", "present": "no"})
    if windows:
        add(clock, "timer", {"name": "hypervclock", "present": "yes"})
