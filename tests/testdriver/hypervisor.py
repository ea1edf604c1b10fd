"""The test driver as a hypervisor: what it has is asked of it as of QEMU, what it lacks is left out."""

from __future__ import annotations

import asyncio
import platform
import socket
from functools import partial
from typing import Final
from xml.etree import ElementTree as ET

import libvirt

from hyperd import clock
from hyperd.errors import TemporaryError
from hyperd.hypervisor.actions.reader import lookup
from hyperd.hypervisor.facts.host import HostFacts
from hyperd.hypervisor.hypervisor import LibvirtHypervisor
from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.state import DomainInfo
from hyperd.hypervisor.xml.domain import domain_xml

URI: Final = "test:///default"
"""A host in this process, there as long as somebody is connected to it."""
CPUS: Final = 4096
MEMORY_BYTES: Final = 1 << 44
_SECONDS = 60.0
_TAKEN = ("name", "uuid", "title", "metadata", "memory", "vcpu")


class TestDriver(LibvirtHypervisor):
    """A host with room for any number of domains, whose guests obey at once."""

    __test__ = False

    async def facts(self) -> HostFacts:
        version = await self._reads.call("read the version", lambda conn: conn.getLibVersion(), timeout=_SECONDS)
        boot_id = await asyncio.to_thread(clock.boot_id)
        return HostFacts(
            hostname=socket.gethostname(),
            architecture=platform.machine(),
            cpus=CPUS,
            memory_bytes=MEMORY_BYTES,
            machine_id="",
            boot_id=boot_id,
            kernel=platform.release(),
            os_image="",
            kvm_usable=False,
            why_not_kvm="The test driver runs nothing.",
            libvirt_version=f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}",
            qemu_version="",
            cpu_tuning=True,
            hot_plug=False,
        )

    async def qemu_version(self) -> str:
        return ""

    async def free_memory(self) -> int:
        return MEMORY_BYTES

    async def define(self, spec: DomainSpec) -> None:
        xml = reduced(domain_xml(spec))
        await self._reads.call(f"define domain {spec.uid}", lambda conn: conn.defineXML(xml), timeout=_SECONDS)

    async def define_and_start(self, spec: DomainSpec, *, paused: bool = False) -> DomainInfo:
        await self.define(spec)
        await self.start_domain(spec.uid, paused=paused)
        info = await self.info(spec.uid)
        if info is None:
            raise TemporaryError(f"Domain {spec.uid} was started and is gone already.")
        return info

    async def start_domain(self, uid: str, *, paused: bool = False) -> None:
        await self._act("start", uid, partial(_start, uid=uid, paused=paused))

    async def shutdown(self, uid: str) -> None:
        await self._act("shut down", uid, partial(_shutdown, uid=uid))

    async def resume(self, uid: str) -> None:
        await self._act("resume", uid, partial(_resume, uid=uid))

    async def undefine(self, uid: str, *, nvram: bool = True) -> None:
        await self._act("undefine", uid, partial(_undefine, uid=uid))


def reduced(xml: str) -> str:
    """Of a domain's XML what the driver takes: what it is, and no devices."""
    domain = ET.fromstring(xml)
    domain.set("type", "test")
    for element in list(domain):
        if element.tag not in _TAKEN:
            domain.remove(element)
    ET.SubElement(ET.SubElement(domain, "os"), "type").text = "hvm"
    return ET.tostring(domain, encoding="unicode")


def _start(conn: libvirt.virConnect, uid: str, *, paused: bool) -> None:
    """Of one that runs it says no more than that something is wrong."""
    domain = lookup(conn, uid)
    if not domain.isActive():
        domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)


def _shutdown(conn: libvirt.virConnect, uid: str) -> None:
    """It knows no buttons."""
    domain = lookup(conn, uid)
    if domain.isActive():
        domain.shutdown()


def _resume(conn: libvirt.virConnect, uid: str) -> None:
    domain = lookup(conn, uid)
    if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
        domain.resume()


def _undefine(conn: libvirt.virConnect, uid: str) -> None:
    """It keeps no firmware and no checkpoints."""
    try:
        lookup(conn, uid).undefineFlags(
            libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        )
    except libvirt.libvirtError as err:
        if err.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
