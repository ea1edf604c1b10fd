"""Volumes of the directory pool over an image that is not there yet."""

from __future__ import annotations

import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile.handle import DiskFormat, FileHandle, NbdHandle
from hyperd.imagefile.lazy import LazyFiles
from hyperd.settings import Settings, StorageSettings
from hyperd.storage.backends.directory.backend import DirectoryBackend
from hyperd.storage.interface import Provisioner

DIGEST = "ab" * 32
SIZE = 8 << 20
UID = "one"


class Pool:
    """A backend with one lazy volume."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.backend = DirectoryBackend(settings)
        self.lazily = self.backend.provisioner.lazily
        self.image = FileHandle(settings.images_dir / f"{DIGEST}.qcow2", DiskFormat.QCOW2)

    async def make(self) -> None:
        await self.backend.start()
        self.settings.images_dir.mkdir(parents=True)
        LazyFiles(self.settings.images_dir, DIGEST).record.write_text("{}")
        await self.backend.provisioner.create_from_image(UID, SIZE, image=self.image)

    def arrive(self) -> None:
        """The image is there."""
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", str(self.image.path), str(SIZE)]
        subprocess.run(argv, check=True)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.settings.volumes_dir.iterdir() if path.name[0] != ".")


@pytest.fixture
async def pool(tmp_path: Path) -> Pool:
    storage = StorageSettings(reserve_bytes=0, overcommit_ratio=0)
    made = Pool(Settings(state_dir=tmp_path / "s", run_dir=tmp_path / "r", storage=storage))
    await made.make()
    return made


async def test_a_guest_reads_the_image_from_who_fetches_it_until_it_is_there(pool: Pool) -> None:
    assert await pool.lazily.image(UID) == pool.image.path
    handle = await pool.backend.attacher.attach(UID)
    assert handle.below == NbdHandle(pool.settings.lazy_socket, DIGEST, DiskFormat.QCOW2)
    assert handle == FileHandle(pool.settings.volumes_dir / f"{UID}.qcow2", DiskFormat.QCOW2)
    assert await pool.backend.provisioner.reads(pool.image.path)
    pool.arrive()
    assert (await pool.backend.attacher.attach(UID)).below is None


WORK: dict[str, Callable[[Pool], Awaitable[object]]] = {
    "layers": lambda pool: pool.backend.attacher.layers(UID),
    "clone": lambda pool: pool.backend.provisioner.clone("two", source=UID, op_uid="op"),
    "snapshot": lambda pool: pool.backend.provisioner.prepare_snapshot(
        UID, snapshot="snap", op_uid="op", in_use=True
    ),
    "grow": lambda pool: pool.backend.provisioner.grow(UID, 2 * SIZE, in_use=True),
    "read": lambda pool: pool.backend.attacher.reading(UID).__aenter__(),
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
async def test_what_would_read_or_change_it_waits(pool: Pool, work: Callable[[Pool], Awaitable[object]]) -> None:
    with pytest.raises(TemporaryError, match="still being fetched"):
        await work(pool)
    pool.arrive()
    await pool.backend.attacher.attach(UID)
    await pool.lazily.prepare(UID)
    with pytest.raises(TemporaryError, match="still being fetched"):
        await work(pool)
    await pool.lazily.cancel(UID)
    await pool.backend.attacher.detach(UID)
    await work(pool)


async def test_it_cannot_be_settled_before_the_image_is_there(pool: Pool) -> None:
    with pytest.raises(TemporaryError, match="still being fetched"):
        await pool.lazily.prepare(UID)
    assert pool.files() == [f"{UID}.qcow2"]


async def test_the_first_layer_is_the_volume_until_the_other_one_is_committed(pool: Pool) -> None:
    pool.arrive()
    first = await pool.lazily.prepare(UID)
    assert first.below == pool.image
    assert await pool.lazily.prepare(UID) == first == await pool.lazily.prepared(UID)
    again = Pool(pool.settings)
    await again.backend.start()
    assert (await again.backend.attacher.attach(UID)).path.name == f"{UID}.qcow2"
    assert [volume.uid for volume in await again.backend.provisioner.inventory()] == [UID]
    await again.lazily.commit(UID)
    await again.lazily.commit(UID)
    assert await again.backend.attacher.attach(UID) == first
    assert pool.files() == [f"{UID}.fetched.qcow2"]
    assert await again.lazily.prepared(UID) is None
    assert (await again.backend.provisioner.find(UID)) is not None
    assert len(await again.backend.attacher.layers(UID)) == 2


@pytest.mark.parametrize("committed", [False, True])
async def test_nothing_of_it_is_left_when_it_is_deleted(pool: Pool, committed: bool) -> None:
    pool.arrive()
    await pool.lazily.prepare(UID)
    if committed:
        await pool.lazily.commit(UID)
    await pool.backend.provisioner.delete(UID)
    assert pool.files() == []


async def test_a_crash_before_the_layer_is_there_leaves_nothing(pool: Pool) -> None:
    pool.arrive()
    handle = await pool.lazily.prepare(UID)
    handle.path.unlink()
    again = Pool(pool.settings)
    await again.backend.start()
    assert again.files() == [f"{UID}.qcow2"]


async def test_a_volume_that_has_a_snapshot_is_left_to_its_guest(pool: Pool) -> None:
    pool.arrive()
    provisioner: Provisioner = pool.backend.provisioner
    await provisioner.prepare_snapshot(UID, snapshot="snap", op_uid="op", in_use=False)
    await provisioner.commit_snapshot(UID, snapshot="snap", op_uid="op")
    assert await pool.lazily.image(UID) is None
    with pytest.raises(PermanentError, match="layers"):
        await pool.lazily.prepare(UID)
