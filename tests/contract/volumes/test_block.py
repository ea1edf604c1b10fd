"""Pools of partitions on a disk: whose disk it is, who may read what, and how its volumes lie."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile import erasing
from hyperd.imagefile.handle import DiskFormat
from hyperd.resources.all import (
    KINDS,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    STORAGE_CLASS,
    VIRTUAL_DISK,
    VIRTUAL_MACHINE,
)
from hyperd.resources.schema.kind import Object
from hyperd.settings import PoolKind, PoolSettings, Settings, StorageSettings
from hyperd.storage.backends.block import table
from hyperd.storage.backends.block.backend import BlockBackend
from hyperd.storage.backends.block.table import Table, Type
from hyperd.storage.interface import NO_ROOM
from hyperd.store.embedded.derived import derived_of
from tests.contract.volumes import guest, loops
from tests.unit.controllers.world import running

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path, loop_disk: Path) -> Path:
    """That holds nothing."""
    return loop_disk


def made(folder: Path, disk: Path, *, name: str = "raw", adopt: str = "") -> BlockBackend:
    """The pool of one hyperd, whose node is called as ``folder``."""
    one = PoolSettings(name=name, kind=PoolKind.BLOCK, path=disk, adopt=adopt)
    storage = StorageSettings(pools=(one,))
    settings = Settings(state_dir=folder / "state", node_name=folder.name.replace("_", "-"), storage=storage)
    return BlockBackend(settings, one)


@pytest.fixture
async def backend(tmp_path: Path, disk: Path) -> AsyncIterator[BlockBackend]:
    one = made(tmp_path, disk)
    await one.start()
    yield one
    for volume in await one.provisioner.inventory():
        await one.attacher.detach(volume.uid)


async def use(backend: BlockBackend, uid: str, pattern: int, size: int) -> None:
    """By a guest that starts, writes to all of it, and ends."""
    guest.fill(await backend.attacher.attach(uid), pattern, size)
    await backend.attacher.detach(uid)


async def content(backend: BlockBackend, uid: str) -> bytes:
    found = guest.read(await backend.attacher.attach(uid))
    await backend.attacher.detach(uid)
    return found


def all_of(disk: Path) -> bytes:
    return disk.read_bytes()


@pytest.mark.parametrize("punches", [True, False], ids=["a disk that unmaps", "one that is written"])
async def test_nobody_reads_what_an_earlier_owner_wrote(
    backend: BlockBackend, disk: Path, monkeypatch: pytest.MonkeyPatch, punches: bool
) -> None:
    volumes = backend.provisioner
    if not punches:
        monkeypatch.setattr(erasing, "_PUNCH", ("--no-such-option",))
    await volumes.create_blank("first", 64 * MIB)
    await use(backend, "first", 0xA5, 64 * MIB)
    await volumes.delete("first")
    if punches:
        assert b"\xa5" * 4096 not in all_of(disk), "what is deleted is gone from the disk"
    await volumes.create_blank("second", 16 * MIB)
    assert await content(backend, "second") == bytes(16 * MIB)
    await volumes.grow("second", 64 * MIB, in_use=True)
    assert await content(backend, "second") == bytes(64 * MIB)


async def test_an_image_has_nothing_but_zeros_behind_it(backend: BlockBackend, tmp_path: Path) -> None:
    volumes = backend.provisioner
    await volumes.create_blank("first", 8 * MIB)
    await use(backend, "first", 0xA5, 8 * MIB)
    await volumes.delete("first")
    image = guest.image(tmp_path / "image", DiskFormat.QCOW2, b"\x11" * MIB + bytes(MIB) + b"\x22" * MIB)
    await volumes.create_from_image("second", 8 * MIB, image=image)
    assert await content(backend, "second") == b"\x11" * MIB + bytes(MIB) + b"\x22" * MIB + bytes(5 * MIB)


async def test_a_disk_without_room_is_told_of_in_a_sentence(backend: BlockBackend) -> None:
    volumes = backend.provisioner
    for uid, size in (("u1", 100), ("u2", 50), ("u3", 100)):
        await volumes.create_blank(uid, size * MIB)
    with pytest.raises(TemporaryError) as told:
        await volumes.create_blank("u4", 100 * MIB)
    assert told.value.key == NO_ROOM
    assert "No room for a disk of 100Mi in the pool raw: 3Mi are free on /dev/loop" in told.value.message
    await volumes.delete("u2")
    with pytest.raises(
        TemporaryError, match=r"53Mi are free on .*, 50Mi of that in one piece, which a disk needs"
    ):
        await volumes.create_blank("u4", 53 * MIB)
    assert (await volumes.capacity()).available == 53 * MIB
    await volumes.create_blank("u4", 50 * MIB)
    with pytest.raises(PermanentError, match="No room for a disk of 1Gi"):
        await volumes.create_blank("u5", 1 << 30)
    assert [volume.uid for volume in await volumes.inventory()] == ["u1", "u3", "u4"]


async def test_a_volume_that_has_a_neighbour_grows_once_nobody_has_it_open(backend: BlockBackend) -> None:
    volumes = backend.provisioner
    for uid in ("u1", "u2"):
        await volumes.create_blank(uid, 8 * MIB)
        await use(backend, uid, 7, 8 * MIB)
    with pytest.raises(TemporaryError, match=r"cannot grow to 16Mi where it lies .* Stop its machine") as told:
        await volumes.grow("u1", 16 * MIB, in_use=True)
    assert told.value.key == NO_ROOM
    assert (await volumes.grow("u1", 16 * MIB, in_use=False)).virtual_size == 16 * MIB
    assert await content(backend, "u1") == b"\x07" * 8 * MIB + bytes(8 * MIB)
    assert await content(backend, "u2") == b"\x07" * 8 * MIB
    assert (await volumes.create_blank("u3", 8 * MIB)).virtual_size == 8 * MIB
    assert await content(backend, "u3") == bytes(8 * MIB), "where the first one was"
    assert len(await volumes.inventory()) == 3


async def test_a_volume_that_is_open_is_not_removed(backend: BlockBackend) -> None:
    await backend.provisioner.create_blank("u1", MIB)
    handle = await backend.attacher.attach("u1")
    await backend.attacher.detach("u1")
    with handle.path.open("rb"):
        with pytest.raises(TemporaryError, match=r"Volume u1 cannot be removed: partition 2 of .* is open"):
            await backend.provisioner.delete("u1")
        assert await backend.provisioner.find("u1") is not None
    await backend.provisioner.delete("u1")
    assert not handle.path.exists()


async def test_what_a_crash_left_unfinished_goes_with_the_next_start(
    backend: BlockBackend, disk: Path, tmp_path: Path
) -> None:
    await backend.provisioner.create_blank("u1", MIB)
    await asyncio.to_thread(backend._pool.allocate, "u2", MIB)
    await backend.provisioner.find("u1")
    found = table.read(disk)
    assert [part.name for part in found.of(Type.UNFINISHED)] == ["u2"]
    later = made(tmp_path, disk)
    await later.start()
    assert table.read(disk).of(Type.UNFINISHED) == []
    assert [volume.uid for volume in await later.provisioner.inventory()] == ["u1"]
    assert (await later.provisioner.create_blank("u2", 2 * MIB)).virtual_size == 2 * MIB


async def test_partitions_are_found_again_by_a_kernel_that_has_forgotten_them(
    backend: BlockBackend, disk: Path
) -> None:
    """As after a reboot with a kernel that reads no such tables."""
    await backend.provisioner.create_blank("u1", MIB)
    await use(backend, "u1", 7, MIB)
    table.tool("partx", "--delete", str(disk))
    assert await content(backend, "u1") == b"\x07" * MIB


@pytest.mark.parametrize("at", [512, 1024], ids=["header", "entry"])
async def test_a_table_that_a_power_cut_tore_is_read_from_its_copy(
    backend: BlockBackend, disk: Path, tmp_path: Path, at: int
) -> None:
    volumes = backend.provisioner
    await volumes.create_blank("u1", MIB)
    await use(backend, "u1", 7, MIB)
    await asyncio.to_thread(torn, disk, at)
    later = made(tmp_path, disk)
    await later.start()
    assert [volume.uid for volume in await later.provisioner.inventory()] == ["u1"]
    assert await content(later, "u1") == b"\x07" * MIB
    await later.provisioner.create_blank("u2", MIB)
    assert await asyncio.to_thread(lambda: disk.open("rb").read(520)[512:]) == b"EFI PART", "it is whole again"


def torn(disk: Path, at: int) -> None:
    with disk.open("r+b") as file:
        file.seek(at)
        file.write(os.urandom(512))


def mke2fs(disk: Path) -> None:
    subprocess.run(["mke2fs", "-q", disk], check=True)


def strange(disk: Path) -> None:
    """A disk with somebody's partitions."""
    subprocess.run(["sfdisk", "-q", "--no-reread", disk], input=b"label: gpt\nsize=8MiB\n", check=True)


def shared(disk: Path) -> None:
    """One of hyperd's, on which somebody has made a partition of their own."""
    ours = table.blank(256 * MIB, 512)
    table.write(disk, ours)
    subprocess.run(["sfdisk", "-q", "--append", "--no-reread", disk], input=b"size=8MiB\n", check=True)


def later(disk: Path) -> None:
    """One of a later hyperd."""
    script = table.blank(256 * MIB, 512).script().replace("hyperd-pool-1", "hyperd-pool-99")
    subprocess.run(["sfdisk", "-q", "--no-reread", disk], input=script.encode(), check=True)


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (mke2fs, r"it holds ext2; `wipefs --all .*` empties it if nothing of that is needed"),
        (strange, r"the disk is none of hyperd's, it holds gpt"),
        (shared, r"hyperd has not made all that is on it; remove the partitions 2"),
        (later, r"are of format 99; this hyperd knows up to 1, and would damage them"),
    ],
    ids=["a file system", "partitions", "one partition more", "a later format"],
)
async def test_what_is_on_a_disk_that_is_not_the_pools_stays(
    tmp_path: Path, disk: Path, prepare: object, why: str
) -> None:
    assert callable(prepare)
    prepare(disk)
    before = all_of(disk)
    backend = made(tmp_path, disk)
    await backend.start()
    with pytest.raises(TemporaryError, match=rf"The pool raw on {disk} cannot be used: .*{why}"):
        await backend.provisioner.create_blank("u1", MIB)
    assert await backend.provisioner.inventory() == []
    assert all_of(disk) == before


async def test_what_is_no_disk_is_refused(tmp_path: Path, backend: BlockBackend) -> None:
    await backend.provisioner.create_blank("u1", MIB)
    handle = await backend.attacher.attach("u1")
    file = tmp_path / "file"
    file.touch()
    for path, why in {
        tmp_path / "absent": "cannot be looked at: No such file",
        file: "is no disk, but a file or a folder",
        handle.path: "is a partition; volumes are partitions of a whole disk",
    }.items():
        with pytest.raises(TemporaryError, match=why):
            await made(tmp_path / "other", path).provisioner.create_blank("u1", MIB)


async def test_another_disk_in_its_place_is_not_taken_for_the_pools(
    backend: BlockBackend, tmp_path: Path, disk: Path
) -> None:
    link = tmp_path / "by-id"
    link.symlink_to(disk)
    own = made(tmp_path, link)
    await own.provisioner.create_blank("u1", MIB)
    with loops.disk(tmp_path / "another.img") as another:
        link.unlink()
        link.symlink_to(another)
        for pool in (own, made(tmp_path, link)):
            await pool.start()
            assert await pool.provisioner.inventory() == []
            with pytest.raises(TemporaryError, match=r"none of hyperd's, it holds nothing; remove .*raw.json if"):
                await pool.provisioner.find("u1")
        link.unlink()
        with pytest.raises(TemporaryError, match="No such file"):
            await own.provisioner.find("u1")
        link.symlink_to(disk)
        assert await own.provisioner.find("u1") is not None


def pools(path: Path) -> Object:
    return {"reserve_bytes": 0, "pools": [{"name": "raw", "kind": "block", "path": str(path)}]}


def lying(disk: Path) -> Sequence[tuple[str, int]]:
    """The volumes of a disk."""
    if not table.signatures(disk):
        return []
    return [(part.name, part.size) for part in table.read(disk).of(Type.VOLUME)]


async def test_a_disk_of_the_class_is_a_partition_for_as_long_as_it_lives(tmp_path: Path, disk: Path) -> None:
    async with running(storage=pools(disk)) as world:
        class_ = (await world.store.get(STORAGE_CLASS, "", "raw")).object()
        assert class_["provisioner"] == "hyperd.local/raw"
        derived = derived_of(world.store, KINDS)
        await world.wait_for_disk()
        await world.give_disk(storageClassName="raw")
        await world.phase("Running")
        uid = (await world.store.get(VIRTUAL_DISK, "default", "vm")).uid
        assert lying(disk) == [(uid, MIB)]
        for kind in (PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM):
            (shown,) = await derived[kind].find_all(kind)
            assert shown["spec"]["volumeMode"] == "Block"
        await world.operate("Stop", "stop")
        await world.phase("Stopped")
        await world.store.delete(VIRTUAL_MACHINE, "default", "vm")
        await world.gone()
        await world.store.delete(VIRTUAL_DISK, "default", "vm")
        await world.gone(VIRTUAL_DISK)
        assert lying(disk) == []
        one = PoolSettings(name="raw", kind=PoolKind.BLOCK, path=disk)
        again = BlockBackend(Settings(state_dir=world.state_dir), one)
        await again.provisioner.create_blank("nobodys", MIB)
        assert await world.kept() == {"nobodys": ("volume",)}
        assert lying(disk) == [("nobodys", MIB)], "what has no owner stays where it is"
        os.sync()


def test_a_table_is_what_its_script_says(disk: Path) -> None:
    first = table.blank(256 * MIB, 512)
    table.write(disk, first)
    again = table.read(disk)
    assert isinstance(again, Table)
    assert again.format == table.FORMAT
    table.write(disk, again)
    assert table.read(disk) == again
