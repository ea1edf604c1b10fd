"""The checks of ``hv doctor``: each looks at one thing and says one sentence, and the command that mends it.

A check is a function of a host and the settings. It gives a Finding, or None where it does not apply here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import Path

from hyperd.cli.doctor_host import Host
from hyperd.settings import GIB, PoolKind, Settings

OLDEST_QEMU = (7, 2)
OLDEST_LIBVIRT = (9, 0)
OLDEST_APSW = (3, 51, 3)
LIBVIRT_SOCKET = "/run/libvirt/libvirt-sock"
VIRTLOGD_SOCKET = "/run/libvirt/virtlogd-sock"
SYSTEM_URI = "qemu:///system"
LIBVIRT_RULES = "/etc/apparmor.d/local/usr.sbin.libvirtd"
QEMU_RULES = "/etc/apparmor.d/local/abstractions/libvirt-qemu"
UDEV_RULES = "/etc/udev/rules.d/59-hyperd.rules"
LVM_CONFIG = "/etc/lvm/lvm.conf"
_LVM_CHOOSES = re.compile(r"^\s*(?:global_filter\s*=|use_devicesfile\s*=\s*1)", re.MULTILINE)
PARTITION_TOOLS = ("sfdisk", "partx", "wipefs", "fallocate")


class Level(StrEnum):
    """``BAD`` must be mended for VMs to run; ``HINT`` costs speed, a feature or comfort."""

    OK = "ok"
    HINT = "hint"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One sentence about the host; ``fix`` is a command line, empty when there is nothing to mend."""

    level: Level
    text: str
    fix: str = ""


Check = Callable[[Host, Settings], Finding | None]


def ok(text: str) -> Finding:
    return Finding(Level.OK, text)


def hint(text: str, fix: str) -> Finding:
    return Finding(Level.HINT, text, fix)


def bad(text: str, fix: str) -> Finding:
    return Finding(Level.BAD, text, fix)


def root(host: Host, _: Settings) -> Finding | None:
    if host.is_root():
        return None
    return hint("Not root: devices and sockets are judged as this user may use them.", "sudo hv doctor")


def kvm(host: Host, settings: Settings) -> Finding:
    flags = re.search(r"^flags\s*:.*\b(vmx|svm)\b", host.read("/proc/cpuinfo") or "", re.MULTILINE)
    device = host.facts("/dev/kvm")
    if device is None:
        if flags:
            return bad(
                "The CPU can virtualize, but /dev/kvm is missing: the kernel module is not loaded.",
                f"modprobe {'kvm_intel' if flags[1] == 'vmx' else 'kvm_amd'}",
            )
        text = "The CPU offers no virtualization here, so guests"
        if settings.hypervisor.default_emulation:
            return hint(f"{text} run in software, slowly.", "enable VT-x or AMD-V in the firmware")
        return bad(
            f"{text} cannot run: hypervisor.default_emulation is off.", "enable VT-x or AMD-V in the firmware"
        )
    group = settings.hypervisor.qemu_group
    if device.group != group or device.mode & 0o060 != 0o060:
        return bad(
            f"/dev/kvm has group {device.group} and mode {device.mode:o}: QEMU cannot open it, and libvirt"
            " tries for a minute at every start.",
            f"chgrp {group} /dev/kvm && chmod 660 /dev/kvm",
        )
    if not flags:
        return hint(
            "/dev/kvm is there, but the CPU shows no virtualization: guests may run in software, slowly.",
            "enable VT-x or AMD-V in the firmware",
        )
    return ok("KVM can be used.")


def qemu_user(host: Host, settings: Settings) -> Finding | None:
    user, group = settings.hypervisor.qemu_user, settings.hypervisor.qemu_group
    if not host.has_user(user):
        return bad(f"QEMU's user {user} does not exist.", "apt-get install libvirt-daemon-system")
    if not host.in_group(user, group):
        return bad(f"QEMU's user {user} is not in the group {group}.", f"usermod --append --groups {group} {user}")
    return None


def qemu(host: Host, _: Settings) -> Finding:
    fix = "apt-get install qemu-system-x86 qemu-utils"
    for program in ("qemu-system-x86_64", "qemu-img"):
        if not host.which(program):
            return bad(f"{program} is not installed.", fix)
    found = _version(host.output("qemu-system-x86_64", "--version"))
    if found < OLDEST_QEMU:
        return bad(f"QEMU {_dotted(found)} is too old; {_dotted(OLDEST_QEMU)} is needed.", fix)
    return ok(f"QEMU {_dotted(found)} is installed.")


def firmware(host: Host, _: Settings) -> Finding | None:
    if not host.facts("/usr/share/OVMF"):
        return hint(
            "There is no UEFI firmware: machines with bootloader EFI or EFIWithSecureBoot cannot start.",
            "apt-get install ovmf",
        )
    if any(host.facts(f"/usr/share/OVMF/OVMF_VARS{size}.ms.fd") for size in ("_4M", "")):
        return None
    return hint(
        "The UEFI firmware has no variables with Microsoft's keys: machines with bootloader EFIWithSecureBoot "
        "cannot start.",
        "apt-get install --reinstall ovmf",
    )


def libvirt(host: Host, settings: Settings) -> Finding:
    uri = settings.hypervisor.uri
    if not host.which("virsh"):
        return bad("libvirt is not installed.", "apt-get install libvirt-daemon-system libvirt-clients")
    if uri == SYSTEM_URI and not host.answers(LIBVIRT_SOCKET):
        return bad(f"libvirtd does not listen on {LIBVIRT_SOCKET}.", _start(host, "libvirtd"))
    answer = host.output("virsh", "--connect", uri, "version")
    if answer is None:
        return bad(f"libvirt does not answer at {uri}.", _start(host, "libvirtd", again=True))
    found = _version(answer)
    if found < OLDEST_LIBVIRT:
        return bad(
            f"libvirt {_dotted(found)} is too old; {_dotted(OLDEST_LIBVIRT)} is needed.",
            "apt-get install libvirt-daemon-system",
        )
    return ok(f"libvirt {_dotted(found)} answers at {uri}.")


def virtlogd(host: Host, settings: Settings) -> Finding | None:
    if settings.hypervisor.uri != SYSTEM_URI or host.answers(VIRTLOGD_SOCKET):
        return None
    return bad("virtlogd does not listen, so no machine with a console log starts.", _start(host, "virtlogd"))


def tun(host: Host, _: Settings) -> Finding | None:
    if host.facts("/dev/net/tun"):
        return None
    return bad("/dev/net/tun is missing, so machines get no network.", "modprobe tun")


def forwarding(host: Host, settings: Settings) -> Finding | None:
    """Taps forward by themselves, and NAT switches it on; what is left is the way in from the host's network."""
    if settings.network.nat or (host.read("/proc/sys/net/ipv4/ip_forward") or "").strip() == "1":
        return None
    return hint(
        "This host forwards no IPv4: machines reach it and each other, and are not reached from its network.",
        "sysctl --write net.ipv4.ip_forward=1",
    )


def nft(host: Host, settings: Settings) -> Finding | None:
    if host.which("nft") or not settings.network.nat:
        return None
    return bad("network.nat is on, but nft is not installed.", "apt-get install nftables")


def addresses(host: Host, settings: Settings) -> Finding | None:
    """Machines must not get addresses that this host already routes elsewhere."""
    listed = host.output("ip", "-json", "-4", "route", "show", "table", "main")
    if listed is None:
        return bad("`ip` does not work, so routes cannot be read.", "apt-get install iproute2")
    for route in json.loads(listed or "[]"):
        if route.get("dst", "default") == "default":
            continue
        taken = IPv4Network(route["dst"], strict=False)
        for cidr in settings.network.virtual_machine_cidrs:
            if cidr.overlaps(taken):
                return bad(
                    f"The machines' addresses {cidr} overlap with {taken} on {route.get('dev', 'this host')}.",
                    "choose others: network.virtual_machine_cidrs in /etc/hyperd/hyperd.toml",
                )
    return None


def registry(host: Host, settings: Settings) -> Finding | None:
    binary = settings.registry.binary
    if settings.registry.url or host.which(binary):
        return None
    return bad(f"The embedded registry's program {binary} is not installed.", "apt-get install docker-registry")


def lazy_images(host: Host, settings: Settings) -> Finding | None:
    """libvirt's profiles let a guest's QEMU open the files that its disks are, and no socket."""
    socket_path = settings.lazy_socket
    if not settings.imports.lazy or not _apparmor(host) or str(socket_path) in (host.read(QEMU_RULES) or ""):
        return None
    return bad(
        f"AppArmor keeps QEMU from {socket_path}: machines cannot start while their image comes (imports.lazy).",
        f"echo '  {socket_path} rw,' >> {QEMU_RULES}",
    )


def emulator(host: Host, settings: Settings) -> Finding | None:
    """libvirt's profiles let it start QEMU where Debian has it, and nothing that stands in QEMU's place."""
    folder = settings.emulator_dir
    lacking = {
        path: rule
        for path, rule in (
            (LIBVIRT_RULES, f"{folder}/emulator PUx,"),
            (QEMU_RULES, f"{folder}/emulator rmix, {folder}/emulator.sock rw,"),
        )
        if str(folder) not in (host.read(path) or "")
    }
    in_pods = settings.home == "kubernetes" and settings.kubernetes.pods
    if not in_pods or not _apparmor(host) or not lacking:
        return None
    lines = [f"echo '  {rule}' >> {path}" for path, rule in lacking.items()]
    return bad(
        f"AppArmor keeps libvirt from {folder}/emulator: machines cannot start in Pods (kubernetes.pods).",
        " && ".join([*lines, "systemctl reload apparmor"]),
    )


def disk_space(host: Host, settings: Settings) -> Finding:
    free = host.free_bytes(settings.state_dir)
    shown = f"{free / GIB:.1f} GiB"
    if free < settings.storage.reserve_bytes:
        return bad(
            f"Only {shown} are free at {settings.state_dir}; new disks leave"
            f" {settings.storage.reserve_bytes / GIB:g} GiB untouched, so none can be made.",
            f"du -xh --max-depth=1 {settings.state_dir}",
        )
    if free < settings.storage.reserve_bytes + 5 * GIB:
        return hint(
            f"Only {shown} are free at {settings.state_dir}.", f"du -xh --max-depth=1 {settings.state_dir}"
        )
    return ok(f"{shown} are free at {settings.state_dir}.")


def block_pools(host: Host, settings: Settings) -> Finding | None:
    """The disks of ``storage.pools``, and what makes partitions on them."""
    pools = [pool for pool in settings.storage.pools if pool.kind is PoolKind.BLOCK]
    missing = [tool for tool in PARTITION_TOOLS if not host.which(tool)]
    if pools and missing:
        return bad(
            f"Pool {pools[0].name} is a disk, and {', '.join(missing)} are not installed.",
            "apt-get install fdisk util-linux",
        )
    for pool in pools:
        if host.facts(str(pool.path)) is None:
            return bad(f"Pool {pool.name} has no disk: {pool.path} does not exist.", "ls -l /dev/disk/by-id")
    if pools and host.facts("/run/udev") is not None and host.facts(UDEV_RULES) is None:
        return hint(
            f"What a guest writes to a disk in pool {pools[0].name} this host may take for a volume group, a RAID "
            f"or a file system of its own: {UDEV_RULES} is missing.",
            f"install -m 0644 {Path(__file__).parents[1] / 'data'}/59-hyperd.rules {UDEV_RULES}",
        )
    if pools and host.which("pvscan") and not _LVM_CHOOSES.search(host.read(LVM_CONFIG) or ""):
        return hint(
            f"The commands of LVM read the disks of guests in pool {pools[0].name}: no global_filter stands in "
            f"{LVM_CONFIG}.",
            "lvmconfig devices/global_filter",
        )
    return None


def memory(host: Host, settings: Settings) -> Finding:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", host.read("/proc/meminfo") or "", re.MULTILINE)
    available = int(found[1]) * 1024 if found else 0
    left = available - settings.hypervisor.reserved_memory_bytes
    if left < GIB // 2:
        return hint(
            f"{max(left, 0) / GIB:.1f} GiB of memory are left for machines; others wait.",
            "hv get vm -A   # and stop what is not needed",
        )
    return ok(f"{left / GIB:.1f} GiB of memory are left for machines.")


def cgroups(host: Host, _: Settings) -> Finding | None:
    if host.facts("/sys/fs/cgroup/cgroup.controllers") or host.facts("/sys/fs/cgroup/memory"):
        return None
    return hint(
        "There are no control groups, so CPU fractions of machines are not enforced.",
        "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
    )


def clock(host: Host, _: Settings) -> Finding | None:
    if host.clock_synchronized():
        return None
    return hint("The clock is not synchronized; certificates and leases depend on it.", "apt-get install chrony")


def python_packages(host: Host, _: Settings) -> Finding | None:
    pip = "python -m pip install --force-reinstall"
    if not host.has_module("aiohttp._http_parser"):
        return bad(
            "aiohttp lacks its compiled parser; the one in Python has holes that let requests be smuggled.",
            f"{pip} --only-binary aiohttp aiohttp",
        )
    found = host.package_version("apsw")
    if found is None or _version(found) < OLDEST_APSW:
        return bad(f"apsw {found or '(missing)'} carries a SQLite that can lose commits.", f"{pip} apsw")
    return None


def daemon(host: Host, settings: Settings) -> Finding:
    socket_path = str(settings.socket_path)
    if host.is_live(socket_path):
        return ok(f"hyperd answers at {socket_path}.")
    managed = _systemd(host)
    if host.answers(socket_path):
        return bad(
            f"hyperd holds {socket_path} and answers nothing: it hangs, or is stopped.",
            "systemctl restart hyperd" if managed else "restart it; guests do not notice",
        )
    return bad(
        f"hyperd does not run, or not at {socket_path}; HYPERD_SOCKET or --config names another one.",
        "systemctl start hyperd && journalctl --unit hyperd --lines 20" if managed else "hyperd &",
    )


CHECKS: tuple[Check, ...] = (
    root,
    kvm,
    qemu_user,
    qemu,
    firmware,
    libvirt,
    virtlogd,
    tun,
    forwarding,
    nft,
    addresses,
    registry,
    lazy_images,
    emulator,
    disk_space,
    block_pools,
    memory,
    cgroups,
    clock,
    python_packages,
    daemon,
)


def examine(host: Host, settings: Settings) -> list[Finding]:
    """All findings, in the order in which a person would mend them."""
    return [finding for check in CHECKS if (finding := check(host, settings)) is not None]


def _apparmor(host: Host) -> bool:
    return (host.read("/sys/module/apparmor/parameters/enabled") or "").strip() == "Y"


def _systemd(host: Host) -> bool:
    return host.facts("/run/systemd/system") is not None


def _start(host: Host, daemon_name: str, *, again: bool = False) -> str:
    if _systemd(host):
        return f"systemctl {'restart' if again else 'start'} {daemon_name}"
    return f"{daemon_name} --daemon"


def _version(text: str | None) -> tuple[int, ...]:
    found = re.search(r"\d+(?:\.\d+)+", text or "")
    return tuple(int(part) for part in found[0].split(".")) if found else (0, 0)


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(str(number) for number in numbers)
