"""Full disks: what waits, what it says, and that it heals."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from hyperd.errors import TemporaryError
from hyperd.settings import Settings, StorageSettings
from hyperd.storage.backends.directory.backend import DirectoryBackend
from hyperd.storage.seed import SeedStore
from tests.unit.registry.world import World, a_world, files_in

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
MIB = 1 << 20
IMAGE = b"\x01" * (16 * MIB)


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}M,mode=0711", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def grow(folder: Path, mebibytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={mebibytes}M", folder], check=True)


async def fails_then_heals(world: World, disk: Path, sentence: str) -> None:
    with pytest.raises(TemporaryError, match=sentence):
        await world.load("/a")
    assert await world.leftovers() == []
    grow(disk, 128)
    assert (await world.load("/a")).stored_bytes == len(IMAGE)


async def test_an_import_that_cannot_fit_is_not_begun(tmp_path: Path) -> None:
    with small_disk(tmp_path / "state", 12) as disk:
        async with a_world(tmp_path) as world:
            world.source.routes["/a"] = IMAGE
            await fails_then_heals(world, disk, "where .* are free")


async def test_a_registry_whose_disk_fills_up_meanwhile_is_named(tmp_path: Path) -> None:
    with small_disk(tmp_path / "state" / "registry", 24) as disk:

        async def filling(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Length": str(len(IMAGE))})
            await response.prepare(request)
            await response.write(IMAGE[: 8 * MIB])
            while not any(path.stat().st_size for path in disk.rglob("data")):
                await asyncio.sleep(0.01)  # the server buffers that much: it may not be looked for space yet
            (disk / "filler").write_bytes(b"\x01" * (10 * MIB))
            await response.write(IMAGE[8 * MIB :])
            return response

        async with a_world(tmp_path) as world:
            world.source.routes["/a"] = filling
            await fails_then_heals(world, disk, "no space left")


async def test_a_node_without_space_is_named(tmp_path: Path) -> None:
    async def unannounced(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(IMAGE)
        return response

    with small_disk(tmp_path / "state" / "images", 8) as disk:
        async with a_world(tmp_path) as world:
            world.source.routes["/a"] = unannounced
            await fails_then_heals(world, disk, "no space left|disk is full")


async def test_a_cached_image_that_does_not_fit_is_fetched_when_it_does(tmp_path: Path) -> None:
    with small_disk(tmp_path / "state" / "images", 20) as disk:
        async with a_world(tmp_path) as world:
            world.source.routes["/a"] = IMAGE
            got = await world.load("/a")
            filler = disk / "filler"
            filler.write_bytes(b"\x01" * (12 * MIB))
            with pytest.raises(TemporaryError, match=r"no space left|disk is full"):
                await world.cache.ensure(got.reference)
            assert files_in(disk) == ["filler"]
            filler.unlink()
            assert (await world.cache.ensure(got.reference)).path.stat().st_size == len(IMAGE)


async def test_a_full_pool_makes_no_volume_and_no_seed_until_there_is_space(tmp_path: Path) -> None:
    with small_disk(tmp_path / "state", 4) as disk:
        settings = Settings(state_dir=disk, storage=StorageSettings(reserve_bytes=0))
        backend, seeds = DirectoryBackend(settings), SeedStore(settings)
        await backend.start()
        pool = backend.provisioner
        filler = disk / "filler"
        filler.write_bytes(b"\x01" * (4 * MIB - 64 * 1024))
        with pytest.raises(TemporaryError, match="No space"):
            await pool.create_blank("u1", MIB)
        with pytest.raises(TemporaryError, match="no space left"):
            await seeds.write("u1", hostname="web", user_data=b"x")
        assert await pool.inventory() == []
        assert await seeds.inventory() == []
        filler.unlink()
        await pool.create_blank("u1", MIB)
        await seeds.write("u1", hostname="web", user_data=b"x")


async def test_what_a_failed_upload_took_is_free_at_once(tmp_path: Path) -> None:
    with small_disk(tmp_path / "state" / "registry", 8) as disk:
        async with a_world(tmp_path) as world:
            for _ in range(3):
                with pytest.raises(TemporaryError, match="no space left"):
                    await overfill(world)
                usage = os.statvfs(disk)
                assert usage.f_bavail * usage.f_frsize > 7 * MIB


async def overfill(world: World) -> None:
    async with world.client.upload("vi/ns/a") as upload:
        for _ in range(16):
            await upload.send(b"\x01" * MIB)
        await upload.flush()
