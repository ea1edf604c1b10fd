"""Which domain type and CPU follow from the host's facts, and whether KVM really works."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hyperd.errors import PermanentError
from hyperd.hypervisor.facts import host
from hyperd.hypervisor.facts.accounts import Account, account
from hyperd.hypervisor.facts.host import HostFacts, choose_cpu, domain_type
from hyperd.hypervisor.facts.probe import kvm_problem
from hyperd.hypervisor.spec import CpuMode, CpuModel, DomainType
from hyperd.settings import HypervisorSettings

FACTS = HostFacts(
    hostname="a",
    architecture="x86_64",
    cpus=2,
    memory_bytes=1 << 30,
    machine_id="m",
    boot_id="b",
    kernel="6.1",
    os_image="Debian",
    kvm_usable=True,
    why_not_kvm="",
    libvirt_version="9.0.0",
    qemu_version="7.2.0",
    cpu_models=frozenset({"Nehalem"}),
    features=frozenset({"aes", "vmx"}),
)
EMULATED = replace(FACTS, kvm_usable=False, why_not_kvm="/dev/kvm does not exist.")
CAPABLE = "processor: 0\nflags\t\t: fpu vmx sse\n"


def test_the_domain_type_follows_kvm_and_the_settings() -> None:
    assert domain_type(FACTS, HypervisorSettings()) is DomainType.KVM
    assert domain_type(EMULATED, HypervisorSettings()) is DomainType.QEMU
    with pytest.raises(PermanentError, match="/dev/kvm does not exist"):
        domain_type(EMULATED, HypervisorSettings(default_emulation=False))


@pytest.mark.parametrize(
    ("cpu_type", "model", "features", "expected"),
    [
        ("Host", "", (), CpuModel(CpuMode.HOST_MODEL)),
        ("HostPassthrough", "", (), CpuModel(CpuMode.HOST_PASSTHROUGH)),
        ("Model", "Nehalem", (), CpuModel(CpuMode.CUSTOM, "Nehalem")),
        ("Features", "", ("aes", "invtsc"), CpuModel(CpuMode.CUSTOM, "qemu64", ("aes", "invtsc"))),
        ("Discovery", "", ("vmx",), CpuModel(CpuMode.CUSTOM, "qemu64", ("vmx",))),
    ],
)
def test_with_kvm_a_class_gets_what_it_asks_for(
    cpu_type: str, model: str, features: tuple[str, ...], expected: CpuModel
) -> None:
    choice = choose_cpu(FACTS, DomainType.KVM, cpu_type=cpu_type, model=model, features=features)
    assert (choice.cpu, choice.reason) == (expected, "")


@pytest.mark.parametrize(("cpu_type", "model", "features"), [("Model", "EPYC", ()), ("Features", "", ("sgx",))])
def test_with_kvm_a_cpu_that_the_host_lacks_is_refused(
    cpu_type: str, model: str, features: tuple[str, ...]
) -> None:
    with pytest.raises(PermanentError, match=r"EPYC|sgx"):
        choose_cpu(FACTS, DomainType.KVM, cpu_type=cpu_type, model=model, features=features)


@pytest.mark.parametrize(
    ("cpu_type", "model", "features", "kept"),
    [
        ("Host", "", (), False),
        ("HostPassthrough", "", (), False),
        ("Model", "Nehalem", (), True),
        ("Model", "EPYC", (), False),
        ("Features", "", ("aes",), True),
        ("Features", "", ("sgx",), False),
    ],
)
def test_emulation_keeps_what_it_can_and_says_what_it_cannot(
    cpu_type: str, model: str, features: tuple[str, ...], *, kept: bool
) -> None:
    choice = choose_cpu(EMULATED, DomainType.QEMU, cpu_type=cpu_type, model=model, features=features)
    assert (choice.cpu.mode is CpuMode.CUSTOM) == kept
    assert bool(choice.reason) != kept
    if not kept:
        assert choice.cpu == CpuModel(CpuMode.MAXIMUM)


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "kvm"
    path.touch()
    path.chmod(0o666)
    return path


@pytest.fixture
def cpuinfo(tmp_path: Path) -> Path:
    path = tmp_path / "cpuinfo"
    path.write_text(CAPABLE)
    return path


def test_kvm_works_with_the_flag_and_an_open_device(device: Path, cpuinfo: Path) -> None:
    assert kvm_problem(device, cpuinfo, user="nobody", known=None) == ""


def test_a_device_without_the_cpu_flag_is_not_kvm(device: Path, cpuinfo: Path) -> None:
    cpuinfo.write_text(CAPABLE.replace("vmx", "aes"))
    assert "vmx or svm" in kvm_problem(device, cpuinfo, user="nobody", known=None)


def test_a_missing_device_names_the_module_to_load(device: Path, cpuinfo: Path) -> None:
    device.unlink()
    assert "kvm_intel" in kvm_problem(device, cpuinfo, user="nobody", known=None)


@pytest.mark.parametrize("user", ["nobody", "no-such-user"])
def test_a_device_that_qemus_user_may_not_open_is_not_kvm(device: Path, cpuinfo: Path, user: str) -> None:
    device.chmod(0o600)
    assert f"User {user} may not open" in kvm_problem(device, cpuinfo, user=user, known=account(user))


def test_in_a_container_the_nodes_own_accounts_count(device: Path, cpuinfo: Path, tmp_path: Path) -> None:
    """The image has a user of that name too, which is in no group of the node's."""
    etc = tmp_path / "node" / "etc"
    etc.mkdir(parents=True)
    (etc / "passwd").write_text("root:x:0:0::/:/bin/sh\nbroken\nqemu:x:64055:64055::/:/bin/sh\nodd:x:a:b::/:\n")
    (etc / "group").write_text(f"kvm:x:{device.stat().st_gid}:somebody,qemu\nbroken\nqemu:x:64055:\n")
    known = account("qemu", tmp_path / "node")
    assert known == Account(64055, frozenset({64055, device.stat().st_gid}))
    device.chmod(0o660)
    assert kvm_problem(device, cpuinfo, user="qemu", known=known) == ""
    for user in ("odd", "nobody"):
        assert account(user, tmp_path / "node") is None


def test_free_memory_is_some_of_the_hosts_memory() -> None:
    assert 0 < host.free_memory_bytes() < host.meminfo()["MemTotal"]
