"""A whole daemon in this process, over libvirt's test driver, with one machine of one disk."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import libvirt

from hyperd.controllers.machine.controller import MachineController
from hyperd.controllers.operation.controller import OperationController
from hyperd.daemon import Daemon
from hyperd.hypervisor.interface import Hypervisor
from hyperd.resources.all import EVENT, VIRTUAL_DISK, VIRTUAL_MACHINE, VIRTUAL_MACHINE_OPERATION
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.meta import Key
from hyperd.settings import Settings
from hyperd.store.interface import EventType, Store
from hyperd.world import World as Parts
from tests.testdriver.hypervisor import URI
from tests.testdriver.world import TEST_DRIVER

KEPT = 3
NAME = Key("default", "vm")


class World:
    """One daemon; ``restart`` makes another one over the same state, and guests go on."""

    def __init__(self, folder: Path, on: Parts, settings: Mapping[str, object]) -> None:
        self._on = on
        self._settings = Settings.model_validate(
            {
                "instance": "inproc",
                "state_dir": folder / "s",
                "run_dir": folder / "r",
                "log_dir": folder / "l",
                "api": {"port": 0},
                "hypervisor": {"uri": URI},
                "registry": {"url": "http://127.0.0.1:9"},
                "network": {"virtual_machine_cidrs": []},
                "storage": {"reserve_bytes": 0},
                "operations": {"keep_per_vm": KEPT},
                **settings,
            }
        )
        self._daemon = Daemon(self._settings, self._on)

    async def start(self) -> None:
        await self._daemon.start()

    async def stop(self) -> None:
        await self._daemon.stop()

    async def restart(self) -> None:
        await self.stop()
        await self.begin_anew()

    async def begin_anew(self) -> None:
        """After ``stop``."""
        self._daemon = Daemon(self._settings, self._on)
        await self.start()

    @property
    def store(self) -> Store:
        return self._daemon._context.store

    @property
    def hypervisor(self) -> Hypervisor:
        return self._daemon._context.hypervisor

    def look_at(self, kind: Kind, name: str) -> None:
        """Have all that works on an object look at it now, as at the end of a timer."""
        for controller in self._daemon._controllers:
            if controller.kind is kind:
                controller.enqueue(Key("default", name))

    def look(self) -> None:
        """Have the machine and its operations looked at now, as at the end of a timer."""
        for controller in self._daemon._controllers:
            if isinstance(controller, MachineController):
                controller.enqueue(NAME)
            elif isinstance(controller, OperationController):
                for item in controller._operations.items():
                    controller.enqueue(Key(item.namespace, item.name))

    async def settled(self) -> None:
        """Nothing is worked on, and nothing waits to be."""
        while any(c.queue._dirty or c.queue._working for c in self._daemon._controllers):
            await asyncio.sleep(0.01)

    async def looked(self) -> None:
        await asyncio.sleep(0.05)
        self.look()
        await self.settled()

    async def make(self, **spec: object) -> Object:
        """A machine that runs."""
        await self.give_disk()
        await self.make_machine(**spec)
        return await self.phase("Running")

    @property
    def settings(self) -> Settings:
        return self._settings

    @property
    def state_dir(self) -> Path:
        return self._settings.state_dir

    async def wait_for_disk(self) -> Object:
        """A machine that waits for a disk, which ``give_disk`` makes."""
        await self.make_machine()
        return await self.phase("Pending")

    async def give_disk(self, **claim: str) -> None:
        spec = {"persistentVolumeClaim": {"size": "1Mi", **claim}}
        disk: Object = {"metadata": {"namespace": "default", "name": "vm"}, "spec": spec}
        await self.store.create(VIRTUAL_DISK, "default", disk)
        await self.phase("Ready", VIRTUAL_DISK)

    async def make_machine(self, **spec: object) -> None:
        body: Object = {
            "metadata": {"namespace": "default", "name": "vm"},
            "spec": {
                "cpu": {"cores": 1},
                "memory": {"size": "128Mi"},
                "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "vm"}],
                "runPolicy": "AlwaysOnUnlessStoppedManually",
                **spec,
            },
        }
        await self.store.create(VIRTUAL_MACHINE, "default", body)

    async def operate(self, type_: str, name: str, **spec: object) -> None:
        body = {
            "metadata": {"namespace": "default", "name": name},
            "spec": {"type": type_, "virtualMachineName": "vm", **spec},
        }
        await self.store.create(VIRTUAL_MACHINE_OPERATION, "default", body)

    async def phase(self, wanted: str, kind: Kind = VIRTUAL_MACHINE, name: str = "vm") -> Object:
        return await self.until(lambda obj: (obj.get("status") or {}).get("phase") == wanted, kind, name)

    async def ended(self, kind: Kind, name: str) -> Object:
        """An operation is Completed, or Failed."""
        return await self.until(
            lambda op: (op.get("status") or {}).get("phase") in ("Completed", "Failed"), kind, name
        )

    async def until(self, holds: Callable[[Object], bool], kind: Kind, name: str) -> Object:
        where = "default" if kind.namespaced else None
        async with asyncio.timeout(20), self.store.watch(kind, where) as events:
            async for event in events:
                if event.item.name == name and event.type is not EventType.DELETED:
                    found: Object = event.item.object()
                    if holds(found):
                        return found
        raise AssertionError(f"the watch of {name} ended")

    async def told(self, *reasons: str) -> None:
        """There are events of all these reasons."""
        missing = set(reasons)
        async with asyncio.timeout(20), self.store.watch(EVENT, "default") as events:
            async for event in events:
                if event.type in (EventType.ADDED, EventType.MODIFIED):
                    missing.discard(event.item.object()["reason"])
                if not missing:
                    return

    async def gone(self, kind: Kind = VIRTUAL_MACHINE, name: str = "vm") -> None:
        async with asyncio.timeout(20), self.store.watch(kind, "default", send_initial=True) as events:
            there = False
            async for event in events:
                if event.item.name == name:
                    there = event.type is not EventType.DELETED
                if not there and event.type in (EventType.BOOKMARK, EventType.DELETED):
                    return

    async def kept(self) -> dict[str, tuple[str, ...]]:
        """What a sweep finds without an owner, by the owner's uid."""
        assert self._daemon._sweeper is not None
        await self._daemon._sweeper.sweep()
        return {kept.uid: kept.things for kept in self._daemon._sweeper._quarantine.all()}

    async def collect(self) -> None:
        """The registry's garbage collection, now."""
        assert self._daemon._collection is not None
        await self._daemon._collection.collect()

    async def active(self) -> bool:
        vm = await self.store.get(VIRTUAL_MACHINE, "default", "vm")
        info = await self.hypervisor.info(vm.uid)
        return info is not None and info.active


@asynccontextmanager
async def running(on: Parts = TEST_DRIVER, **settings: object) -> AsyncIterator[World]:
    """``on`` is what the daemon works on; ``settings`` are some more."""
    folder = Path(tempfile.mkdtemp(prefix="hvk"))
    # The test driver's host is there as long as somebody is connected to it.
    held = await asyncio.to_thread(libvirt.open, URI)
    world = World(folder, on, settings)
    await world.start()
    try:
        yield world
    finally:
        await world.stop()
        for domain in await asyncio.to_thread(held.listAllDomains):
            if domain.name().startswith("inproc"):
                domain.destroy() if domain.isActive() else None
                domain.undefine()
        await asyncio.to_thread(held.close)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
