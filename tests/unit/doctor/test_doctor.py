"""Every check on a healthy host, and on one where its own subject is broken."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from hyperd.cli import doctor
from hyperd.cli.doctor_checks import CHECKS, Finding, Level, examine
from hyperd.cli.doctor_host import FileFacts, ThisHost
from hyperd.settings import (
    GIB,
    HypervisorSettings,
    ImportSettings,
    KubernetesSettings,
    NetworkSettings,
    PoolKind,
    PoolSettings,
    Settings,
    StorageSettings,
)

PLAIN = FileFacts(0o644, "root")


@dataclass(frozen=True)
class MadeUpHost:
    """A host where all is well, except what a test changes."""

    root: bool = True
    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, FileFacts | None] = field(default_factory=dict)
    missing_programs: frozenset[str] = frozenset()
    outputs: dict[str, str | None] = field(default_factory=dict)
    deaf: frozenset[str] = frozenset()
    hung: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset({"libvirt-qemu"})
    groups: frozenset[tuple[str, str]] = frozenset({("libvirt-qemu", "kvm")})
    free: int = 100 * GIB
    versions: dict[str, str] = field(default_factory=lambda: {"apsw": "3.54.0.0"})
    modules: frozenset[str] = frozenset({"aiohttp._http_parser"})
    synchronized: bool = True

    def is_root(self) -> bool:
        return self.root

    def read(self, path: str) -> str | None:
        healthy = {
            "/proc/cpuinfo": "flags\t\t: fpu vmx sse\n",
            "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:   16777216 kB\n",
            "/proc/sys/net/ipv4/ip_forward": "1\n",
            "/etc/lvm/lvm.conf": 'devices {\n\tglobal_filter = [ "r|.*|" ]\n}\n',
        }
        return {**healthy, **self.texts}.get(path)

    def facts(self, path: str) -> FileFacts | None:
        healthy = {"/dev/kvm": FileFacts(0o660, "kvm"), "/run/systemd/system": PLAIN}
        return {**healthy, **self.files}.get(path, PLAIN)

    def which(self, program: str) -> str | None:
        return None if program in self.missing_programs else f"/usr/bin/{program}"

    def output(self, *argv: str) -> str | None:
        healthy = {
            "qemu-system-x86_64": "QEMU emulator version 8.2.1 (Debian 1:8.2.1+dfsg-1)\n",
            "virsh": "Using library: libvirt 9.0.0\nUsing API: QEMU 9.0.0\n",
            "ip": '[{"dst":"default","dev":"eth0"},{"dst":"192.0.2.0/24","dev":"eth0"}]',
        }
        return {**healthy, **self.outputs}[argv[0]]

    def answers(self, socket_path: str) -> bool:
        return socket_path not in self.deaf

    def is_live(self, socket_path: str) -> bool:
        return socket_path not in self.deaf | self.hung

    def in_group(self, user: str, group: str) -> bool:
        return (user, group) in self.groups

    def has_user(self, user: str) -> bool:
        return user in self.users

    def free_bytes(self, path: Path) -> int:
        return self.free

    def package_version(self, package: str) -> str | None:
        return self.versions.get(package)

    def has_module(self, module: str) -> bool:
        return module in self.modules

    def clock_synchronized(self) -> bool:
        return self.synchronized


WELL = MadeUpHost()
NO_SYSTEMD: dict[str, FileFacts | None] = {"/run/systemd/system": None}
NO_CGROUPS: dict[str, FileFacts | None] = {
    "/sys/fs/cgroup/cgroup.controllers": None,
    "/sys/fs/cgroup/memory": None,
}
NO_KEYS: dict[str, FileFacts | None] = {f"/usr/share/OVMF/OVMF_VARS{size}.ms.fd": None for size in ("", "_4M")}
DEFAULT = Settings()
DISK = Settings(
    storage=StorageSettings(
        pools=(PoolSettings(name="raw", kind=PoolKind.BLOCK, path=Path("/dev/disk/by-id/raw")),)
    )
)
LAZY = Settings(imports=ImportSettings(lazy=True))
PODS = Settings(home="kubernetes", kubernetes=KubernetesSettings(pods=True, launcher_image="hyperd:1"))
NAT = Settings(network=NetworkSettings(nat=True))
STRICT = Settings(hypervisor=HypervisorSettings(default_emulation=False))

FAULTS: dict[str, tuple[str, MadeUpHost, Settings, Level, str, str]] = {
    "not root": ("root", replace(WELL, root=False), DEFAULT, Level.HINT, "Not root", "sudo hv doctor"),
    "module not loaded": (
        *("kvm", replace(WELL, files={"/dev/kvm": None}), DEFAULT),
        *(Level.BAD, "module is not loaded", "modprobe kvm_intel"),
    ),
    "no virtualization": (
        *("kvm", replace(WELL, files={"/dev/kvm": None}, texts={"/proc/cpuinfo": "flags : fpu\n"}), DEFAULT),
        *(Level.HINT, "slowly", "firmware"),
    ),
    "no virtualization and no emulation": (
        *("kvm", replace(WELL, files={"/dev/kvm": None}, texts={"/proc/cpuinfo": "flags : fpu\n"}), STRICT),
        *(Level.BAD, "default_emulation is off", "firmware"),
    ),
    "device of another group": (
        *("kvm", replace(WELL, files={"/dev/kvm": FileFacts(0o600, "root")}), DEFAULT),
        *(Level.BAD, "group root and mode 600", "chgrp kvm /dev/kvm && chmod 660 /dev/kvm"),
    ),
    "device without the CPU": (
        *("kvm", replace(WELL, texts={"/proc/cpuinfo": "flags : fpu\n"}), DEFAULT),
        *(Level.HINT, "shows no virtualization", "firmware"),
    ),
    "no QEMU user": (
        *("qemu_user", replace(WELL, users=frozenset()), DEFAULT),
        *(Level.BAD, "does not exist", "apt-get install libvirt-daemon-system"),
    ),
    "QEMU user without the group": (
        *("qemu_user", replace(WELL, groups=frozenset()), DEFAULT),
        *(Level.BAD, "not in the group kvm", "usermod --append --groups kvm libvirt-qemu"),
    ),
    "no qemu-img": (
        *("qemu", replace(WELL, missing_programs=frozenset({"qemu-img"})), DEFAULT),
        *(Level.BAD, "qemu-img is not installed", "apt-get install"),
    ),
    "no way to images that come": (
        *("lazy_images", replace(WELL, texts={"/sys/module/apparmor/parameters/enabled": "Y\n"}), LAZY),
        *(
            Level.BAD,
            "AppArmor keeps QEMU from /run/hyperd/images.sock",
            "echo '  /run/hyperd/images.sock rw,' >>",
        ),
    ),
    "no way to start machines in Pods": (
        *("emulator", replace(WELL, texts={"/sys/module/apparmor/parameters/enabled": "Y\n"}), PODS),
        *(
            Level.BAD,
            "AppArmor keeps libvirt from /var/lib/hyperd/emulator/emulator",
            "/etc/apparmor.d/local/usr.sbin.libvirtd && echo",
        ),
    ),
    "old QEMU": (
        *("qemu", replace(WELL, outputs={"qemu-system-x86_64": "QEMU emulator version 5.2.0"}), DEFAULT),
        *(Level.BAD, "5.2.0 is too old; 7.2", "apt-get install"),
    ),
    "no firmware": (
        *("firmware", replace(WELL, files={"/usr/share/OVMF": None}), DEFAULT),
        *(Level.HINT, "EFIWithSecureBoot cannot start", "apt-get install ovmf"),
    ),
    "no firmware for secure boot": (
        *("firmware", replace(WELL, files=NO_KEYS), DEFAULT),
        *(Level.HINT, "no variables with Microsoft's keys", "apt-get install --reinstall ovmf"),
    ),
    "no libvirt": (
        *("libvirt", replace(WELL, missing_programs=frozenset({"virsh"})), DEFAULT),
        *(Level.BAD, "not installed", "apt-get install libvirt-daemon-system"),
    ),
    "libvirtd down": (
        *("libvirt", replace(WELL, deaf=frozenset({"/run/libvirt/libvirt-sock"})), DEFAULT),
        *(Level.BAD, "does not listen", "systemctl start libvirtd"),
    ),
    "libvirtd down without systemd": (
        *("libvirt", replace(WELL, deaf=frozenset({"/run/libvirt/libvirt-sock"}), files=NO_SYSTEMD), DEFAULT),
        *(Level.BAD, "does not listen", "libvirtd --daemon"),
    ),
    "libvirtd hangs": (
        *("libvirt", replace(WELL, outputs={"virsh": None}), DEFAULT),
        *(Level.BAD, "does not answer", "systemctl restart libvirtd"),
    ),
    "old libvirt": (
        *("libvirt", replace(WELL, outputs={"virsh": "Using library: libvirt 7.0.0"}), DEFAULT),
        *(Level.BAD, "7.0.0 is too old", "apt-get install"),
    ),
    "virtlogd down": (
        *("virtlogd", replace(WELL, deaf=frozenset({"/run/libvirt/virtlogd-sock"})), DEFAULT),
        *(Level.BAD, "virtlogd", "systemctl start virtlogd"),
    ),
    "no tun": (
        *("tun", replace(WELL, files={"/dev/net/tun": None}), DEFAULT),
        *(Level.BAD, "no network", "modprobe tun"),
    ),
    "no forwarding": (
        *("forwarding", replace(WELL, texts={"/proc/sys/net/ipv4/ip_forward": "0\n"}), DEFAULT),
        *(Level.HINT, "forwards no IPv4", "sysctl --write net.ipv4.ip_forward=1"),
    ),
    "NAT without nft": (
        *("nft", replace(WELL, missing_programs=frozenset({"nft"})), NAT),
        *(Level.BAD, "nft is not installed", "apt-get install nftables"),
    ),
    "addresses in use": (
        *("addresses", replace(WELL, outputs={"ip": '[{"dst":"10.66.0.0/16","dev":"lan0"}]'}), DEFAULT),
        *(Level.BAD, "10.66.10.0/24 overlap with 10.66.0.0/16 on lan0", "virtual_machine_cidrs"),
    ),
    "no ip": (
        *("addresses", replace(WELL, outputs={"ip": None}), DEFAULT),
        *(Level.BAD, "routes cannot be read", "apt-get install iproute2"),
    ),
    "no registry": (
        *("registry", replace(WELL, missing_programs=frozenset({"docker-registry"})), DEFAULT),
        *(Level.BAD, "docker-registry is not installed", "apt-get install docker-registry"),
    ),
    "full disk": (
        *("disk_space", replace(WELL, free=GIB // 2), DEFAULT),
        *(Level.BAD, "none can be made", "du -xh"),
    ),
    "nearly full disk": (
        *("disk_space", replace(WELL, free=3 * GIB), DEFAULT),
        *(Level.HINT, "Only 3.0 GiB", "du -xh"),
    ),
    "no tools for partitions": (
        *("block_pools", replace(WELL, missing_programs=frozenset({"sfdisk"})), DISK),
        *(Level.BAD, "Pool raw is a disk, and sfdisk are not installed", "apt-get install fdisk"),
    ),
    "no rules of udev": (
        *("block_pools", replace(WELL, files={"/etc/udev/rules.d/59-hyperd.rules": None}), DISK),
        *(Level.HINT, "this host may take for a volume group", "data/59-hyperd.rules"),
    ),
    "LVM that reads all disks": (
        *("block_pools", replace(WELL, texts={"/etc/lvm/lvm.conf": "\t# global_filter = []\n"}), DISK),
        *(Level.HINT, "LVM read the disks of guests in pool raw", "lvmconfig devices/global_filter"),
    ),
    "no disk": (
        *("block_pools", replace(WELL, files={"/dev/disk/by-id/raw": None}), DISK),
        *(Level.BAD, "Pool raw has no disk: /dev/disk/by-id/raw does not exist", "ls -l /dev/disk/by-id"),
    ),
    "little memory": (
        *("memory", replace(WELL, texts={"/proc/meminfo": "MemAvailable: 600000 kB\n"}), DEFAULT),
        *(Level.HINT, "others wait", "hv get vm"),
    ),
    "no control groups": (
        *("cgroups", replace(WELL, files=NO_CGROUPS), DEFAULT),
        *(Level.HINT, "not enforced", "mount -t cgroup2"),
    ),
    "clock adrift": (
        *("clock", replace(WELL, synchronized=False), DEFAULT),
        *(Level.HINT, "not synchronized", "apt-get install chrony"),
    ),
    "slow parser": (
        *("python_packages", replace(WELL, modules=frozenset()), DEFAULT),
        *(Level.BAD, "compiled parser", "pip install"),
    ),
    "old SQLite": (
        *("python_packages", replace(WELL, versions={"apsw": "3.46.0.0"}), DEFAULT),
        *(Level.BAD, "apsw 3.46.0.0", "pip install"),
    ),
    "daemon down": (
        *("daemon", replace(WELL, deaf=frozenset({"/run/hyperd/hyperd.sock"})), DEFAULT),
        *(Level.BAD, "does not run, or not at /run/hyperd/hyperd.sock", "systemctl start hyperd"),
    ),
    "daemon hung": (
        *("daemon", replace(WELL, hung=frozenset({"/run/hyperd/hyperd.sock"})), DEFAULT),
        *(Level.BAD, "holds /run/hyperd/hyperd.sock and answers nothing", "systemctl restart hyperd"),
    ),
}


def broken(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level is not Level.OK]


def test_on_a_healthy_host_nothing_is_to_mend() -> None:
    assert broken(examine(WELL, NAT)) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_the_only_finding_and_names_what_mends_it(fault: str) -> None:
    _, host, settings, level, text, fix = FAULTS[fault]
    (finding,) = broken(examine(host, settings))
    assert finding.level is level
    assert text in finding.text
    assert fix in finding.fix


def test_every_check_has_a_fault() -> None:
    assert {check.__name__ for check in CHECKS} == {fault[0] for fault in FAULTS.values()}


def test_a_registry_elsewhere_needs_no_program_here() -> None:
    host = replace(WELL, missing_programs=frozenset({"docker-registry"}))
    assert not broken(examine(host, Settings.model_validate({"registry": {"url": "https://registry.example/vm"}})))


def test_own_addresses_that_touch_no_route_are_fine() -> None:
    settings = Settings(network=NetworkSettings(virtual_machine_cidrs=(IPv4Network("198.51.100.0/24"),)))
    assert not broken(examine(WELL, settings))


def test_the_report_puts_the_fix_below_its_sentence_and_counts() -> None:
    findings = [Finding(Level.BAD, "It is broken.", "mend it"), Finding(Level.OK, "It is fine.")]
    assert doctor.report(findings, colour=False) == [
        "✗ It is broken.",
        "    fix: mend it",
        "✓ It is fine.",
        "1 to mend, 0 to consider.",
    ]


def test_this_host_is_examined_and_the_exit_code_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "hyperd.toml"
    settings.write_text(f'run_dir = "{tmp_path}/run"\n')
    code = doctor.main(["--json", "--config", str(settings)])
    findings = json.loads(capsys.readouterr().out)
    assert code == 1
    assert any(f"{tmp_path}/run/hyperd.sock" in finding["text"] for finding in findings)
    assert all(finding["fix"] for finding in findings if finding["level"] != "ok")


def test_this_host_reads_what_is_there_and_admits_what_is_not(tmp_path: Path) -> None:
    host = ThisHost()
    assert host.read(str(tmp_path / "none")) is None
    assert host.facts(str(tmp_path / "none")) is None
    assert host.output("false") is None
    assert host.output("no-such-program-here") is None
    assert host.output("echo", "said") == "said\n"
    assert not host.answers(str(tmp_path / "none.sock"))
    assert not host.is_live(str(tmp_path / "none.sock"))
    assert host.free_bytes(tmp_path / "a" / "b") > 0
    assert host.has_module("aiohttp._http_parser")
    assert not host.has_module("aiohttp._not_there")
    assert host.package_version("no-such-package-here") is None
    assert isinstance(host.clock_synchronized(), bool)
