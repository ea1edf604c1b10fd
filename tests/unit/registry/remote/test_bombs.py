"""Small container images that are large disks: cut off, with memory and disk bounded meanwhile."""

from __future__ import annotations

import gzip
import tarfile
import time
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from hyperd.errors import PermanentError
from registry import pipeline
from registry.importer import Importer
from registry.remote import disk, tarstream
from tests.unit.registry.remote.shelf import Shelf, archive, gz, member, zstd
from tests.unit.registry.test_image_corpus import watched
from tests.unit.registry.world import World, a_world

pytestmark = pytest.mark.loop_seconds(10, "the test packs what it serves")

MIB = 1 << 20
FLOOR = 16 * MIB
BOOT = b"\xeb\x63" + bytes(508) + b"\x55\xaa"


@pytest.fixture
async def world(tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """What may be made of anything is little here, so that a bomb is small."""
    for module in (pipeline, disk):
        monkeypatch.setattr(module, "_RATIO_FLOOR_BYTES", FLOOR)
    (tmp_path / "world").mkdir()
    async with a_world(tmp_path / "world") as made:
        imports = made.settings.imports.model_copy(update={"allowed": (f"127.0.0.1/32:{shelf.port}",)})
        made.importer = Importer(made.settings.model_copy(update={"imports": imports}), made.client)
        yield made


async def refused(world: World, shelf: Shelf, sentence: str) -> None:
    request = replace(
        world.request("/", uid="u1"), source_url="", container_image=shelf.image(), ca_bundle=shelf.ca_bundle
    )
    async with watched(world.settings.state_dir) as seen:
        with pytest.raises(PermanentError, match=sentence):
            await world.importer.run(request)
    assert await world.leftovers() == []
    assert seen.disk <= 2 * FLOOR
    assert seen.memory <= 96 * MIB


async def test_a_layer_that_unpacks_without_end(world: World, shelf: Shelf) -> None:
    for pack in (gz, zstd):
        for name in ("disk/a.img", "etc/zeros"):
            shelf.push(shelf.blob(pack(archive(member(name, BOOT + bytes(96 * MIB))))))
            await refused(world, shelf, "more than its layer|more than 200 times its size")


async def test_a_packed_disk_in_a_packed_layer(world: World, shelf: Shelf) -> None:
    inner = gzip.compress(BOOT + bytes(96 * MIB))
    shelf.push(shelf.blob(gz(archive(member("disk/a.img.gz", inner)))))
    await refused(world, shelf, "unpacks to more than 200 times its size")


async def stream(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def first_disk(data: bytes) -> None:
    """Look for the disk in a layer, in little time of the loop and little memory; it must be refused."""
    began = time.thread_time()
    await _refused(data)
    assert time.thread_time() - began < 1.0
    tracemalloc.start()
    try:
        await _refused(data)
        assert tracemalloc.get_traced_memory()[1] < 32 * MIB
    finally:
        tracemalloc.stop()


async def _refused(data: bytes) -> None:
    with pytest.raises(PermanentError):
        await disk._first_disk(tarstream.TarStream(stream(data)), disk._Hidden())


async def test_a_header_of_very_many_fields() -> None:
    fields = b"5 a=\n" * 200_000
    await first_disk(archive(member("x", fields, type=tarfile.XHDTYPE), member("disk/a.img", BOOT)))


async def test_names_of_very_many_folders() -> None:
    """Each of them would be looked for in what layers above have taken away."""
    for name in ("disk/" + "a/" * 500_000 + "b", "disk/" + "a/" * 1000 + "b"):
        for type_ in (tarfile.REGTYPE, tarfile.SYMTYPE):
            await first_disk(archive(member(name, type=type_), format_=tarfile.GNU_FORMAT))


async def test_very_long_names_that_are_taken_away() -> None:
    names = (f"disk/{number:08}{'a' * 3000}/.wh.b" for number in range(5000))
    await first_disk(archive(*map(member, names), format_=tarfile.GNU_FORMAT))


async def test_a_layer_of_very_many_entries(world: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarstream, "_MOST_ENTRIES", 1000)
    shelf.push(shelf.blob(gz(archive(*(member(f"d{number}", type=tarfile.DIRTYPE) for number in range(2000))))))
    await refused(world, shelf, "more than 1000 entries")
    monkeypatch.setattr(disk, "_MOST_HIDDEN", 10)
    shelf.push(shelf.blob(archive(*(member(f"disk/.wh.{number}") for number in range(20)))))
    await refused(world, shelf, "hides or deletes more than 10 files")
