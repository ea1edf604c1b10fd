"""A connected LibvirtHypervisor on the private node, and a record of what it tells."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

import pytest
from blockbuster import blockbuster_ctx

from hyperd.hypervisor.hypervisor import LibvirtHypervisor
from hyperd.hypervisor.spec import DomainSpec
from hyperd.hypervisor.state import DomainEvent
from hyperd.settings import HypervisorSettings
from tests.host.node import Node
from tests.unit.hypervisor import specs


class Record:
    """Events of a LibvirtHypervisor, to wait on."""

    def __init__(self, hypervisor: LibvirtHypervisor) -> None:
        self.events: list[DomainEvent] = []
        self.connections: list[bool] = []
        self._news = asyncio.Event()
        hypervisor.on_domain(lambda _uid, event: self._add(self.events, event))
        hypervisor.on_connection(lambda connected: self._add(self.connections, connected))

    async def until(self, condition: Callable[[Record], bool], *, timeout: float = 20.0) -> None:
        """Return once ``condition`` holds of this record."""
        async with asyncio.timeout(timeout):
            while not condition(self):
                self._news.clear()
                await self._news.wait()

    async def event(self, kind: str, *, timeout: float = 20.0) -> DomainEvent:
        """The last event of ``kind``, as soon as there is one."""
        await self.until(lambda record: any(event.kind == kind for event in record.events), timeout=timeout)
        return next(event for event in reversed(self.events) if event.kind == kind)

    def _add(self, where: list[DomainEvent] | list[bool], what: DomainEvent | bool) -> None:
        where.append(what)  # type: ignore[arg-type]
        self._news.set()


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> Iterator[None]:
    """Fail where hyperd itself blocks the event loop."""
    with blockbuster_ctx("hyperd"):
        yield


def settings(node: Node, **changes: object) -> HypervisorSettings:
    """Settings that reach the node's libvirtd from outside."""
    values = {"uri": node.uri, "qemu_run_dir": node.run_dir / "libvirt" / "qemu", **changes}
    return HypervisorSettings.model_validate(values)


@pytest.fixture
async def hypervisor(node: Node, libvirt_uri: str) -> AsyncIterator[LibvirtHypervisor]:
    opened = LibvirtHypervisor(settings(node), instance="hyperd")
    await opened.start()
    await opened.wait_connected()
    yield opened
    await opened.close()


@pytest.fixture
def record(hypervisor: LibvirtHypervisor) -> Record:
    return Record(hypervisor)


@pytest.fixture
def spec() -> DomainSpec:
    """A guest without disks; its firmware waits for one."""
    return replace(specs.BARE, uid=str(uuid.uuid4()))
