"""What this host can do, and which domain type and CPU follow from it.

Pure: ``probe`` reads the facts. Without usable KVM guests are emulated, and what emulation cannot give (the
host's own CPU, models with features that it lacks) becomes ``maximum``, with a reason that a condition can show.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyperd.errors import PermanentError
from hyperd.hypervisor.spec import CpuMode, CpuModel, DomainType
from hyperd.resources.kinds.virtual_machine_class import CPUType
from hyperd.resources.values import names
from hyperd.settings import HypervisorSettings

FEATURE_BASE = "qemu64"
"""The model that the types Features and Discovery add their features to."""


@dataclass(frozen=True)
class HostFacts:
    """Facts that do not change while libvirtd and the host run; free memory does, see ``free_memory_bytes``.

     ``cpu_models`` and ``features`` are what guests of the domain type in use may have, ``known_models`` and
     ``known_features`` all that libvirt has a name for; ``why_not_kvm`` is a sentence, empty where KVM works.
    ``cpu_tuning``: a CPU cgroup exists, so shares and quotas can be set. ``hot_plug``: guests that run can be
    given devices. ``emulator`` is the QEMU that libvirt starts where a domain names none; empty where it has none.
    """

    hostname: str
    architecture: str
    cpus: int
    memory_bytes: int
    machine_id: str
    boot_id: str
    kernel: str
    os_image: str
    kvm_usable: bool
    why_not_kvm: str
    libvirt_version: str
    qemu_version: str
    cpu_models: frozenset[str] = frozenset()
    features: frozenset[str] = frozenset()
    known_models: frozenset[str] = frozenset()
    known_features: frozenset[str] = frozenset()
    cpu_tuning: bool = False
    tpm: bool = False
    hot_plug: bool = True
    emulator: str = ""


@dataclass(frozen=True)
class CpuChoice:
    """The CPU a domain gets, and why it is not what the class asked for (empty when it is)."""

    cpu: CpuModel
    reason: str = ""


def domain_type(facts: HostFacts, settings: HypervisorSettings) -> DomainType:
    """How domains run here. Raises PermanentError where KVM is missing and emulation is not allowed."""
    if facts.kvm_usable:
        return DomainType.KVM
    if settings.default_emulation:
        return DomainType.QEMU
    raise PermanentError(
        f"Virtual machines cannot run on this host: {facts.why_not_kvm} "
        "Mend that, or allow slow emulation with the setting hypervisor.default_emulation.",
        key="KVMNotUsable",
    )


def choose_cpu(
    facts: HostFacts, type_: DomainType, *, cpu_type: str, model: str = "", features: tuple[str, ...] = ()
) -> CpuChoice:
    """The CPU for a class's ``spec.cpu`` on this host.

    Raises PermanentError where KVM is used and the host's CPU lacks the model or a feature.
    """
    emulated = type_ is not DomainType.KVM
    missing = ""
    if cpu_type == CPUType.HOST:
        choice = CpuModel(CpuMode.HOST_MODEL)
    elif cpu_type == CPUType.HOST_PASSTHROUGH:
        choice = CpuModel(CpuMode.HOST_PASSTHROUGH)
    elif cpu_type == CPUType.MODEL:
        choice = CpuModel(CpuMode.CUSTOM, model=model)
        missing = "" if model in facts.cpu_models else f"CPU model {model}"
    else:
        choice = CpuModel(CpuMode.CUSTOM, model=FEATURE_BASE, features=features)
        lacking = sorted(set(features) - facts.features - names.OPTIONAL_CPU_FEATURES)
        missing = f"CPU features {', '.join(lacking)}" if lacking else ""
    if not emulated:
        if missing:
            raise PermanentError(f"The CPU of this host does not have {missing}.", key="CPUNotSupported")
        return CpuChoice(choice)
    if missing:
        return CpuChoice(CpuModel(CpuMode.MAXIMUM), f"Emulation does not have {missing}; maximum is used instead.")
    if choice.mode is CpuMode.CUSTOM:
        return CpuChoice(choice)
    return CpuChoice(
        CpuModel(CpuMode.MAXIMUM),
        f"CPU type {cpu_type} needs KVM; the maximum that emulation has is used instead.",
    )


def free_memory_bytes() -> int:
    """MemAvailable of the host: what new guests could take without swapping. Reads a file of procfs."""
    return meminfo()["MemAvailable"]


def meminfo() -> dict[str, int]:
    """procfs' memory table in bytes."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {fields[0].rstrip(":"): int(fields[1]) * 1024 for fields in lines if len(fields) == 3}
