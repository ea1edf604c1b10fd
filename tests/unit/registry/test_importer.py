"""Imports from a real HTTP server into a real registry."""

from __future__ import annotations

import asyncio
import errno
import gzip
import hashlib
import lzma
import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web
from yarl import URL

from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile.detect import ImageFormat
from hyperd.progress import Progress
from registry.client import RegistryClient
from registry.spool import Spool
from tests.unit.registry.world import World, a_world, files_in, qcow2_bytes, qemu_img

MIB = 1 << 20


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-qc"], input=data, check=True, capture_output=True).stdout


def raw_image(size: int = 3 * MIB + 17) -> bytes:
    return b"\xeb\x63\x90" + bytes(range(256)) * (size // 256) + b"end"


def iso_image() -> bytes:
    return bytes(32768) + b"\x01CD001" + bytes(4096)


async def test_a_qcow2_is_kept_as_it_came_and_measured(world: World, tmp_path: Path) -> None:
    image = await qcow2_bytes(tmp_path)
    world.source.routes["/a"] = image
    sha256 = hashlib.sha256(image).hexdigest()
    got = await world.load("/a", sha256=sha256.upper(), md5=hashlib.md5(image).hexdigest())
    assert (got.format, got.cdrom) == (ImageFormat.QCOW2, False)
    assert (got.stored_bytes, got.unpacked_bytes, got.virtual_size) == (len(image), 4 * MIB, 4 * MIB)
    assert got.sha256 == sha256
    assert got.average_speed > 0
    assert await world.client.exists(got.reference)
    cached = await world.cache.ensure(got.reference)
    assert cached.path.read_bytes() == image


async def test_a_qcow2_may_have_any_length(world: World, tmp_path: Path) -> None:
    qemu_img("create", "-q", "-f", "qcow2", tmp_path / "empty", "16M")
    image = (tmp_path / "empty").read_bytes()
    assert len(image) % 512
    world.source.routes["/a"] = image
    got = await world.load("/a")
    assert (got.stored_bytes, got.virtual_size) == (len(image), 16 * MIB)


@pytest.mark.parametrize(
    ("image", "format_"), [(raw_image(), ImageFormat.RAW), (iso_image(), ImageFormat.ISO)], ids=["raw", "iso"]
)
async def test_raw_and_iso_images_are_kept_as_they_came(world: World, image: bytes, format_: ImageFormat) -> None:
    world.source.routes["/a"] = image
    got = await world.load("/a")
    assert (got.format, got.cdrom) == (format_, format_ is ImageFormat.ISO)
    assert got.stored_bytes == got.unpacked_bytes == len(image)
    assert (await world.cache.ensure(got.reference)).path.read_bytes() == image


@pytest.mark.loop_seconds(10, "the test packs what it serves")
@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, zstd], ids=["gz", "xz", "zst"])
async def test_an_outer_compression_is_removed_and_checksums_are_of_what_was_served(
    world: World, tmp_path: Path, pack: object
) -> None:
    image = await qcow2_bytes(tmp_path)
    packed = pack(image)  # type: ignore[operator]
    world.source.routes["/a"] = packed
    got = await world.load("/a", sha512=hashlib.sha512(packed).hexdigest())
    assert (got.format, got.stored_bytes) == (ImageFormat.QCOW2, len(image))
    assert got.sha256 == hashlib.sha256(image).hexdigest()
    assert (await world.cache.ensure(got.reference)).path.read_bytes() == image


@pytest.mark.parametrize("foreign", ["vmdk", "vdi"])
async def test_a_foreign_format_becomes_qcow2(world: World, tmp_path: Path, foreign: str) -> None:
    (tmp_path / "sound").write_bytes(await qcow2_bytes(tmp_path))
    qemu_img("convert", "-f", "qcow2", "-O", foreign, tmp_path / "sound", tmp_path / "foreign")
    world.source.routes["/a"] = (tmp_path / "foreign").read_bytes()
    got = await world.load("/a")
    assert (got.format, got.virtual_size) == (ImageFormat.QCOW2, 4 * MIB)
    cached = await world.cache.ensure(got.reference)
    qemu_img("compare", "-f", "qcow2", "-F", "qcow2", tmp_path / "sound", cached.path)


async def test_a_source_without_a_length_is_spooled(world: World, tmp_path: Path) -> None:
    image = await qcow2_bytes(tmp_path)

    async def chunked(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for start in range(0, len(image), 10_000):
            await response.write(image[start : start + 10_000])
        return response

    world.source.routes["/a"] = chunked
    assert (await world.load("/a")).stored_bytes == len(image)


async def test_progress_rises_and_says_how_fast(world: World) -> None:
    seen: list[Progress] = []

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(24 * MIB)})
        await response.prepare(request)
        for _ in range(12):
            await response.write(b"\x01" * (2 * MIB))
            await asyncio.sleep(0.1)
        return response

    world.source.routes["/a"] = slow
    await world.importer.run(world.request("/a"), seen.append)
    fractions = [progress.fraction for progress in seen]
    assert fractions
    assert all(fraction is not None and 0 < fraction <= 1 for fraction in fractions)
    assert fractions == sorted(fractions, key=float)  # type: ignore[arg-type]
    assert seen[0].current_speed > 0


async def test_a_repeated_run_finds_what_is_there_and_a_changed_one_replaces_it(world: World) -> None:
    world.source.routes |= {"/a": raw_image(), "/b": iso_image()}
    first = await world.load("/a")
    world.source.requests.clear()
    again = await world.load("/a")
    assert again.manifest_digest == first.manifest_digest
    assert world.source.requests == []
    assert (await world.load("/b")).format is ImageFormat.ISO


async def test_two_imports_of_one_content_share_the_layer_and_are_deleted_apart(world: World) -> None:
    world.source.routes["/a"] = raw_image()
    loads = (world.load("/a", uid=f"u{number}", name=name) for number, name in enumerate(("image", "other")))
    first, second = await asyncio.gather(*loads)
    assert first.layer_digest == second.layer_digest
    await world.client.delete_manifest("vi/ns/image", first.manifest_digest)
    assert not await world.client.exists(first.reference)
    assert await world.client.exists(second.reference)


def bad_qcow2(folder: Path, case: str) -> bytes:
    path = folder / "bad.qcow2"
    arguments = {
        "backing": ["-u", "-b", "/etc/shadow", "-F", "raw"],
        "data file": ["-o", f"data_file={folder}/data"],
        "huge": ["-o", "cluster_size=2M"],
    }[case]
    qemu_img("create", "-f", "qcow2", *arguments, path, "4P" if case == "huge" else "1M")
    return path.read_bytes()


@pytest.mark.parametrize(
    ("case", "sentence"),
    [("backing", "backing file"), ("data file", "external file"), ("huge", "beyond the limit")],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
async def test_a_qcow2_that_reaches_beyond_itself_leaves_nothing(
    world: World, tmp_path: Path, case: str, sentence: str, packed: bool
) -> None:
    image = await asyncio.to_thread(bad_qcow2, tmp_path, case)
    world.source.routes["/a"] = gzip.compress(image) if packed else image
    with pytest.raises(PermanentError, match=sentence) as refused:
        await world.load("/a")
    assert refused.value.key == "ProvisioningFailed"
    assert await world.leftovers() == []


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "empty file"),
        (b"<html><title>Login</title>", "web page"),
        (b"no such image\n", "text file"),
        (gzip.compress(raw_image())[:2000], "damaged or cut short"),
        (gzip.compress(b""), "empty file"),
        (gzip.compress(gzip.compress(raw_image())), "twice"),
        (b"QFI\xfb", "cut short"),
    ],
    ids=["empty", "html", "text", "cut gz", "empty gz", "gz in gz", "4 bytes of qcow2"],
)
async def test_what_is_no_image_leaves_nothing(world: World, body: bytes, sentence: str) -> None:
    world.source.routes["/a"] = body
    with pytest.raises(PermanentError, match=sentence):
        await world.load("/a")
    assert await world.leftovers() == []


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
async def test_a_truncated_qcow2_leaves_nothing(world: World, tmp_path: Path, packed: bool) -> None:
    image = await qcow2_bytes(tmp_path)
    cut = image[: len(image) - 400_000]
    world.source.routes["/a"] = gzip.compress(cut) if packed else cut
    with pytest.raises(PermanentError, match="cut short"):
        await world.load("/a")
    assert await world.leftovers() == []


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
async def test_a_wrong_checksum_leaves_nothing(world: World, packed: bool) -> None:
    world.source.routes["/a"] = gzip.compress(raw_image()) if packed else raw_image()
    with pytest.raises(PermanentError, match="sha256 sum mismatch: the source's is"):
        await world.load("/a", sha256="0" * 64)
    assert await world.leftovers() == []


async def test_a_checksum_that_is_not_available_is_refused_before_anything_is_fetched(world: World) -> None:
    with pytest.raises(PermanentError, match="crc32 is not available"):
        await world.load("/a", crc32="0" * 64)
    assert world.source.requests == []


@pytest.mark.loop_seconds(10, "the test packs what it serves")
async def test_a_bomb_is_cut_off(tmp_path: Path) -> None:
    async with a_world(tmp_path, max_virtual_size_bytes=32 * MIB) as world:
        world.source.routes["/a"] = zstd(bytes(256 * MIB))
        with pytest.raises(PermanentError, match="beyond the limit"):
            await world.load("/a")
        assert await world.leftovers() == []


async def test_a_download_beyond_the_limit_is_refused_announced_or_not(tmp_path: Path) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"\x01" * MIB)

    async with a_world(tmp_path, max_download_bytes=2 * MIB) as world:
        world.source.routes |= {"/long": raw_image(3 * MIB), "/endless": endless}
        for path in ("/long", "/endless"):
            with pytest.raises(PermanentError, match=r"imports\.max_download_bytes"):
                await world.load(path)
        assert await world.leftovers() == []


async def test_an_import_leaves_the_disk_its_reserve(tmp_path: Path) -> None:
    async with a_world(tmp_path, reserve=1 << 60) as world:

        async def endless(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(b"\x01" * (1 << 20))

        world.source.routes |= {"/said": b"\x01" * 4096, "/unsaid": endless}
        for path, sentence in (("/said", "where 0 are free"), ("/unsaid", "must stay free")):
            with pytest.raises(TemporaryError, match=sentence):
                await world.load(path)
        assert await world.leftovers() == []


async def test_a_body_that_ends_early_may_be_tried_again(world: World) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(8 * MIB)})
        await response.prepare(request)
        await response.write(b"\x01" * (3 * MIB))
        assert request.transport is not None
        request.transport.close()
        return response

    world.source.routes["/a"] = cut
    with pytest.raises(TemporaryError, match="before all bytes came"):
        await world.load("/a")
    assert await world.leftovers() == []


async def test_a_cancelled_import_leaves_nothing(world: World) -> None:
    started = asyncio.Event()

    async def stalled(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(64 * MIB)})
        await response.prepare(request)
        await response.write(b"\x01" * (8 * MIB))
        started.set()
        await asyncio.Event().wait()
        return response

    world.source.routes["/a"] = stalled
    running = asyncio.create_task(world.load("/a"))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await world.leftovers() == []


async def test_a_spool_cancelled_while_it_opens_leaves_nothing(tmp_path: Path) -> None:
    for steps in range(5):
        opening = asyncio.create_task(Spool(tmp_path, "a", reserve=0).__aenter__())
        for _ in range(steps):
            await asyncio.sleep(0)
        opening.cancel()
        with suppress(asyncio.CancelledError):
            await (await opening).__aexit__()
        assert files_in(tmp_path) == []


async def test_a_spool_that_cannot_be_removed_keeps_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    spool = await Spool(tmp_path, "a", reserve=0).__aenter__()
    with monkeypatch.context() as disk:
        disk.setattr(Path, "unlink", refuses)
        with pytest.raises(OSError, match="Input/output"):
            await spool.__aexit__()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(spool.fd)


async def test_an_import_cancelled_before_it_knows_its_upload_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()
    begin = RegistryClient._open_upload

    async def late(client: RegistryClient, name: str) -> URL:
        location = await begin(client, name)
        begun.set()
        await asyncio.sleep(0.2)
        return location

    monkeypatch.setattr(RegistryClient, "_open_upload", late)
    world.source.routes["/a"] = raw_image()
    running = asyncio.create_task(world.load("/a"))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await world.leftovers() == []


async def test_with_the_registry_down_an_import_waits_and_fetches_nothing(world: World) -> None:
    world.source.routes["/a"] = raw_image()
    async with world.server.stopped():
        with pytest.raises(TemporaryError, match="does not answer"):
            await world.load("/a")
        assert world.source.requests == []
    await world.load("/a")


async def test_no_more_imports_run_at_a_time_than_the_setting_says(tmp_path: Path) -> None:
    running = most = 0
    both = asyncio.Event()

    async def counted(request: web.Request) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 2:
            both.set()
        await both.wait()
        await asyncio.sleep(0.05)
        running -= 1
        return web.Response(body=raw_image(MIB))

    async with a_world(tmp_path, concurrent=2) as world:
        world.source.routes["/a"] = counted
        await asyncio.gather(*(world.load("/a", uid=f"u{i}", name=f"i{i}") for i in range(6)))
    assert most == 2
