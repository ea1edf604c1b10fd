"""Volumes on XFS and a power cut at every place of each step: what was promised holds, the step can be done."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hyperd.imagefile.handle import DiskFormat, FileHandle, Handle
from hyperd.settings import PoolKind, PoolSettings, Settings, StorageSettings
from hyperd.storage.backends import POOLS
from hyperd.storage.backends.directory.backend import DirectoryBackend
from hyperd.storage.interface import Backend
from tests.contract.volumes import guest, xfs
from tests.host.storage.cutting import Disk, Say

MIB = 1 << 20
SIZE = 4 * MIB
PART = MIB // 8
Told = frozenset[str]
Begin = Callable[[Backend], Awaitable[None]]
Work = Callable[[Backend, Say], Awaitable[None]]
Check = Callable[[Backend, Told], Awaitable[None]]


class Pool:
    """A backend over a pool that power cuts hit; each daemon has another one over the same files."""

    def __init__(self, kind: str, disk: Disk, outside: Path) -> None:
        self._disk = disk
        self._kind = kind
        self._folder = disk.path / outside.name
        self._notes = outside / "state"
        self.image = guest.image(outside / "image", DiskFormat.QCOW2, bytes([9]) * MIB + bytes(SIZE - MIB))

    @asynccontextmanager
    async def _daemon(self) -> AsyncIterator[Backend]:
        made = self._backend()
        await made.start()
        yield made

    def _backend(self) -> Backend:
        if self._kind == "directory":
            storage = StorageSettings(reserve_bytes=0, overcommit_ratio=0)
            return DirectoryBackend(Settings(state_dir=self._folder, storage=storage))
        pool = PoolSettings(name="fast", kind=PoolKind.REFLINK, path=self._folder)
        storage = StorageSettings(pools=(pool,), reserve_bytes=0, overcommit_ratio=0)
        return POOLS[pool.kind](Settings(state_dir=self._notes, storage=storage), pool)

    def cut_everywhere(self, begin: Begin, work: Work, check: Check) -> None:
        """What was begun is on the disk; the work is cut at each of its places in turn; another daemon checks."""
        for place in itertools.count():
            for folder in (self._folder, self._notes):
                shutil.rmtree(folder, ignore_errors=True)
            self._folder.mkdir()
            asyncio.run(self._run(begin))
            subprocess.run(["sync", "-f", self._disk.path], check=True)
            ended, told = self._disk.cut(lambda say: self._run(work, say), before=place)
            try:
                asyncio.run(self._run(check, frozenset(told)))
            except Exception as err:
                err.add_note(f"The power was cut at place {place}, when this had been told: {told}.")
                raise
            if ended:
                assert place >= 2, "no place was found"
                return

    async def _run(self, what: Callable[..., Awaitable[None]], *args: object) -> None:
        async with self._daemon() as backend:
            await what(backend, *args)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    folder = tmp_path_factory.mktemp("cuts")
    with xfs.mounted(folder) as mount:
        yield Disk(folder / "xfs.img", mount)


@pytest.fixture(params=["directory", "reflink"])
def pool(request: pytest.FixtureRequest, disk: Disk, tmp_path: Path) -> Pool:
    return Pool(request.param, disk, tmp_path)


def write(handle: Handle, pattern: int, *, at: int = 0, size: int = MIB) -> None:
    """As a guest that flushes."""
    assert isinstance(handle, FileHandle)
    commands = ("-c", f"write -q -P {pattern} {at} {size}", "-c", "flush")
    subprocess.run(["qemu-io", "-t", "none", "-f", handle.format, *commands, handle.path], check=True)


async def use(backend: Backend, uid: str, pattern: int, *, at: int = 0, size: int = MIB) -> None:
    """By a guest that starts, writes, flushes, and ends."""
    write(await backend.attacher.attach(uid), pattern, at=at, size=size)
    await backend.attacher.detach(uid)


async def take(backend: Backend, snapshot: str) -> None:
    await backend.provisioner.prepare_snapshot("v", snapshot=snapshot, op_uid="o", in_use=False)
    await backend.provisioner.commit_snapshot("v", snapshot=snapshot, op_uid="o")


def begun(*snapshots: str) -> Begin:
    """A volume ``v`` with a MiB of ones; after each snapshot one more part of it is written."""

    async def begin(backend: Backend) -> None:
        await backend.provisioner.create_blank("v", SIZE)
        await use(backend, "v", 1)
        for number, snapshot in enumerate(snapshots, 2):
            await take(backend, snapshot)
            await use(backend, "v", number, at=number * PART, size=PART)

    return begin


def content(*numbers: int) -> bytes:
    """With the parts of ``numbers``."""
    found = bytearray(bytes([1]) * MIB + bytes(SIZE - MIB))
    for number in numbers:
        found[number * PART : (number + 1) * PART] = bytes([number]) * PART
    return bytes(found)


async def of_volume(backend: Backend, uid: str = "v") -> bytes:
    found = guest.read(await backend.attacher.attach(uid))
    await backend.attacher.detach(uid)
    return found


async def of_snapshot(backend: Backend, snapshot: str) -> bytes:
    async with backend.attacher.reading(snapshot) as handle:
        return guest.read(handle)


async def nothing(_: Backend) -> None:
    return


@pytest.mark.parametrize("of", ["nothing", "image"])
def test_a_volume_is_made(pool: Pool, of: str) -> None:
    async def make(backend: Backend) -> None:
        if of == "nothing":
            await backend.provisioner.create_blank("v", SIZE)
        else:
            await backend.provisioner.create_from_image("v", SIZE, image=pool.image)

    async def work(backend: Backend, say: Say) -> None:
        await make(backend)
        say("made")
        await use(backend, "v", 1)
        say("written")

    async def check(backend: Backend, told: Told) -> None:
        assert "made" not in told or await backend.provisioner.find("v") is not None
        await make(backend)
        was = 0 if of == "nothing" else 9
        assert (await of_volume(backend))[:MIB] in [
            bytes([pattern]) * MIB for pattern in ((1,) if "written" in told else (was, 1))
        ]
        assert [each.uid for each in await backend.provisioner.inventory()] == ["v"]

    pool.cut_everywhere(nothing, work, check)


def test_a_volume_grows(pool: Pool) -> None:
    async def work(backend: Backend, say: Say) -> None:
        await backend.provisioner.grow("v", 2 * SIZE, in_use=False)
        say("grown")

    async def check(backend: Backend, told: Told) -> None:
        found = await backend.provisioner.find("v")
        assert found is not None
        assert found.virtual_size in ((2 * SIZE,) if "grown" in told else (SIZE, 2 * SIZE))
        assert (await of_volume(backend))[:SIZE] == content()
        assert (await backend.provisioner.grow("v", 2 * SIZE, in_use=False)).virtual_size == 2 * SIZE

    pool.cut_everywhere(begun(), work, check)


@pytest.mark.parametrize("running", [False, True], ids=["off", "running"])
def test_a_snapshot_is_taken(pool: Pool, *, running: bool) -> None:
    async def work(backend: Backend, say: Say) -> None:
        before = await backend.attacher.attach("v") if running else None
        top = await backend.provisioner.prepare_snapshot("v", snapshot="s", op_uid="o", in_use=running)
        if running and top is not None:  # the guest was pivoted, and goes on
            write(top, 2, at=2 * PART, size=PART)
            say("written")
        await backend.provisioner.commit_snapshot("v", snapshot="s", op_uid="o")
        say("taken")
        if running and before is not None and top is None:
            write(before, 2, at=2 * PART, size=PART)
            say("written")

    async def check(backend: Backend, told: Told) -> None:
        found = await backend.provisioner.find_snapshot("s")
        assert "taken" not in told or (found is not None and not found.pending)
        await take(backend, "s")
        assert await of_snapshot(backend, "s") == content()
        assert await of_volume(backend) in ([content(2)] if "written" in told else [content(), content(2)])
        await use(backend, "v", 3, at=3 * PART, size=PART)
        assert await of_snapshot(backend, "s") == content()

    pool.cut_everywhere(begun(), work, check)


@pytest.mark.parametrize("gone", ["s", "t", "u"])
def test_a_snapshot_goes_and_its_space_comes_back(pool: Pool, gone: str) -> None:
    async def work(backend: Backend, say: Say) -> None:
        await backend.provisioner.delete_snapshot(gone)
        say("deleted")
        await backend.provisioner.merges(())
        say("merged")

    async def check(backend: Backend, told: Told) -> None:
        held = {"s": content(), "t": content(2), "u": content(2, 3)}
        assert "deleted" not in told or await backend.provisioner.find_snapshot(gone) is None
        for snapshot in held.keys() - {gone}:
            assert await of_snapshot(backend, snapshot) == held[snapshot]
        assert await of_volume(backend) == content(2, 3, 4)
        await backend.provisioner.delete_snapshot(gone)
        await backend.provisioner.merges(())
        for snapshot in held.keys() - {gone}:
            assert await of_snapshot(backend, snapshot) == held[snapshot]
        assert await of_volume(backend) == content(2, 3, 4)
        assert {each.uid for each in await backend.provisioner.snapshots()} == held.keys() - {gone}

    pool.cut_everywhere(begun("s", "t", "u"), work, check)


def test_a_volume_is_made_of_a_snapshot(pool: Pool) -> None:
    async def work(backend: Backend, say: Say) -> None:
        await backend.provisioner.create_from_snapshot("w", SIZE, snapshot="s")
        say("made")
        await use(backend, "w", 3, at=3 * PART, size=PART)
        say("written")
        await backend.provisioner.delete_snapshot("s")
        await backend.provisioner.delete("v")
        say("deleted")

    async def check(backend: Backend, told: Told) -> None:
        assert "made" not in told or await backend.provisioner.find("w") is not None
        if "made" not in told:
            await backend.provisioner.create_from_snapshot("w", SIZE, snapshot="s")
        assert await of_volume(backend, "w") in ([content(3)] if "written" in told else [content(), content(3)])
        assert "deleted" not in told or await backend.provisioner.find("v") is None
        await backend.provisioner.delete_snapshot("s")
        await backend.provisioner.delete("v")
        await backend.provisioner.merges(())
        assert (await of_volume(backend, "w"))[: 3 * PART] == content()[: 3 * PART]
        assert [each.uid for each in await backend.provisioner.inventory()] == ["w"]

    pool.cut_everywhere(begun("s"), work, check)
