"""Reading the host's facts: from libvirt what guests may have, from the kernel the rest.

KVM counts as usable when the CPU has it, QEMU's user may open the device, and libvirt's QEMU knows it. libvirt is
asked last, and only once per connection: where the device is there but broken, each new look of libvirt's at
QEMU takes a minute.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import stat
from pathlib import Path
from xml.etree import ElementTree as ET

import libvirt

from hyperd import clock
from hyperd.hypervisor.facts.accounts import Account, account
from hyperd.hypervisor.facts.host import HostFacts, meminfo
from hyperd.hypervisor.spec import machine_type
from hyperd.settings import HypervisorSettings

KVM_DEVICE = Path("/dev/kvm")
CPUINFO = Path("/proc/cpuinfo")
CPU_MAP = Path("/usr/share/libvirt/cpu_map")
"""libvirt's names of processors' features, a file for each family of architectures."""
_FAMILIES = {"x86_64": "x86", "aarch64": "arm"}


def read_qemu_version(conn: libvirt.virConnect) -> str:
    """Of the QEMU that libvirt would start now, which it looks up anew once the program changed."""
    return _version(conn.getVersion())


def read_facts(conn: libvirt.virConnect, *, settings: HypervisorSettings) -> HostFacts:
    """Blocking; may take seconds."""
    user = settings.qemu_user
    why_not = kvm_problem(KVM_DEVICE, CPUINFO, user=user, known=account(user))
    arch = platform.machine()
    if not why_not and not _libvirt_has_kvm(conn, arch):
        why_not = "libvirt's QEMU was built without KVM, or could not use it when libvirt asked."
    capabilities = _domain_capabilities(conn, arch, kvm=not why_not)
    return HostFacts(
        hostname=socket.gethostname(),
        architecture=arch,
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=meminfo()["MemTotal"],
        machine_id=_text(Path("/etc/machine-id")),
        boot_id=clock.boot_id(),
        kernel=platform.release(),
        os_image=_os_image(),
        kvm_usable=not why_not,
        why_not_kvm=why_not,
        libvirt_version=_version(conn.getLibVersion()),
        qemu_version=read_qemu_version(conn),
        cpu_models=frozenset(
            model.text or "" for model in capabilities.iterfind("cpu/mode[@name='custom']/model[@usable='yes']")
        ),
        features=_features(conn, arch, capabilities, kvm=not why_not),
        known_models=frozenset(
            model.text or "" for model in capabilities.iterfind("cpu/mode[@name='custom']/model")
        ),
        known_features=_known_features(CPU_MAP, arch),
        cpu_tuning=_cpu_cgroup(Path("/sys/fs/cgroup")),
        tpm=_tpm(capabilities),
        emulator=capabilities.findtext("path") or "",
    )


def kvm_problem(device: Path, cpuinfo: Path, *, user: str, known: Account | None) -> str:
    """Why KVM cannot be used, as far as the kernel tells; empty when nothing speaks against it.

    ``known`` is what the node has of ``user``, None where it has no such user.
    """
    flags = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "").split()
    if "vmx" not in flags and "svm" not in flags:
        return "The CPU has no virtualisation extension (vmx or svm), or the firmware hides it."
    if not device.exists():
        return f"{device} does not exist: load the kernel module kvm_intel or kvm_amd."
    if not _may_open(device, known):
        return f"User {user} may not open {device}: give it to group kvm with mode 0660."
    return ""


def _may_open(device: Path, known: Account | None) -> bool:
    """Whether mode and groups let the account read and write; ACLs are not asked."""
    info = device.stat()
    wanted = stat.S_IROTH | stat.S_IWOTH
    if info.st_mode & wanted == wanted:
        return True
    if known is None:
        return False
    wanted = stat.S_IRGRP | stat.S_IWGRP
    if info.st_gid in known.groups and info.st_mode & wanted == wanted:
        return True
    return known.uid in (0, info.st_uid)


def _libvirt_has_kvm(conn: libvirt.virConnect, arch: str) -> bool:
    tree = ET.fromstring(conn.getCapabilities())  # noqa: S314  libvirtd's own XML
    return tree.find(f"guest/arch[@name='{arch}']/domain[@type='kvm']") is not None


def _domain_capabilities(conn: libvirt.virConnect, arch: str, *, kvm: bool) -> ET.Element:
    text = conn.getDomainCapabilities(None, arch, machine_type(arch), "kvm" if kvm else "qemu", 0)
    return ET.fromstring(text)  # noqa: S314  libvirtd's own XML


def _features(conn: libvirt.virConnect, arch: str, capabilities: ET.Element, *, kvm: bool) -> frozenset[str]:
    """All features of the best CPU that a guest may have, those of its model included."""
    best = capabilities.find("cpu/mode[@name='host-model']")
    if best is None or best.find("model") is None:
        return frozenset()
    cpu = ET.Element("cpu", mode="custom", match="exact")
    cpu.extend(list(best))
    expanded = conn.baselineHypervisorCPU(
        None,
        arch,
        machine_type(arch),
        "kvm" if kvm else "qemu",
        [ET.tostring(cpu, encoding="unicode")],
        libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES,
    )
    tree = ET.fromstring(expanded)  # noqa: S314  libvirtd's own XML
    return frozenset(
        feature.get("name", "") for feature in tree.iterfind("feature") if feature.get("policy") != "disable"
    )


def _known_features(cpu_map: Path, arch: str) -> frozenset[str]:
    """Every feature that libvirt has a name for; empty where its map cannot be read."""
    try:
        tree = ET.parse(cpu_map / f"{_FAMILIES.get(arch, arch)}_features.xml")  # noqa: S314  libvirt's own file
    except (OSError, ET.ParseError):
        return frozenset()
    return frozenset(feature.get("name", "") for feature in tree.iterfind("feature"))


def _cpu_cgroup(root: Path) -> bool:
    """Whether libvirt finds a CPU controller, in either version of cgroups."""
    unified = root / "cgroup.controllers"
    if unified.exists():
        return "cpu" in unified.read_text().split()
    return any((root / name / "cpu.shares").exists() for name in ("cpu", "cpu,cpuacct"))


def _tpm(capabilities: ET.Element) -> bool:
    backends = capabilities.iterfind("devices/tpm[@supported='yes']/enum[@name='backendModel']/value")
    return any(backend.text == "emulator" for backend in backends) and shutil.which("swtpm") is not None


def _version(number: int) -> str:
    """libvirt's 9000000 → 9.0.0."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _os_image() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
