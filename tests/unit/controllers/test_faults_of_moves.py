"""What goes wrong while a disk is moved to another StorageClass, and must cost nothing of what it holds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hyperd.controllers.disk import keeping
from hyperd.controllers.disk.operations import migrate, moving
from hyperd.errors import Conflict, Invalid, TemporaryError
from hyperd.imagefile.handle import DiskFormat, FileHandle
from hyperd.progress import Report
from hyperd.resources.all import STORAGE_CLASS, VIRTUAL_DISK
from hyperd.resources.schema.kind import Object
from hyperd.storage.backends.directory.provisioner import DirectoryProvisioner
from hyperd.storage.interface import NO_ROOM, Volume
from hyperd.store.interface import PatchType
from tests.contract.volumes import guest, rawfiles
from tests.contract.volumes.test_daemon import CLASS
from tests.unit.controllers.test_images_of_objects import condition
from tests.unit.controllers.test_moves import Held, files_of, held, moved, name, two_kinds, waits, world, written
from tests.unit.controllers.world import World

__all__ = ["held", "two_kinds", "world"]

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


class Away:
    """The other storage, while it cannot be asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.back = False
        self._monkeypatch = monkeypatch
        storage, find, delete = (
            rawfiles.RawProvisioner,
            rawfiles.RawProvisioner.find,
            rawfiles.RawProvisioner.delete,
        )

        async def asked(provisioner: rawfiles.RawProvisioner, uid: str) -> Volume | None:
            self._answer()
            return await find(provisioner, uid)

        async def deleted(provisioner: rawfiles.RawProvisioner, uid: str) -> None:
            self._answer()
            await delete(provisioner, uid)

        monkeypatch.setattr(storage, "find", asked)
        monkeypatch.setattr(storage, "delete", deleted)

    def from_release_on(self) -> None:
        """It goes when what a disk has left in it is to be removed, as long as it is not ``back``."""
        run = migrate.ReleaseStep.run

        async def release(step: migrate.ReleaseStep, report: Report) -> None:
            self.now = not self.back
            await run(step, report)

        self._monkeypatch.setattr(migrate.ReleaseStep, "run", release)

    def _answer(self) -> None:
        if self.now:
            raise TemporaryError("The pool raw is away.")


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Away:
    return Away(monkeypatch)


async def copied(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that has its copy, and goes no further."""
    arrived = asyncio.Event()

    async def never(self: migrate._Switch, report: Report) -> None:
        arrived.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(migrate._Switch, "run", never)
    await written(world, 7)
    await name(world, "raw")
    await arrived.wait()


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
    with monkeypatch.context() as patch:
        await copied(world, patch)
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
    held, asked = 'VirtualMachine "web" holds the disk; stop it first.', 0

    async def holder(*_: object) -> str:
        nonlocal asked
        asked += 1
        return held if asked > 1 else ""

    await written(world, 7)
    with monkeypatch.context() as patch:
        patch.setattr(moving, "holder", holder)
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
    await world.until(lambda disk: condition(disk, "Migrating") == {}, VIRTUAL_DISK, "vm")
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


async def test_a_disk_is_taken_back_from_a_storage_that_is_away_and_its_copy_goes_later(
    world: World, monkeypatch: pytest.MonkeyPatch, away: Away
) -> None:
    await copied(world, monkeypatch)
    away.now = True
    await name(world, "local")
    assert "removed later: The pool raw is away." in await waits(world, "WaitForTargetReady")
    await moved(world, "local")
    larger = {"spec": {"persistentVolumeClaim": {"size": "2Mi"}}}
    await world.store.patch(VIRTUAL_DISK, "default", "vm", PatchType.MERGE, larger)
    await world.until(lambda disk: disk["status"]["capacity"] == "2Mi", VIRTUAL_DISK, "vm")
    away.now = False
    await world.until(lambda disk: condition(disk, "Migrating") == {}, VIRTUAL_DISK, "vm")
    pool, raw = files_of(world)
    assert (len(pool), raw) == (1, [])
    assert await content(world) == b"\7" * 4096


async def test_a_disk_goes_though_the_storage_of_its_copy_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch, away: Away
) -> None:
    await copied(world, monkeypatch)
    away.now = True
    await world.store.delete(VIRTUAL_DISK, "default", "vm")
    await world.gone(VIRTUAL_DISK)
    assert files_of(world)[0] == []


async def test_a_moved_disk_is_used_though_its_former_storage_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch, away: Away
) -> None:
    await written(world, 7)
    await name(world, "raw")
    await moved(world, "raw")
    away.from_release_on()
    await name(world, "local")
    assert await waits(world, "WaitForSourceVolumeRelease") == "The pool raw is away."
    disk = await moved(world, "local")
    assert disk["status"]["target"]["provisioner"] == DirectoryProvisioner.name
    await world.make_machine()
    await world.phase("Running")
    pool, raw = files_of(world)
    assert (len(pool), len(raw)) == (1, 1)
    away.back, away.now = True, False
    await world.until(lambda disk: condition(disk, "Migrating") == {}, VIRTUAL_DISK, "vm")
    assert files_of(world)[1] == []
    assert await content(world) == b"\7" * 4096


async def test_what_a_disk_was_moved_away_from_is_not_used_once_its_volume_is_lost(
    world: World, monkeypatch: pytest.MonkeyPatch, away: Away
) -> None:
    """The storage that it has left was away when that was to be removed, and is back when the volume is gone."""
    monkeypatch.setattr(keeping, "LOOK_SECONDS", 0.2)
    await written(world, 7)
    await name(world, "raw")
    await moved(world, "raw")
    away.from_release_on()
    await name(world, "local")
    await waits(world, "WaitForSourceVolumeRelease")
    await moved(world, "local")
    (path,), (former,) = files_of(world)
    path.unlink()
    away.back, away.now = True, False
    await world.phase("PVCLost", VIRTUAL_DISK)
    told = "older than the move: it is kept, and not used for it"
    await world.until(lambda disk: told in condition(disk, "Migrating")["message"], VIRTUAL_DISK, "vm")
    await world.stop()
    await world.begin_anew()
    disk = await world.phase("PVCLost", VIRTUAL_DISK)
    assert disk["status"]["storageClassName"] == "local"
    assert files_of(world) == ([], [former])


@pytest.mark.parametrize("used", [False, True])
async def test_a_move_that_only_an_earlier_state_of_the_store_tells_of_ends(
    world: World, monkeypatch: pytest.MonkeyPatch, used: bool
) -> None:
    """The disk was moved back since. The spec asks for the move again, which is made."""
    release, before = migrate.ReleaseStep.run, list[Object]()

    async def run(self: migrate.ReleaseStep, report: Report) -> None:
        before.append(dict((await world.store.get(VIRTUAL_DISK, "default", "vm")).object()))
        await release(self, report)

    monkeypatch.setattr(migrate.ReleaseStep, "run", run)
    await written(world, 7)
    await name(world, "raw")
    await moved(world, "raw")
    await name(world, "local")
    await moved(world, "local")
    await world.stop()
    (path,), _ = files_of(world)
    await asyncio.to_thread(write, path, 9)
    await world.begin_anew()
    earlier = before[0]
    if used:
        earlier["status"]["phase"] = "Ready"
    await restore(world, earlier)
    await world.until(lambda disk: "operation" not in disk["status"], VIRTUAL_DISK, "vm")
    disk = await moved(world, "raw")
    assert disk["status"]["target"]["provisioner"] == rawfiles.NAME
    assert await content(world) == b"\t" * 4096


async def restore(world: World, earlier: Object) -> None:
    """The disk is as it was in ``earlier``."""
    async with asyncio.timeout(20):
        while True:
            disk: Object = dict((await world.store.get(VIRTUAL_DISK, "default", "vm")).object())
            disk["spec"], disk["status"] = earlier["spec"], earlier["status"]
            try:
                await world.store.update(VIRTUAL_DISK, "default", "vm", disk, subresource="status")
                disk = dict((await world.store.get(VIRTUAL_DISK, "default", "vm")).object())
                disk["spec"] = earlier["spec"]
                await world.store.update(VIRTUAL_DISK, "default", "vm", disk)
            except (Conflict, Invalid):
                continue
            return


async def test_a_storage_without_room_is_asked_later_each_time(
    world: World, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(world, 7)
    held.failure = TemporaryError("No room.", key=NO_ROOM)
    held.may_go_on.set()
    await name(world, "raw")
    disk = await world.until(
        lambda disk: (disk["status"].get("retry") or {}).get("failures", 0) >= 3, VIRTUAL_DISK, "vm"
    )
    assert (condition(disk, "Migrating")["message"], disk["status"]["phase"]) == ("No room.", "Ready")
    held.failure = None
    await moved(world, "raw")
