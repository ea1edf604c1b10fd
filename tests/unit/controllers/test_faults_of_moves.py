"""What goes wrong while a disk is moved to another StorageClass, and must cost nothing of what it holds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hyperd.controllers.disk.operations import migrate
from hyperd.errors import TemporaryError
from hyperd.imagefile.handle import DiskFormat, FileHandle
from hyperd.progress import Report
from hyperd.resources.all import STORAGE_CLASS, VIRTUAL_DISK
from hyperd.resources.schema.kind import Object
from hyperd.storage.backends.directory.provisioner import DirectoryProvisioner
from tests.contract.volumes import guest
from tests.contract.volumes.test_daemon import CLASS
from tests.unit.controllers.test_moves import files_of, moved, name, two_kinds, waits, world, written
from tests.unit.controllers.world import World

__all__ = ["two_kinds", "world"]

Run = migrate._Switch.run


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperd.controllers.retries.FIRST_SECONDS", 0.3)
    monkeypatch.setattr("hyperd.controllers.disk.controller.RETRY_SECONDS", 0.3)


def write(path: Path, pattern: int) -> None:
    """As a guest does that runs with the disk meanwhile."""
    guest.fill(FileHandle(path, DiskFormat.QCOW2), pattern, 4096)


async def content(world: World) -> bytes:
    """Of the one volume that is left, its first bytes."""
    pool, raw = files_of(world)
    (path,) = [*pool, *raw]
    form = DiskFormat.QCOW2 if pool else DiskFormat.RAW
    return (await asyncio.to_thread(guest.read, FileHandle(path, form)))[:4096]


def has_failed(disk: Object) -> bool:
    state = disk["status"].get("migrationState") or {}
    return bool(state.get("result") == "Failed" and disk["status"]["phase"] == "Ready")


async def test_what_was_copied_before_the_disk_was_used_again_is_not_taken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = asyncio.Event()

    async def run(self: migrate._Switch, report: Report) -> None:
        if not failed.is_set():
            failed.set()
            raise TemporaryError("The store is busy.")
        await Run(self, report)

    monkeypatch.setattr("hyperd.controllers.retries.FIRST_SECONDS", 1.0)
    monkeypatch.setattr(migrate._Switch, "run", run)
    await written(world, 7)
    await name(world, "raw")
    await world.until(has_failed, VIRTUAL_DISK, "vm")
    (path,), _ = files_of(world)
    await asyncio.to_thread(write, path, 9)
    await moved(world, "raw")
    assert await content(world) == b"\t" * 4096


async def test_what_another_daemon_has_copied_is_copied_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = asyncio.Event()

    async def never(self: migrate._Switch, report: Report) -> None:
        arrived.set()
        await asyncio.Event().wait()

    await written(world, 7)
    with monkeypatch.context() as patch:
        patch.setattr(migrate._Switch, "run", never)
        await name(world, "raw")
        await arrived.wait()
        await world.stop()
    (path,), (there,) = files_of(world)
    assert there.read_bytes()[:1] == b"\7"
    await asyncio.to_thread(write, path, 9)
    await world.begin_anew()
    await moved(world, "raw")
    assert await content(world) == b"\t" * 4096


async def test_who_has_the_disk_is_asked_again_before_the_copy_becomes_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest that began meanwhile, though none may: both volumes stay, and the first is the disk's."""
    held, asked = "A running virtual machine holds the disk; stop it first.", 0

    async def holder(*_: object) -> str:
        nonlocal asked
        asked += 1
        return held if asked > 1 else ""

    await written(world, 7)
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "holder", holder)
        await name(world, "raw")
        assert await waits(world, "WaitForSourceVolumeRelease") == held
        disk = await world.until(has_failed, VIRTUAL_DISK, "vm")
        assert disk["status"]["storageClassName"] == "local"
        pool, _ = files_of(world)
        assert len(pool) == 1
    await moved(world, "raw")
    assert await content(world) == b"\7" * 4096


async def test_no_volume_is_removed_while_the_store_may_be_an_earlier_one(world: World) -> None:
    witness = world._daemon._context.witness
    await written(world, 7)
    witness.why = "The store was restored."
    await name(world, "raw")
    assert "The store was restored." in await waits(world, "WaitForSourceVolumeRelease")
    pool, raw = files_of(world)
    assert (len(pool), len(raw)) == (1, 1)
    witness.why = ""
    await moved(world, "raw")
    assert await content(world) == b"\7" * 4096


async def test_a_class_that_is_another_one_by_then_leaves_no_copy_where_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = asyncio.Event()

    async def run(self: migrate._Switch, report: Report) -> None:
        if not failed.is_set():
            await world.store.delete(STORAGE_CLASS, "", "raw")
            body = {**CLASS, "provisioner": DirectoryProvisioner.name}
            await world.store.create(STORAGE_CLASS, "", body)
            failed.set()
            raise TemporaryError("The store is busy.")
        await Run(self, report)

    monkeypatch.setattr(migrate._Switch, "run", run)
    await written(world, 7)
    await name(world, "raw")
    await failed.wait()
    disk = await moved(world, "raw")
    pool, raw = files_of(world)
    assert (len(pool), raw) == (1, [])
    assert disk["status"]["target"]["provisioner"] == DirectoryProvisioner.name
    assert await content(world) == b"\7" * 4096
