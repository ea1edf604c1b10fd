"""A disk whose spec changes while it is filled: never the content of a source that is no longer asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hyperd.controllers import usage
from hyperd.controllers.disk import controller
from hyperd.controllers.disk.operations import fill
from hyperd.controllers.disk.source import Source, Waiting
from hyperd.imagefile.detect import ImageFormat
from hyperd.resources.all import STORAGE_CLASS, VIRTUAL_DISK, VIRTUAL_IMAGE, VIRTUAL_MACHINE
from hyperd.resources.core.storage_class import PROVISIONER
from hyperd.resources.kinds.virtual_disk import DiskDatasourceReason
from hyperd.resources.schema.kind import AnyObject, Object
from hyperd.resources.values.conditions import find_condition
from hyperd.storage.interface import Volume
from hyperd.store.interface import PatchType
from tests.unit.controllers.world import World, running

Make = Callable[[str, int], Coroutine[Any, Any, Volume]]
HTTP = {"type": "HTTP", "http": {"url": "http://127.0.0.1:9/image"}}


class Gate:
    """Holds up the making of a blank volume, before it is made or after."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, *, made: bool) -> None:
        provisioner = world._daemon._context.volumes.provisioner(PROVISIONER)
        self._make: Make = provisioner.create_blank
        self._made = made
        self.reached, self.cancelled, self.open = asyncio.Event(), asyncio.Event(), asyncio.Event()
        monkeypatch.setattr(provisioner, "create_blank", self._create)

    async def _create(self, uid: str, size: int) -> Volume:
        if self._made:
            volume = await self._make(uid, size)
        self.reached.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return volume if self._made else await self._make(uid, size)


async def change(world: World, **spec: object) -> None:
    await world.store.patch(VIRTUAL_DISK, "default", "vm", PatchType.MERGE, {"spec": spec})


async def begun(world: World) -> AnyObject:
    spec = {"persistentVolumeClaim": {"size": "1Mi"}}
    disk: Object = {"metadata": {"namespace": "default", "name": "vm"}, "spec": spec}
    return (await world.store.create(VIRTUAL_DISK, "default", disk)).object()


async def has_volume(world: World, disk: AnyObject) -> bool:
    return await world._daemon._context.volumes.find(disk["metadata"]["uid"]) is not None


def failed_of(generation: int) -> Callable[[Object], bool]:
    return lambda disk: (
        disk["status"].get("phase") == "Failed" and disk["status"].get("observedGeneration") == generation
    )


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_volume_that_is_made_by_then_is_not_taken_for_that_of_another_source(
    monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    async with running() as world:
        gate = Gate(world, monkeypatch, made=True)
        disk = await begun(world)
        await asyncio.wait_for(gate.reached.wait(), 20)
        if restarted:
            await world._daemon._manager.stop()
        await change(world, dataSource=HTTP)
        if restarted:
            await world.restart()
        failed = await world.until(failed_of(2), VIRTUAL_DISK, "vm")
        (ready,) = [each for each in failed["status"]["conditions"] if each["type"] == "Ready"]
        assert "was already made from the earlier source or class; delete the disk" in ready["message"]
        assert await has_volume(world, disk), "nobody asked for its removal"
        other = {**HTTP, "http": {"url": "http://127.0.0.1:9/other"}}
        await change(world, dataSource=other)
        await world.until(failed_of(3), VIRTUAL_DISK, "vm")
        await change(world, dataSource=None)
        assert "operation" not in (await world.phase("Ready", VIRTUAL_DISK))["status"]


async def test_a_larger_disk_keeps_the_volume_that_is_made_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as world:
        gate = Gate(world, monkeypatch, made=True)
        await begun(world)
        await asyncio.wait_for(gate.reached.wait(), 20)
        await change(world, persistentVolumeClaim={"size": "2Mi"})
        await world.until(lambda disk: disk["status"].get("capacity") == "2Mi", VIRTUAL_DISK, "vm")


async def test_a_volume_that_is_not_made_yet_is_not_made_from_the_earlier_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as world:
        gate = Gate(world, monkeypatch, made=False)
        disk = await begun(world)
        await asyncio.wait_for(gate.reached.wait(), 20)
        await change(world, dataSource=HTTP)
        await asyncio.wait_for(gate.cancelled.wait(), 20)
        await world.until(lambda disk: bool(disk["status"].get("retry")), VIRTUAL_DISK, "vm")
        assert not await has_volume(world, disk)


async def test_a_fill_ends_when_the_class_that_is_asked_for_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as world:
        foreign = {"metadata": {"name": "foreign"}, "provisioner": "example.com/elsewhere"}
        await world.store.create(STORAGE_CLASS, "", foreign)
        gate = Gate(world, monkeypatch, made=False)
        disk = await begun(world)
        await asyncio.wait_for(gate.reached.wait(), 20)
        await change(world, persistentVolumeClaim={"size": "1Mi", "storageClassName": "foreign"})
        await world.phase("Pending", VIRTUAL_DISK)
        gate.open.set()
        assert gate.cancelled.is_set()
        await world.settled()
        assert not await has_volume(world, disk)


async def test_a_fill_under_way_goes_on_though_its_image_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as world:
        answer: Source | Waiting = Source("registry/image")
        for room in (controller, fill):
            monkeypatch.setattr(room, "source_of", lambda *_: answer)
        reached, goes_on = asyncio.Event(), asyncio.Event()
        provisioner = world._daemon._context.volumes.provisioner(PROVISIONER)

        class Image:
            handle, cdrom, format, virtual_size = None, False, ImageFormat.RAW, 1 << 20

        @asynccontextmanager
        async def held(*_: object, **__: object) -> AsyncIterator[Image]:
            reached.set()
            await goes_on.wait()
            yield Image()

        async def create(uid: str, size: int, *, image: object) -> Volume:
            return await provisioner.create_blank(uid, size)

        monkeypatch.setattr(world._daemon._context.images, "held", held)
        monkeypatch.setattr(provisioner, "create_from_image", create)
        await begun(world)
        await asyncio.wait_for(reached.wait(), 20)
        answer = Waiting(DiskDatasourceReason.IMAGE_NOT_FOUND, "gone")
        await world.store.patch(
            VIRTUAL_DISK, "default", "vm", PatchType.MERGE, {"metadata": {"labels": {"look": "again"}}}
        )
        await world.settled()
        goes_on.set()
        await world.phase("Ready", VIRTUAL_DISK)


async def test_a_change_before_it_is_there_is_told_by_an_event() -> None:
    async with running() as world:
        source = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "none"}}
        for kind in (VIRTUAL_DISK, VIRTUAL_IMAGE):
            body: Object = {"metadata": {"namespace": "default", "name": "vm"}, "spec": {"dataSource": source}}
            await world.store.create(kind, "default", body)
            await world.phase("Pending", kind)
            other = {"spec": {"dataSource": {"objectRef": {"name": "another"}}}}
            await world.store.patch(kind, "default", "vm", PatchType.MERGE, other)
        await world.told("VirtualDiskSpecHasBeenChanged", "VirtualImageSpecHasBeenChanged")


async def test_a_disk_that_is_deleted_names_the_machine_that_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as world:
        await world.make()
        # The test driver's guests have no disks.
        monkeypatch.setattr(usage, "mounts", lambda *_: True)
        await world.store.delete(VIRTUAL_DISK, "default", "vm")
        disk = await world.until(lambda disk: bool(find_condition(disk, "Terminating")), VIRTUAL_DISK, "vm")
        assert (find_condition(disk, "Terminating") or {})[
            "message"
        ] == 'VirtualMachine "vm" holds the disk; stop it first.'
        monkeypatch.undo()
        await world.store.delete(VIRTUAL_MACHINE, "default", "vm")
        await world.gone(VIRTUAL_DISK)
