"""A disk that is moved under its guest, by a hypervisor of the tests' own: what ends it, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from hyperd.controllers.disk import used
from hyperd.controllers.disk.operations import live, migrate
from hyperd.errors import InternalError, TemporaryError
from hyperd.hypervisor.state import DomainInfo, DomainState, Mirror
from hyperd.imagefile.handle import DiskFormat, FileHandle, Handle
from hyperd.progress import Report
from hyperd.resources.all import STORAGE_CLASS, VIRTUAL_DISK
from hyperd.resources.schema.kind import Object
from hyperd.storage.interface import Capacity
from tests.contract.volumes import guest
from tests.contract.volumes.rawfiles import RawProvisioner
from tests.contract.volumes.test_daemon import CLASS
from tests.testdriver.hypervisor import TestDriver
from tests.unit.controllers.test_images_of_objects import condition
from tests.unit.controllers.test_moves import files_of, moved, name, two_kinds, waits, written
from tests.unit.controllers.world import World, running

__all__ = ["two_kinds"]


class Guest:
    """One that has the disk open by ``opened``; and what copies its disk."""

    def __init__(self) -> None:
        self.opened: Handle | None = None
        self.runs = True
        self.stopped = False
        self.ready = asyncio.Event()
        self.failure: TemporaryError | None = None
        self.target: Handle | None = None
        self.ended = 0
        self.limit = 0

    def info(self) -> DomainInfo | None:
        state = DomainState.PAUSED if self.stopped else DomainState.RUNNING
        return replace(_INFO, state=state, reason="user" if self.stopped else "booted") if self.runs else None

    async def begin(
        self, uid: str, serial: str, target: Handle, *, bytes_per_second: int, shallow: bool = False
    ) -> None:
        self.target, self.limit = target, bytes_per_second

    async def state(self, uid: str, serial: str) -> Mirror | None:
        return None if self.target is None else Mirror(1, 2, self.ready.is_set())

    async def end(self, uid: str, serial: str) -> None:
        self.target, self.ended = None, self.ended + 1

    async def take(self, uid: str, serial: str, target: Handle) -> None:
        assert target == self.target
        if self.failure is not None:
            raise self.failure
        guest.fill(target, 7, 4096)
        self.opened, self.target, self.stopped = target, None, True

    async def resume(self, uid: str) -> None:
        self.stopped = False


_INFO = DomainInfo("g", "default", "vm", 1, "", DomainState.RUNNING, "booted", persistent=True)


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Guest:
    made = Guest()

    async def guest_of(*_: object) -> DomainInfo | None:
        return made.info()

    async def sources(self: TestDriver, uid: str) -> dict[str, Handle]:
        return {} if made.opened is None else {serial[0]: made.opened}

    serial: list[str] = [""]
    first = live.MigrateLive.__init__

    def init(self: live.MigrateLive, *given: object) -> None:
        first(self, *given)  # type: ignore[arg-type]
        serial[0] = self.serial

    monkeypatch.setattr(live.MigrateLive, "__init__", init)
    monkeypatch.setattr(live, "guest_of", guest_of)
    monkeypatch.setattr(live, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(live, "_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(live, "_HELD_SECONDS", 0.3)
    monkeypatch.setattr(TestDriver, "sources", sources)
    mirrors = property(lambda self: made, lambda self, _: None)
    monkeypatch.setattr(TestDriver, "mirrors", mirrors, raising=False)
    monkeypatch.setattr(TestDriver, "resume", lambda self, uid: made.resume(uid))
    machine = SimpleNamespace(name="vm", object=lambda: {"status": {"phase": "Running"}})
    monkeypatch.setattr(used, "holding", lambda context, disk: machine if made.runs else None)
    monkeypatch.setattr("hyperd.controllers.retries.FIRST_SECONDS", 0.2)
    return made


@pytest.fixture
async def world(inside: Guest) -> AsyncIterator[World]:
    async with running() as made:
        await made.store.create(STORAGE_CLASS, "", CLASS)
        await written(made, 7)
        (path,), _ = files_of(made)
        inside.opened = FileHandle(path, DiskFormat.QCOW2)
        yield made


async def begun(inside: Guest) -> None:
    async with asyncio.timeout(20):
        while inside.target is None:
            await asyncio.sleep(0.02)


async def test_it_goes_on_in_the_copy_and_is_stopped_no_longer(world: World, inside: Guest) -> None:
    await name(world, "raw")
    await begun(inside)
    disk = await world.phase("Migrating", VIRTUAL_DISK)
    assert disk["status"]["storageClassName"] == "local"
    inside.ready.set()
    await moved(world, "raw")
    assert (inside.stopped, files_of(world)[0]) == (False, [])


async def test_what_names_the_first_class_again_ends_the_copy(world: World, inside: Guest) -> None:
    await name(world, "raw")
    await begun(inside)
    await name(world, "local")
    disk = await moved(world, "local")
    assert disk["status"]["migrationState"]["result"] == "Failed"
    assert (inside.target, inside.stopped, files_of(world)[1]) == (None, False, [])


async def test_a_guest_that_cannot_go_on_in_the_copy_goes_on_and_it_is_tried_again(
    world: World, inside: Guest
) -> None:
    inside.ready.set()
    inside.failure = TemporaryError("It cannot be pivoted to.")
    await name(world, "raw")
    assert await waits(world, "WaitForTargetReady") == "It cannot be pivoted to."
    await world.phase("Ready", VIRTUAL_DISK)
    inside.failure = None
    await moved(world, "raw")


async def test_a_copy_leaves_what_must_stay_free(
    world: World, inside: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(self: RawProvisioner) -> Capacity:
        return Capacity(1 << 30, 1 << 10)

    with monkeypatch.context() as patch:
        patch.setattr(RawProvisioner, "capacity", full)
        await name(world, "raw")
        assert 'No room in StorageClass "raw"' in await waits(world, "WaitForTargetReady")
        assert (inside.target, files_of(world)[1]) == (None, [])
    inside.ready.set()
    await moved(world, "raw")


async def test_a_guest_that_ends_meanwhile_has_its_disk_moved_without_it(world: World, inside: Guest) -> None:
    await name(world, "raw")
    await begun(inside)
    inside.runs, inside.target = False, None
    await moved(world, "raw")
    _, (path,) = files_of(world)
    assert guest.read(FileHandle(path, DiskFormat.RAW))[:4096] == b"\7" * 4096


async def _fails(*_: object) -> None:
    raise InternalError("The store is away.")


async def pivoted(world: World, inside: Guest) -> Object:
    """A guest that has pivoted, while the store takes no write about that."""
    inside.ready.set()
    await name(world, "raw")
    return await world.until(
        lambda disk: "gone on in the copy" in condition(disk, "Migrating").get("message", ""), VIRTUAL_DISK, "vm"
    )


async def test_a_guest_that_pivoted_waits_for_the_status_to_name_the_copy_but_not_for_long(
    world: World, inside: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = asyncio.Event()

    async def fails(*_: object) -> None:
        if inside.stopped:
            stopped.set()
        await _fails()

    with monkeypatch.context() as patch:
        patch.setattr(live, "switch_to", fails)
        disk = await pivoted(world, inside)
        assert stopped.is_set(), "it waited"
        assert disk["status"]["phase"] == "Migrating", "nobody may use what the guest has left"
        assert disk["status"]["storageClassName"] == "local"
        assert not inside.stopped
        guest.fill(inside.opened, 9, 4096) if inside.opened else pytest.fail("it has no disk")
    await moved(world, "raw")
    pool, (path,) = files_of(world)
    assert (pool, inside.stopped) == ([], False)
    assert guest.read(FileHandle(path, DiskFormat.RAW))[:4096] == b"\t" * 4096


@pytest.mark.parametrize("way", ["goes on", "is taken back"])
async def test_what_a_guest_wrote_in_the_copy_is_the_disk_though_nobody_was_told(
    world: World, inside: Guest, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Guest and daemon end before the store is there again."""
    with monkeypatch.context() as patch:
        patch.setattr(live, "switch_to", _fails)
        await pivoted(world, inside)
        _, (path,) = files_of(world)
        guest.fill(FileHandle(path, DiskFormat.RAW), 9, 4096)
        await world.stop()
        inside.runs, inside.opened = False, None
        await world.begin_anew()
        if way == "is taken back":
            await name(world, "local")
    if way == "is taken back":
        await moved(world, "local")
        (path,), raw = files_of(world)
        assert raw == []
        assert guest.read(FileHandle(path, DiskFormat.QCOW2))[:4096] == b"\t" * 4096
        return
    await moved(world, "raw")
    await world.until(lambda disk: "operation" not in disk["status"], VIRTUAL_DISK, "vm")
    pool, (path,) = files_of(world)
    assert pool == []
    assert guest.read(FileHandle(path, DiskFormat.RAW))[:4096] == b"\t" * 4096
    assert list((world.state_dir / "moved").iterdir()) == []


@pytest.mark.parametrize("way", ["class", "spec"])
async def test_a_guest_that_pivoted_keeps_the_copy_whatever_is_asked_for_by_then(
    world: World, inside: Guest, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    arrived = asyncio.Event()

    async def never(*_: object) -> None:
        arrived.set()
        await asyncio.Event().wait()

    inside.ready.set()
    with monkeypatch.context() as patch:
        patch.setattr(live, "switch_to", never)
        patch.setattr(live, "_HELD_SECONDS", 60.0)
        await name(world, "raw")
        await arrived.wait()
        if way == "class":
            await world.store.delete(STORAGE_CLASS, "", "raw")
        await world.stop()
    await world.begin_anew()
    if way == "class":
        await moved(world, "raw")
        assert (inside.stopped, files_of(world)[0]) == (False, [])
        return
    await name(world, "local")
    await moved(world, "local")
    pool, raw = files_of(world)
    assert (inside.stopped, inside.opened, raw) == (False, FileHandle(pool[0], DiskFormat.QCOW2), [])


async def test_a_former_volume_that_a_guest_has_open_stays(
    world: World, inside: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, first, guests = live._ReleaseLive.run, inside.opened, ["g"]

    async def release(self: live._ReleaseLive, report: Report) -> None:
        inside.opened = first if guests else inside.opened
        await run(self, report)

    monkeypatch.setattr(live._ReleaseLive, "run", release)
    monkeypatch.setattr(migrate, "openers", lambda context, uid: guests)
    inside.ready.set()
    await name(world, "raw")
    assert "has the disk's former volume open" in await waits(world, "WaitForSourceVolumeRelease")
    pool, raw = files_of(world)
    assert (len(pool), len(raw)) == (1, 1)
    guests.clear()
    await world.until(lambda disk: condition(disk, "Migrating") == {}, VIRTUAL_DISK, "vm")
    assert files_of(world)[0] == []
