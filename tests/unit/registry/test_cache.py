from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from hyperd.errors import NotFound, TemporaryError
from hyperd.imagefile.detect import ImageFormat
from registry.models import ImportedImage
from tests.unit.registry.world import World, files_in

IMAGE = b"\xeb\x63\x90" + bytes(range(256)) * 20_000


@pytest.fixture
async def image(world: World) -> ImportedImage:
    world.source.routes["/a"] = IMAGE
    return await world.load("/a")


def blob(world: World, digest: str) -> Path:
    hex_ = digest.removeprefix("sha256:")
    return world.settings.registry_dir / "docker/registry/v2/blobs/sha256" / hex_[:2] / hex_ / "data"


async def test_a_cached_file_is_read_only_and_named_by_its_layer(world: World, image: ImportedImage) -> None:
    cached = await world.cache.ensure(image.reference)
    assert cached.path.read_bytes() == IMAGE
    assert cached.path.stem == image.layer_digest.removeprefix("sha256:")
    assert cached.path.stat().st_mode & 0o777 == 0o444
    assert (cached.format, cached.virtual_size, cached.cdrom) == (ImageFormat.RAW, len(IMAGE), False)
    assert [file.layer_digest for file in await world.cache.inventory()] == [image.layer_digest]


async def test_concurrent_callers_share_one_download(world: World, image: ImportedImage) -> None:
    found = await asyncio.gather(*(world.cache.ensure(image.reference) for _ in range(8)))
    assert len({cached.path.stat().st_ino for cached in found}) == 1


async def test_a_file_that_is_there_is_not_fetched_again(world: World, image: ImportedImage) -> None:
    first = await world.cache.ensure(image.reference)
    blob(world, image.layer_digest).unlink()
    assert await world.cache.ensure(image.reference) == first


async def unused() -> bool:
    return True


async def test_an_evicted_file_is_fetched_again(world: World, image: ImportedImage) -> None:
    cached = await world.cache.ensure(image.reference)
    await world.cache.evict(cached.layer_digest, unused)
    await world.cache.evict(cached.layer_digest, unused)
    assert await world.cache.inventory() == []
    assert (await world.cache.ensure(image.reference)).path.read_bytes() == IMAGE


async def test_a_file_is_not_evicted_from_under_who_makes_a_disk_of_it(world: World, image: ImportedImage) -> None:
    async with world.cache.held(image.reference) as cached:
        await world.cache.evict(cached.layer_digest, unused)
        assert cached.path.exists()
    await world.cache.evict(cached.layer_digest, unused)
    assert not cached.path.exists()


async def test_whether_a_file_is_unused_is_asked_while_nobody_can_begin_to_use_it(
    world: World, image: ImportedImage
) -> None:
    cached = await world.cache.ensure(image.reference)
    users: list[asyncio.Task[object]] = []

    async def meanwhile() -> bool:
        users.append(asyncio.create_task(world.cache.ensure(image.reference)))
        await asyncio.sleep(0.05)
        assert not users[0].done()
        return True

    await world.cache.evict(cached.layer_digest, meanwhile)
    await users[0]
    assert cached.path.read_bytes() == IMAGE


@pytest.mark.parametrize("damage", ["flipped", "short"])
async def test_a_damaged_layer_never_becomes_a_file(world: World, image: ImportedImage, damage: str) -> None:
    path = blob(world, image.layer_digest)
    content = bytearray(path.read_bytes())
    content[9000] ^= 1
    path.write_bytes(content if damage == "flipped" else content[:-5000])
    with pytest.raises(TemporaryError):
        await world.cache.ensure(image.reference)
    assert files_in(world.settings.images_dir) == []


async def test_an_image_that_is_not_in_the_registry_is_not_found(world: World, image: ImportedImage) -> None:
    with pytest.raises(NotFound):
        await world.cache.ensure(image.reference + "x")


async def test_with_the_registry_down_the_caller_is_told_to_come_again(world: World, image: ImportedImage) -> None:
    async with world.server.stopped():
        with pytest.raises(TemporaryError, match="does not answer"):
            await world.cache.ensure(image.reference)


async def test_cleaning_removes_half_files_and_keeps_whole_ones(world: World, image: ImportedImage) -> None:
    cached = await world.cache.ensure(image.reference)
    for name in (".pull-x.part", ".import-u1.part"):
        (world.settings.images_dir / name).write_bytes(b"half")
    await world.cache.clean()
    assert os.listdir(world.settings.images_dir) == [cached.path.name]


@pytest.mark.loop_seconds(1, "the test serves all of it")
async def test_zeros_take_no_space(world: World) -> None:
    world.source.routes["/z"] = b"\x01" + bytes(32 << 20)
    cached = await world.cache.ensure((await world.load("/z", name="zeros")).reference)
    assert cached.path.stat().st_blocks * 512 < 1 << 20
    assert cached.path.stat().st_size == 1 + (32 << 20)
