"""A daemon of one node, and one whose leader binds: each whole, over a host that has room for one machine."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import pytest

from hyperd import daemon
from hyperd.background import Work
from hyperd.controllers.context import Context
from hyperd.controllers.node.heartbeat import Heartbeat
from hyperd.controllers.ownership import NodeOwner
from hyperd.controllers.placement import binding, placing
from hyperd.controllers.placement.binder import Binder
from hyperd.controllers.placement.interface import Placement
from hyperd.home import EmbeddedHome
from hyperd.hypervisor.facts.host import HostFacts
from hyperd.offload import Offload
from hyperd.resources.all import NAMESPACE, NODE, VIRTUAL_DISK, VIRTUAL_MACHINE, VIRTUAL_MACHINE_CLASS
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.conditions import find_condition
from hyperd.resources.values.names import SYSTEM_NAMESPACE
from hyperd.runtime.controller import Manager
from hyperd.settings import Settings
from hyperd.store.interface import PatchType
from tests.testdriver.hypervisor import MEMORY_BYTES, URI, TestDriver
from tests.testdriver.world import TEST_DRIVER
from tests.unit.controllers.world import World, running

HERE = "metal"
WHOLE: Final[Object] = {"cores": 1}
HALF: Final[Object] = {"cores": 1, "coreFraction": "50%"}
"""Of the one core that there is."""


class BoundHome(EmbeddedHome):
    """As in a cluster nothing is a node's before it is bound; that the objects are in SQLite nobody can tell."""

    def __init__(self, settings: Settings, processes: Offload | None = None) -> None:
        super().__init__(settings, processes)
        self.ownership = NodeOwner(settings.node, lambda: True)

    async def open(self) -> None:
        await super().open()
        await self.store.create(NAMESPACE, "", {"metadata": {"name": SYSTEM_NAMESPACE}})

    def placement(self, context: Context) -> Placement:
        return Binder(context)

    def beside(self, context: Context, manager: Manager) -> Sequence[Work]:
        return [Heartbeat(context).run]


class OneCore(TestDriver):
    """A host with room for one machine of one core."""

    async def facts(self) -> HostFacts:
        return replace(await super().facts(), cpus=1)

    async def free_memory(self) -> int:
        """As of QEMU's host others have their turn before it is known."""
        return await asyncio.to_thread(lambda: MEMORY_BYTES)


@dataclass
class Site:
    """The node, and what a user does."""

    world: World
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def disk(self) -> str:
        """One that may or may not get its volume."""
        name = f"d{next(self.numbers)}"
        meta: Object = {"namespace": "default", "name": name}
        body: Object = {"metadata": meta, "spec": {"persistentVolumeClaim": {"size": "1Mi"}}}
        await self.world.store.create(VIRTUAL_DISK, "default", body)
        return name

    async def volume(self) -> str:
        """A disk that has its volume."""
        name = await self.disk()
        await self.world.phase("Ready", VIRTUAL_DISK, name)
        return name

    async def machine(self, name: str, **spec: object) -> None:
        """One that wants to run, on the disk of its name."""
        body: Object = {
            "metadata": {"namespace": "default", "name": name},
            "spec": {
                "cpu": HALF,
                "memory": {"size": "128Mi"},
                "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name}],
                "runPolicy": "AlwaysOnUnlessStoppedManually",
                **spec,
            },
        }
        await self.world.store.create(VIRTUAL_MACHINE, "default", body)

    async def stop(self, name: str) -> None:
        """Have the machine off for good."""
        off = {"spec": {"runPolicy": "AlwaysOff"}}
        await self.world.store.patch(VIRTUAL_MACHINE, "default", name, PatchType.MERGE, off)
        await self.world.phase("Stopped", VIRTUAL_MACHINE, name)

    async def start(self, name: str) -> None:
        """Have it run again."""
        on = {"spec": {"runPolicy": "AlwaysOn"}}
        await self.world.store.patch(VIRTUAL_MACHINE, "default", name, PatchType.MERGE, on)

    async def first_running(self, some: Collection[str]) -> str:
        """The first of the machines that runs."""
        async with asyncio.timeout(20), self.world.store.watch(VIRTUAL_MACHINE, "default") as events:
            async for event in events:
                machine = event.item.object()
                if event.item.name in some and (machine.get("status") or {}).get("phase") == "Running":
                    return event.item.name
        raise AssertionError("the watch ended")

    async def class_(self, **spec: object) -> str:
        name = f"c{next(self.numbers)}"
        body: Object = {"metadata": {"name": name}, "spec": {"cpu": {"type": "Host"}, **spec}}
        await self.world.store.create(VIRTUAL_MACHINE_CLASS, "", body)
        return name

    async def node(self, **changed: object) -> None:
        await self.world.store.patch(NODE, "", HERE, PatchType.MERGE, changed)

    async def runs(self, name: str) -> None:
        """Wait until the machine runs, and is said to run here."""
        self.world.look_at(VIRTUAL_MACHINE, name)
        machine = await self.world.phase("Running", VIRTUAL_MACHINE, name)
        assert machine["status"]["nodeName"] == HERE

    async def waits(self, name: str, *words: str) -> None:
        """Wait until the machine is said not to run for a reason that names the node and all of ``words``."""
        machine = await self.shows(VIRTUAL_MACHINE, name, "Running", HERE, *words)
        found = find_condition(machine, "Running") or {}
        assert (machine["status"]["phase"], found["reason"]) == ("Pending", "PodNotStarted")

    async def shows(self, kind: Kind, name: str, condition: str, *words: str) -> Object:
        """The object, once a condition of it says all of this."""
        return await self.world.until(
            lambda obj: all(word in str(find_condition(obj, condition)) for word in words), kind, name
        )

    async def ready(self) -> None:
        """The node has told what it has."""
        async with self.world.store.watch(NODE, "") as events:
            async for event in events:
                conditions = (event.item.object().get("status") or {}).get("conditions") or ()
                if any(one["type"] == "Ready" and one["status"] == "True" for one in conditions):
                    return


@pytest.fixture(params=["one node", "binder"])
async def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    if request.param == "binder":
        monkeypatch.setattr(daemon, "make_home", BoundHome)
        monkeypatch.setattr(binding, "_AGAIN_SECONDS", 0.2)
        monkeypatch.setattr(placing, "SERVED_SECONDS", 0.0)
    small = replace(TEST_DRIVER, hypervisor=lambda conf: OneCore(conf.hypervisor, instance=conf.instance))
    settings = {
        "node_name": HERE,
        "kubernetes": {"allow_emulation": True},
        "hypervisor": {"uri": URI, "cpu_allocation_ratio": 1},
    }
    async with running(small, **settings) as world:
        found = Site(world)
        await found.ready()
        yield found
