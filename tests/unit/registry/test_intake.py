"""Uploads: what somebody sends, and what becomes of it, into a real registry."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from hyperd.errors import (
    BadRequest,
    HyperdError,
    PermanentError,
    RequestEntityTooLarge,
    ServiceUnavailable,
    TemporaryError,
)
from hyperd.progress import Progress
from registry.intake import TERMINAL, TIMEOUT, WAITING, Expected, Intake
from registry.models import Addressee, ImportedImage, ImportRequest
from tests.unit.registry.world import World, a_world, qcow2_bytes

ADDRESSEE = Addressee("VirtualImage", "virtualimages", "ns", "image", "s" * 32)


class Pieces:
    """A body of ``pieces``; a None among them is where the sender leaves, an event what is waited for."""

    sender = "192.0.2.7"
    coding = ""

    def __init__(self, pieces: Iterable[bytes | asyncio.Event | None], length: int | None = None) -> None:
        self._pieces = iter(pieces)
        self.length = length

    async def readany(self) -> bytes:
        piece = next(self._pieces, b"")
        if isinstance(piece, asyncio.Event):
            await piece.wait()
            return await self.readany()
        if piece is None:
            raise ConnectionResetError("the sender left")
        return piece


def body(image: bytes, *, told: bool = True) -> Pieces:
    return Pieces([image[at : at + 65536] for at in range(0, len(image), 65536)], len(image) if told else None)


class Uploading:
    """An import that waits for its upload, and all that it reports."""

    def __init__(
        self, world: World, *, uid: str = "u1", addressee: Addressee = ADDRESSEE, **checksums: str
    ) -> None:
        self.reports: list[Progress] = []
        self.intake = Intake(world.settings.imports)
        self.request = ImportRequest("op1", "", "vi/ns/image", "u1", checksums, namespace="ns", upload=ADDRESSEE)
        self._world = world
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> ImportedImage:
        async def work(request: ImportRequest) -> ImportedImage:
            return await self._world.importer.run(request, self.reports.append)

        return await self.intake.receive(self.request, ADDRESSEE, work, self.reports.append)

    async def expected(self) -> Expected:
        while (found := self.intake.find(ADDRESSEE.secret)) is None:
            await asyncio.sleep(0)
        return found

    async def send(self, sent: Pieces) -> ImportedImage:
        return await (await self.expected()).send(sent)


@pytest.mark.parametrize("told", [True, False], ids=["length", "no-length"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
async def test_an_upload_is_imported_as_a_download_is(
    world: World, tmp_path: Path, told: bool, pack: type[bytes]
) -> None:
    image = await qcow2_bytes(tmp_path)
    packed = pack(image)
    uploading = Uploading(world, sha256=hashlib.sha256(packed).hexdigest())
    sent = await uploading.send(body(packed, told=told))
    assert sent == await uploading.task
    assert (sent.stored_bytes, sent.sha256) == (len(image), hashlib.sha256(image).hexdigest())
    assert (await world.cache.ensure(sent.reference)).path.read_bytes() == image
    assert uploading.reports[0].waits == WAITING
    assert not any(report.waits for report in uploading.reports[1:])
    assert uploading.intake.find(ADDRESSEE.secret) is None
    assert uploading.intake.of("u1") is None


async def test_one_that_breaks_off_leaves_nothing_and_the_next_one_is_taken(world: World, tmp_path: Path) -> None:
    image = await qcow2_bytes(tmp_path)
    uploading = Uploading(world)
    for length in (len(image), None):
        with pytest.raises(TemporaryError, match="broke off"):
            await uploading.send(Pieces([image[:300_000], None], length))
        assert await world.leftovers() == []
    assert "broke off" in uploading.reports[-1].waits
    assert (await uploading.send(body(image))).stored_bytes == len(image)


async def test_a_second_one_at_the_same_time_is_told_to_wait(world: World, tmp_path: Path) -> None:
    image, go_on = await qcow2_bytes(tmp_path), asyncio.Event()
    uploading = Uploading(world)
    first = asyncio.create_task(uploading.send(Pieces([image[:9000], go_on, image[9000:]], len(image))))
    expected = await uploading.expected()
    await asyncio.sleep(0)
    with pytest.raises(ServiceUnavailable, match="one is taken at a time"):
        await expected.send(body(image))
    go_on.set()
    assert (await first).stored_bytes == len(image)


@pytest.mark.parametrize(
    ("image", "why"),
    [(b"no image at all\n" * 5000, "a text file"), (b"PK\x03\x04" + bytes(9000), "not a disk image")],
    ids=["text", "zip"],
)
async def test_what_is_no_image_ends_it(world: World, image: bytes, why: str) -> None:
    uploading = Uploading(world)
    with pytest.raises(PermanentError, match=why):
        await uploading.send(body(image))
    with pytest.raises(PermanentError, match=why) as ended:
        await uploading.task
    assert ended.value.key == TERMINAL
    assert await world.leftovers() == []


async def test_a_wrong_checksum_ends_it(world: World, tmp_path: Path) -> None:
    uploading = Uploading(world, sha256="0" * 64)
    with pytest.raises(PermanentError, match="sha256"):
        await uploading.send(body(await qcow2_bytes(tmp_path)))
    with pytest.raises(PermanentError) as ended:
        await uploading.task
    assert ended.value.key == TERMINAL
    assert await world.leftovers() == []


async def test_nobody_sends_anything(tmp_path: Path) -> None:
    async with a_world(tmp_path, upload_timeout_seconds=0.01) as world:
        uploading = Uploading(world)
        with pytest.raises(PermanentError, match="create it again") as ended:
            await uploading.task
        assert ended.value.key == TIMEOUT
        assert uploading.intake.find(ADDRESSEE.secret) is None


async def test_lengths_that_cannot_be_are_refused_before_a_byte_is_read(tmp_path: Path) -> None:
    async with a_world(tmp_path, max_download_bytes=100_000) as world:
        uploading = Uploading(world)
        for length, error in ((0, BadRequest), (100_001, RequestEntityTooLarge)):
            with pytest.raises(error):
                await uploading.send(Pieces([], length))
        with pytest.raises(PermanentError, match="max_download_bytes"):
            await uploading.send(body(b"\xeb\x63\x90" + bytes(200_000), told=False))
        assert await world.leftovers() == []


async def test_one_that_is_cut_short_or_longer_than_it_says_is_not_taken(world: World, tmp_path: Path) -> None:
    image = await qcow2_bytes(tmp_path)
    uploading = Uploading(world)
    for said in (len(image) + 1, len(image) - 1):
        with pytest.raises(HyperdError):
            await uploading.send(Pieces([image], said))
        if uploading.task.done():
            break
        assert await world.leftovers() == []


async def test_a_slow_sender_loses_its_place(tmp_path: Path) -> None:
    async with a_world(tmp_path, read_timeout_seconds=0.2) as world:
        uploading = Uploading(world)
        with pytest.raises(TemporaryError, match="too slowly"):
            await uploading.send(Pieces([bytes(100), asyncio.Event()], 1000))
        assert await world.leftovers() == []
        assert (await uploading.send(body(await qcow2_bytes(tmp_path)))).virtual_size == 4 << 20


async def test_an_object_that_goes_takes_its_upload_with_it(world: World, tmp_path: Path) -> None:
    image = await qcow2_bytes(tmp_path)
    uploading = Uploading(world)
    sending = asyncio.create_task(uploading.send(Pieces([image[:9000], asyncio.Event()], len(image))))
    expected = await uploading.expected()
    while not any(not report.waits for report in uploading.reports):
        await asyncio.sleep(0)
    uploading.task.cancel()
    with pytest.raises(ServiceUnavailable, match="no longer taken"):
        await sending
    assert uploading.intake.find(ADDRESSEE.secret) is None
    assert uploading.intake.of("u1") is None
    with pytest.raises(ServiceUnavailable, match="no longer taken"):
        await expected.send(body(image))
    assert await world.leftovers() == []


async def test_who_sends_may_leave_when_all_has_come(world: World, tmp_path: Path) -> None:
    image, read = await qcow2_bytes(tmp_path), asyncio.Event()

    class Told(Pieces):
        async def readany(self) -> bytes:
            piece = await super().readany()
            if not piece:
                read.set()
            return piece

    uploading = Uploading(world)
    sending = asyncio.create_task(uploading.send(Told([image])))
    await read.wait()
    sending.cancel()
    assert (await uploading.task).stored_bytes == len(image)


async def test_addresses_are_given_out_where_they_lead_somewhere(world: World) -> None:
    intake = Intake(world.settings.imports)
    assert not any((intake.urls("s").external, intake.urls("s").internal))
    intake.serve_at("https://hv.example.org/", "https://10.0.0.1:6480")
    urls = intake.urls("s")
    assert (urls.external, urls.internal) == ("https://hv.example.org/upload/s", "https://10.0.0.1:6480/upload/s")
    assert "s" * 32 not in repr(replace(Uploading(world).request, upload=ADDRESSEE))
