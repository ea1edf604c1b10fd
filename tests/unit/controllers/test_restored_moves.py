"""A disk that was moved, in a store of before that: what the node has noted of the move counts for more."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from hyperd.controllers.disk.operations import migrate
from hyperd.errors import TemporaryError
from hyperd.imagefile.handle import DiskFormat, FileHandle
from hyperd.progress import Report
from hyperd.resources.all import VIRTUAL_DISK
from hyperd.resources.schema.kind import Object
from hyperd.storage.backends.directory.provisioner import DirectoryProvisioner
from tests.contract.volumes import guest, rawfiles
from tests.unit.controllers.test_faults_of_moves import Away, away, restore, soon
from tests.unit.controllers.test_moves import files_of, moved, name, two_kinds, waits, world, written
from tests.unit.controllers.world import World

__all__ = ["away", "soon", "two_kinds", "world"]


async def test_a_disk_stays_where_it_went_though_the_store_is_of_before_its_move(
    world: World, monkeypatch: pytest.MonkeyPatch, away: Away
) -> None:
    """What it left was away, and could not be removed; its guest has written since."""
    away.from_release_on()
    await written(world, 7)
    away.back = True
    await name(world, "raw")
    await moved(world, "raw")
    await world.until(lambda disk: "operation" not in disk["status"], VIRTUAL_DISK, "vm")
    earlier: Object = dict((await world.store.get(VIRTUAL_DISK, "default", "vm")).object())
    uid = earlier["metadata"]["uid"]
    away.back = False
    await name(world, "local")
    await waits(world, "WaitForSourceVolumeRelease")
    departures = world._daemon._context.volumes.departures
    note = departures.get(uid, rawfiles.NAME)
    assert note is not None
    assert note.final, "the store has confirmed it"
    await departures.note(uid, replace(note, final=False))  # as if it had ended before it noted that
    await world.stop()
    away.now = False  # until it is to be removed
    await world.begin_anew()
    async with asyncio.timeout(20):
        while world._daemon._context.volumes.departures.get(uid, rawfiles.NAME) != note:
            await asyncio.sleep(0.05)
    await restore(world, earlier)
    away.back, away.now = True, False
    found = await world._daemon._context.volumes.find(uid)
    assert found is not None
    assert found.provisioner == DirectoryProvisioner.name
    pool, raw = files_of(world)
    assert (len(pool), len(raw)) == (1, 1)


@pytest.mark.parametrize("way", ["goes on", "is taken back"])
async def test_nothing_is_copied_again_over_what_a_move_has_made_the_disk(
    world: World, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The store is of before the switch, and the disk was used since that."""
    switch, release = migrate._Switch.run, migrate.ReleaseStep.run
    before, may_go = list[Object](), list[bool]()

    async def switched(self: migrate._Switch, report: Report) -> None:
        before.append(dict((await world.store.get(VIRTUAL_DISK, "default", "vm")).object()))
        await switch(self, report)

    async def released(self: migrate.ReleaseStep, report: Report) -> None:
        if not may_go:
            raise TemporaryError("The pool is away.", key="WaitForSourceVolumeRelease")
        await release(self, report)

    monkeypatch.setattr(migrate._Switch, "run", switched)
    monkeypatch.setattr(migrate.ReleaseStep, "run", released)
    await written(world, 7)
    await name(world, "raw")
    await moved(world, "raw")
    await world.stop()
    _, (path,) = files_of(world)
    await asyncio.to_thread(guest.fill, FileHandle(path, DiskFormat.RAW), 9, 4096)
    await world.begin_anew()
    await restore(world, before[0])
    assert before[0]["status"]["storageClassName"] == "local"
    if way == "is taken back":
        await name(world, "local")
        await world.until(lambda disk: disk["status"]["storageClassName"] == "raw", VIRTUAL_DISK, "vm")
    else:
        await moved(world, "raw")
    may_go.append(True)
    await world.until(lambda disk: "operation" not in disk["status"], VIRTUAL_DISK, "vm")
    _, (path,) = files_of(world)
    assert guest.read(FileHandle(path, DiskFormat.RAW))[:4096] == b"\t" * 4096
