"""What this host can do: CPUs, memory, whether KVM really works, which CPU models its guests may have."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hyperd.hypervisor.spec import CpuModel, DomainType
from hyperd.settings import HypervisorSettings


class CpuType(StrEnum):
    """``spec.cpu.type`` of a VirtualMachineClass."""

    HOST = "Host"
    HOST_PASSTHROUGH = "HostPassthrough"
    MODEL = "Model"
    FEATURES = "Features"
    DISCOVERY = "Discovery"


@dataclass(frozen=True)
class HostFacts:
    """Facts that do not change while libvirtd and the host run; free memory does, see ``free_memory_bytes``.

    ``cpu_models`` and ``features`` are what guests of the domain type in use may have; ``why_not_kvm`` is a
    sentence, empty where KVM works.
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
    cpu_tuning: bool = False
    tpm: bool = False


@dataclass(frozen=True)
class CpuChoice:
    """The CPU a domain gets, and why it is not what the class asked for (empty when it is)."""

    cpu: CpuModel
    reason: str = ""


def domain_type(facts: HostFacts, settings: HypervisorSettings) -> DomainType:
    """How domains run here. Raises PermanentError where KVM is missing and emulation is not allowed."""
    raise NotImplementedError


def choose_cpu(
    facts: HostFacts, type_: DomainType, *, cpu_type: str, model: str = "", features: tuple[str, ...] = ()
) -> CpuChoice:
    """The CPU for a class's ``spec.cpu`` on this host; what emulation cannot give becomes ``maximum``."""
    raise NotImplementedError


def free_memory_bytes() -> int:
    """MemAvailable of the host. Reads a file of procfs."""
    raise NotImplementedError
