"""Each hypervisor in turn: the tests' own over libvirt's test driver, and the product's over QEMU."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import libvirt
import pytest

from hyperd.hypervisor.hypervisor import LibvirtHypervisor
from hyperd.hypervisor.interface import Hypervisor
from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.state import DomainEvent, DomainInfo, DomainState
from hyperd.settings import HypervisorSettings
from tests.host.conftest import libvirt_uri, node
from tests.testdriver.hypervisor import URI, TestDriver
from tests.unit.hypervisor import specs

__all__ = ["libvirt_uri", "node"]

SECONDS = 60.0


@dataclass
class Made:
    """One hypervisor that is connected, what it tells, and how another one for the same domains is made."""

    hypervisor: Hypervisor
    another: Callable[[str], Hypervisor]
    events: list[DomainEvent] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def heard(self, _: str, event: DomainEvent) -> None:
        self.events.append(event)
        self.news.set()

    async def told(self, uid: str, *kinds: str) -> None:
        """Wait until events of these kinds have come for a domain."""
        async with asyncio.timeout(SECONDS):
            while not set(kinds) <= {event.kind for event in self.events if event.uid == uid}:
                self.news.clear()
                await self.news.wait()

    async def state(self, uid: str, wanted: DomainState) -> DomainInfo:
        """Wait until the domain is in that state; events say when to look."""
        async with asyncio.timeout(SECONDS):
            while True:
                self.news.clear()
                info = await self.hypervisor.info(uid)
                if info is not None and info.state is wanted:
                    return info
                await self.news.wait()


async def connect(hypervisor: Hypervisor) -> None:
    there = asyncio.Event()
    hypervisor.on_connection(lambda connected: there.set() if connected else None)
    await hypervisor.start()
    async with asyncio.timeout(SECONDS):
        await there.wait()


@pytest.fixture(params=["test-driver", pytest.param("qemu", marks=pytest.mark.root)])
async def made(request: pytest.FixtureRequest) -> AsyncIterator[Made]:
    def driver(instance: str) -> Hypervisor:
        return TestDriver(HypervisorSettings(uri=URI, resync_seconds=60), instance=instance)

    def qemu(instance: str) -> Hypervisor:
        host = request.getfixturevalue("node")
        run_dir = host.run_dir / "libvirt" / "qemu"
        return LibvirtHypervisor(HypervisorSettings(uri=host.uri, qemu_run_dir=run_dir), instance=instance)

    another = driver
    if request.param == "qemu":
        request.getfixturevalue("libvirt_uri")
        another = qemu
    # The test driver's host is there as long as somebody is connected to it.
    held = await asyncio.to_thread(libvirt.open, URI)
    opened = Made(another("contract"), another)
    opened.hypervisor.on_domain(opened.heard)
    await connect(opened.hypervisor)
    yield opened
    for uid in await opened.hypervisor.list_owned():
        await opened.hypervisor.destroy(uid)
        await opened.hypervisor.undefine(uid)
    await opened.hypervisor.close()
    await asyncio.to_thread(held.close)


@pytest.fixture
def hypervisor(made: Made) -> Hypervisor:
    return made.hypervisor


@pytest.fixture
def spec() -> DomainSpec:
    """A guest without disks: of QEMU, its firmware waits for one."""
    return replace(specs.BARE, uid=str(uuid.uuid4()), instance="contract")
