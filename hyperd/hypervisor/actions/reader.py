"""Blocking reads of domains, run in worker threads.

What counts is what libvirt says now; the one thing it is not believed in is an absence. Right after libvirtd
starts it may not list a domain whose QEMU it has yet to adopt, so "gone" also needs QEMU's pid file to be stale.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import libvirt

from hyperd import errors
from hyperd.hypervisor.connection.events import names
from hyperd.hypervisor.slots import Slots
from hyperd.hypervisor.spec import domain_name
from hyperd.hypervisor.state import (
    DiskStats,
    DomainDisk,
    DomainInfo,
    DomainState,
    DomainStats,
    GuestInfo,
    IoError,
    NicStats,
)
from hyperd.hypervisor.xml.domain import APPLIED_BEFORE, METADATA_NAMESPACE
from hyperd.hypervisor.xml.layout import read_slots

_STATES = {
    libvirt.VIR_DOMAIN_RUNNING: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: DomainState.PAUSED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: DomainState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: DomainState.SHUTDOWN,
    libvirt.VIR_DOMAIN_SHUTOFF: DomainState.SHUTOFF,
    libvirt.VIR_DOMAIN_CRASHED: DomainState.CRASHED,
}
_REASONS = {
    libvirt.VIR_DOMAIN_RUNNING: names("VIR_DOMAIN_RUNNING_"),
    libvirt.VIR_DOMAIN_PAUSED: names("VIR_DOMAIN_PAUSED_"),
    libvirt.VIR_DOMAIN_SHUTOFF: names("VIR_DOMAIN_SHUTOFF_"),
    libvirt.VIR_DOMAIN_CRASHED: names("VIR_DOMAIN_CRASHED_"),
}
_IO_ERRORS = {
    libvirt.VIR_DOMAIN_DISK_ERROR_NO_SPACE: IoError.NO_SPACE,
    libvirt.VIR_DOMAIN_DISK_ERROR_UNSPEC: IoError.OTHER,
}
_MARK = f"metadata/{{{METADATA_NAMESPACE}}}vm"
_AGENT = "devices/channel/target[@name='org.qemu.guest_agent.0']"
_SAMPLED = (
    libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_VCPU
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)
_GUEST_TEXT_LIMIT = 256


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes whenever a domain starts, stops or pauses; ``id`` is new with every start."""

    state: int
    reason: int
    id: int

    @property
    def domain_state(self) -> DomainState:
        return _STATES.get(self.state, DomainState.SHUTOFF)


class Reader:
    """Reads the domains of ``instance``; ``run_dir`` is where libvirt keeps QEMU's pid files."""

    def __init__(self, instance: str, run_dir: Path) -> None:
        self._instance = instance
        self._run_dir = run_dir

    def stamps(self, conn: libvirt.virConnect) -> dict[str, Stamp]:
        """All domains that are ours by name, in one call."""
        found = {}
        for dom, stats in conn.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, 0):
            uid = dom.UUIDString()
            if dom.name() == domain_name(self._instance, uid):
                found[uid] = Stamp(stats.get("state.state", 0), stats.get("state.reason", 0), dom.ID())
        return found

    def list_owned(self, conn: libvirt.virConnect) -> dict[str, DomainInfo]:
        """All domains of the instance."""
        return self.infos(conn, self.stamps(conn))

    def infos(self, conn: libvirt.virConnect, uids: Collection[str]) -> dict[str, DomainInfo]:
        """Those of ``uids`` that are there and ours."""
        found = ((uid, self._read(conn, uid)) for uid in uids)
        return {uid: info for uid, info in found if info is not None}

    def info(self, conn: libvirt.virConnect, uid: str) -> DomainInfo | None:
        """One domain. Raises ServiceUnavailable where libvirt has lost sight of a QEMU that lives."""
        info = self._read(conn, uid)
        if info is None and self.qemu_lives(uid):
            raise errors.ServiceUnavailable(
                f"libvirt does not list domain {uid}, though its QEMU runs; it may still be adopting it."
            )
        return info

    def slots(self, conn: libvirt.virConnect, uid: str) -> Slots:
        """Where the devices sit: of the running QEMU, else of the definition; none without a domain."""
        if (dom := _find(conn, uid)) is None:
            return {}
        return read_slots(ET.fromstring(dom.XMLDesc(0)))  # noqa: S314  libvirtd's own XML

    def qemu_lives(self, uid: str) -> bool:
        """Whether the process in the domain's pid file is a QEMU of this domain."""
        if (pid := self._pid(uid)) is None:
            return False
        try:
            return uid.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    def io_errors(self, conn: libvirt.virConnect, uid: str) -> dict[str, IoError]:
        """Target → error."""
        found = lookup(conn, uid).diskErrors(0)
        return {target: _IO_ERRORS.get(code, IoError.OTHER) for target, code in found.items() if code}

    def stats(self, conn: libvirt.virConnect, uids: Collection[str] | None) -> dict[str, DomainStats]:
        """One sample of each running domain; a busy QEMU is skipped rather than waited for."""
        flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        if uids is None:
            active = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
            records = conn.getAllDomainStats(_SAMPLED, flags | active)
        elif domains := [dom for uid in uids if (dom := _find(conn, uid)) is not None]:
            records = conn.domainListGetStats(domains, _SAMPLED, flags)
        else:
            return {}
        return {
            uid: _sample(raw)
            for dom, raw in records
            if dom.name() == domain_name(self._instance, uid := dom.UUIDString())
        }

    def _read(self, conn: libvirt.virConnect, uid: str) -> DomainInfo | None:
        if (dom := _find(conn, uid)) is None:
            return None
        try:
            tree = ET.fromstring(dom.XMLDesc(0))  # noqa: S314  libvirtd's own XML
            state, reason = dom.state()
            persistent = bool(dom.isPersistent())
        except libvirt.libvirtError as err:
            if err.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise
        mark = tree.find(_MARK)
        if mark is None or mark.get("instance") != self._instance:
            return None
        agent = tree.find(_AGENT)
        generation, epoch = mark.get("generation", ""), mark.get("epoch", "")
        return DomainInfo(
            uid=uid,
            namespace=mark.get("namespace", ""),
            vm_name=mark.get("name", ""),
            generation=int(generation) if generation.isdecimal() else 0,
            applied=mark.get("applied", mark.get(APPLIED_BEFORE, "")),
            state=_STATES.get(state, DomainState.SHUTOFF),
            reason=_REASONS.get(state, {}).get(reason, ""),
            persistent=persistent,
            pid=self._pid(uid) if dom.ID() >= 0 else None,
            agent_connected=agent is not None and agent.get("state") == "connected",
            disks=tuple(_disks(tree)),
            epoch=int(epoch) if epoch.isdecimal() else 0,
        )

    def _pid(self, uid: str) -> int | None:
        try:
            return int((self._run_dir / f"{domain_name(self._instance, uid)}.pid").read_text())
        except (OSError, ValueError):
            return None


def lookup(conn: libvirt.virConnect, uid: str) -> libvirt.virDomain:
    """The domain. Raises libvirt's NO_DOMAIN."""
    return conn.lookupByUUIDString(uid)


def open_graphics(conn: libvirt.virConnect, uid: str) -> socket.socket:
    """A connected VNC socket, past any password: the API has authorised the caller.

    An object and no bare descriptor: it closes itself where the caller has left before this answers.
    """
    fd: int = lookup(conn, uid).openGraphicsFD(0, libvirt.VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH)
    return socket.socket(fileno=fd)


def guest_info(conn: libvirt.virConnect, uid: str, *, timeout: float) -> GuestInfo:
    """What the agent says in ``timeout`` seconds."""
    dom = lookup(conn, uid)
    with contextlib.suppress(libvirt.libvirtError):  # not all versions can
        dom.agentSetResponseTimeout(max(1, round(timeout)), 0)
    answer = dom.guestInfo(libvirt.VIR_DOMAIN_GUEST_INFO_OS | libvirt.VIR_DOMAIN_GUEST_INFO_HOSTNAME, 0)

    def text(key: str) -> str:
        return str(answer.get(key, ""))[:_GUEST_TEXT_LIMIT]

    return GuestInfo(
        os_id=text("os.id"),
        os_name=text("os.name"),
        os_pretty_name=text("os.pretty-name"),
        os_version=text("os.version"),
        os_version_id=text("os.version-id"),
        kernel_release=text("os.kernel-release"),
        kernel_version=text("os.kernel-version"),
        machine=text("os.machine"),
        hostname=text("hostname"),
    )


def _find(conn: libvirt.virConnect, uid: str) -> libvirt.virDomain | None:
    try:
        return lookup(conn, uid)
    except libvirt.libvirtError as err:
        if err.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def _disks(tree: ET.Element) -> Iterator[DomainDisk]:
    for disk in tree.iterfind("devices/disk"):
        target = disk.find("target")
        yield DomainDisk(
            target="" if target is None else target.get("dev", ""), serial=disk.findtext("serial", "")
        )


def _sample(raw: dict[str, Any]) -> DomainStats:
    return DomainStats(
        cpu_time_ns=raw.get("cpu.time", 0),
        vcpus=raw.get("vcpu.current", 0),
        vcpu_delay_ns=sum(raw.get(f"vcpu.{n}.delay", 0) for n in range(raw.get("vcpu.maximum", 0))),
        memory_bytes=raw.get("balloon.current", 0) * 1024,
        resident_bytes=raw.get("balloon.rss", 0) * 1024,
        usable_bytes=raw["balloon.usable"] * 1024
        if raw.get("balloon.last-update") and "balloon.usable" in raw
        else None,
        disks=tuple(
            DiskStats(
                target=raw.get(f"block.{n}.name", ""),
                read_bytes=raw.get(f"block.{n}.rd.bytes", 0),
                read_requests=raw.get(f"block.{n}.rd.reqs", 0),
                write_bytes=raw.get(f"block.{n}.wr.bytes", 0),
                write_requests=raw.get(f"block.{n}.wr.reqs", 0),
            )
            for n in range(raw.get("block.count", 0))
        ),
        nics=tuple(
            NicStats(
                tap=raw.get(f"net.{n}.name", ""),
                rx_bytes=raw.get(f"net.{n}.rx.bytes", 0),
                tx_bytes=raw.get(f"net.{n}.tx.bytes", 0),
            )
            for n in range(raw.get("net.count", 0))
        ),
    )
