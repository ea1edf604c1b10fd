"""Images that are read while they are fetched: a real registry, the real process, and QEMU's own client."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import signal
import struct
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hyperd.imagefile.lazy import FetchState, LazyFiles
from registry import collect, layout, process
from registry.chunks import Chunker
from registry.images import NodeImages
from registry.lazy.fetches import LazyFetches
from registry.lazy.record import LazyRecord
from registry.models import ImportedImage
from registry.push import Stored, stored
from tests.unit.registry.lazy.reader import Refused, reading
from tests.unit.registry.test_cache import blob
from tests.unit.registry.world import World, a_world, files_in

pytestmark = pytest.mark.loop_seconds(1, "the tests serve whole images")

CHUNK = 256 << 10
SIZE = 9 * (1 << 20) + 12345
SECTORS = -(-SIZE // 512) * 512
IMAGE = b"\xeb\x63\x90" + random.Random(7).randbytes(SIZE - 3)


@dataclass
class Lazy:
    """An image in the registry, and who may fetch it."""

    world: World
    image: ImportedImage
    fetches: LazyFetches
    stored: Stored

    @property
    def digest(self) -> str:
        return self.image.layer_digest.removeprefix("sha256:")

    @property
    def path(self) -> Path:
        return self.world.settings.images_dir / f"{self.digest}.img"

    @property
    def socket(self) -> Path:
        return self.world.settings.lazy_socket

    @property
    def places(self) -> LazyFiles:
        return LazyFiles(self.world.settings.images_dir, self.digest)

    @property
    def uri(self) -> str:
        return f"nbd+unix:///{self.digest}?socket={self.socket}"

    def pids(self) -> list[int]:
        found = process.find(self.fetches._argv)
        for each in found:
            each.close()
        return [each.pid for each in found]

    async def begin(self) -> bool:
        return await self.fetches.begin("vi/ns/image", "u1", self.stored.disk, self.stored.layer)

    async def until(self, what: Callable[[FetchState], bool]) -> FetchState:
        async with asyncio.timeout(60):
            while not ((state := await self.fetches.state(self.path)) and what(state)):
                await asyncio.sleep(0.05)
        return state


async def eventually(what: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(what):
            await asyncio.sleep(0.05)


async def a_lazy(world: World) -> Lazy:
    image = await world.load("/a")
    found = await stored(world.client, "vi/ns/image", "u1")
    return Lazy(world, image, LazyFetches(world.settings, world.client), found)


async def recorded(lazy: Lazy, record: LazyRecord) -> None:
    async with lazy.fetches._recording:
        await asyncio.to_thread(record.write, lazy.places)


@asynccontextmanager
async def without_registry(lazy: Lazy) -> AsyncIterator[AsyncExitStack]:
    """The image is known, and none of it has come; the registry is back once the stack is closed."""
    repository, found = "vi/ns/image", lazy.stored
    assert found.disk.chunks is not None
    await recorded(lazy, LazyRecord(repository, "u1", found.layer, found.disk, found.disk.chunks))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(lazy.world.server.stopped())
        yield stack


@pytest.fixture
async def lazy(tmp_path: Path) -> AsyncIterator[Lazy]:
    async with a_world(tmp_path, lazy_from_bytes=0) as world:
        world.source.routes["/a"] = IMAGE
        made = await a_lazy(world)
        await made.fetches.start()
        try:
            yield made
        finally:
            await made.fetches.close()
            for left in await asyncio.to_thread(process.find, made.fetches._argv):
                await left.end()
                left.close()


def damage(lazy: Lazy, offset: int) -> None:
    path = blob(lazy.world, lazy.image.layer_digest)
    with path.open("r+b") as file:
        file.seek(layout.DATA_OFFSET + offset)
        byte = file.read(1)
        file.seek(layout.DATA_OFFSET + offset)
        file.write(bytes([byte[0] ^ 1]))


async def test_qemu_reads_the_image_while_it_comes_and_in_the_end_it_is_the_cached_file(
    lazy: Lazy, tmp_path: Path
) -> None:
    assert await lazy.begin()
    copied = tmp_path / "copied"
    argv = ["qemu-img", "convert", "-f", "raw", "-O", "raw", "-m", "8", lazy.uri, str(copied)]
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert copied.read_bytes()[:SIZE] == IMAGE
    state = await lazy.until(lambda state: state.fraction == 1)
    await eventually(lazy.path.exists)
    assert lazy.path.read_bytes() == IMAGE
    assert lazy.path.stat().st_mode & 0o777 == 0o444
    assert (state.size, state.fault) == (SIZE, "")
    assert (await lazy.world.cache.ensure(lazy.image.reference)).path == lazy.path


async def test_all_comes_without_a_reader_and_nothing_is_left_once_it_is_no_longer_asked_for(lazy: Lazy) -> None:
    assert await lazy.begin()
    await eventually(lazy.path.exists)
    await lazy.fetches.end(lazy.places)
    await eventually(lambda: not lazy.pids())
    await eventually(lambda: files_in(lazy.world.settings.images_dir) == [lazy.path.name])


async def test_a_fetch_that_nobody_wants_any_more_leaves_nothing(lazy: Lazy) -> None:
    async with without_registry(lazy) as _:
        assert await lazy.begin()
        await lazy.until(lambda state: bool(state.trouble))
        await lazy.fetches.end(lazy.places)
        await eventually(lambda: not lazy.pids())
    await eventually(lambda: files_in(lazy.world.settings.images_dir) == [])


async def test_readers_wait_for_a_registry_that_is_away_and_go_on_with_it(lazy: Lazy) -> None:
    async with without_registry(lazy) as stack:
        assert await lazy.begin()
        async with reading(lazy.socket, lazy.digest) as reader:
            assert (reader.size, reader.flags & 2) == (SECTORS, 2)
            read = asyncio.create_task(reader.read(SIZE - 5000, 5000))
            state = await lazy.until(lambda state: bool(state.trouble and state.readers))
            assert "does not answer" in state.trouble
            await asyncio.wait([read], timeout=0.5)
            assert not read.done()
            await stack.aclose()
            assert await read == IMAGE[-5000:]
    await eventually(lazy.path.exists)


async def test_what_a_reader_waits_for_comes_before_the_rest(lazy: Lazy) -> None:
    async with without_registry(lazy) as stack:
        assert await lazy.begin()
        async with reading(lazy.socket, lazy.digest) as reader:
            read = asyncio.create_task(reader.read(5 * CHUNK, 10))
            await lazy.until(lambda state: bool(state.trouble and state.readers))
            await stack.aclose()
            assert await read == IMAGE[5 * CHUNK : 5 * CHUNK + 10]


async def test_a_wrong_chunk_reaches_nobody_and_the_right_one_heals_it(lazy: Lazy) -> None:
    damage(lazy, 3 * CHUNK + 100)
    assert await lazy.begin()
    async with reading(lazy.socket, lazy.digest) as reader:
        with pytest.raises(OSError) as told:  # noqa: PT011
            await reader.read(3 * CHUNK, 10)
        assert told.value.errno == errno.EIO
        assert await reader.read(0, 10) == IMAGE[:10]
        state = await lazy.until(lambda state: bool(state.fault))
        assert "something else than image" in state.fault
        assert not lazy.path.exists()
        damage(lazy, 3 * CHUNK + 100)
        assert await reader.read(3 * CHUNK, 10) == IMAGE[3 * CHUNK : 3 * CHUNK + 10]
    assert not (await lazy.until(lambda state: not state.fault)).fault
    await eventually(lazy.path.exists)


async def test_chunks_that_are_not_of_the_layer_make_no_cached_file(lazy: Lazy) -> None:
    """The list of digests is right for what comes, and the layer's digest is another's."""
    damage(lazy, 7)
    repository, found = "vi/ns/image", lazy.stored
    chunker = Chunker(SIZE)
    chunker.update(IMAGE[:7] + bytes([IMAGE[7] ^ 1]) + IMAGE[8:])
    digests = chunker.digests()
    assert digests is not None
    await recorded(lazy, LazyRecord(repository, "u1", found.layer, found.disk, digests))
    assert await lazy.begin()
    state = await lazy.until(lambda state: bool(state.fault))
    assert "together they are" in state.fault
    async with reading(lazy.socket, lazy.digest) as reader:
        with pytest.raises(OSError, match="the server says so"):
            await reader.read(0, 10)
    assert not lazy.path.exists()


async def test_a_process_that_is_killed_is_started_again_and_fetches_nothing_twice(lazy: Lazy) -> None:
    async with without_registry(lazy) as stack:
        assert await lazy.begin()
        (first,) = await asyncio.to_thread(lazy.pids)
        async with reading(lazy.socket, lazy.digest) as reader:
            read = asyncio.create_task(reader.read(0, 10))
            await lazy.until(lambda state: bool(state.trouble))
            os.kill(first, signal.SIGKILL)
            with pytest.raises((EOFError, ConnectionError)):
                await read
        await eventually(lambda: lazy.pids() not in ([], [first]))
        await eventually(lazy.socket.exists)
        await stack.aclose()
    await eventually(lazy.path.exists)
    assert lazy.path.read_bytes() == IMAGE


async def test_what_came_is_kept_when_the_process_ends(lazy: Lazy) -> None:
    damage(lazy, SIZE - 1)
    assert await lazy.begin()
    await lazy.until(lambda state: bool(state.fault) and state.fetched > SIZE - 2 * CHUNK)
    await lazy.fetches.close()
    (found,) = await asyncio.to_thread(process.find, lazy.fetches._argv)
    await found.end()
    found.close()
    lazy.places.state.unlink()
    async with lazy.world.server.stopped():
        again = LazyFetches(lazy.world.settings, lazy.world.client)
        await again.start()
        lazy.fetches = again
        state = await lazy.until(lambda state: state.fetched > 0)
        assert state.fetched > SIZE - 2 * CHUNK
        async with reading(lazy.socket, lazy.digest) as reader:
            assert await reader.read(CHUNK - 5, 10) == IMAGE[CHUNK - 5 : CHUNK + 5]


async def test_the_next_daemon_adopts_the_process(lazy: Lazy) -> None:
    damage(lazy, 9)
    assert await lazy.begin()
    before = await asyncio.to_thread(lazy.pids)
    await lazy.fetches.close()
    assert await asyncio.to_thread(lazy.pids) == before
    again = LazyFetches(lazy.world.settings, lazy.world.client)
    await again.start()
    lazy.fetches = again
    assert await lazy.begin()
    assert await asyncio.to_thread(lazy.pids) == before


async def test_a_small_image_is_not_worth_it(tmp_path: Path) -> None:
    async with a_world(tmp_path, lazy_from_bytes=SIZE + 1) as world:
        world.source.routes["/a"] = IMAGE
        made = await a_lazy(world)
        assert not await made.begin()
        assert files_in(world.settings.images_dir) == []


async def test_an_image_without_digests_of_its_chunks_is_never_lazy(lazy: Lazy) -> None:
    repository, found = "vi/ns/image", lazy.stored
    assert not await lazy.fetches.begin(repository, "u1", replace(found.disk, chunks=None), found.layer)
    assert not await lazy.fetches.begin(repository, "u1", replace(found.disk, size=SIZE - 1), found.layer)


async def test_qemus_that_were_taken_over_get_nothing_but_their_image(lazy: Lazy) -> None:
    damage(lazy, 9)
    assert await lazy.begin()
    for name in ("", "x", "0" * 64, "../../etc/passwd", lazy.digest.upper()):
        with pytest.raises(Refused):
            async with reading(lazy.socket, name):
                pass
    async with reading(lazy.socket, lazy.digest) as reader:
        for type_, offset, length in ((0, SECTORS, 1), (0, SECTORS - 1, 2), (0, 0, 1 << 31), (0, 0, 0)):
            assert await reader.say(type_, offset, length) == errno.EINVAL
        for type_ in (3, 4, 6, 7, 900):
            assert await reader.say(type_, 0, 512) == errno.EPERM
        with pytest.raises(EOFError):
            await reader.say(1, 0, 512)
    for said in (
        b"\0" * 64,
        b"\xff" * 64,
        struct.pack(">I", 3) + struct.pack(">QII", 0x49484156454F5054, 7, 1 << 30),
    ):
        stream, writer = await asyncio.open_unix_connection(lazy.socket)
        writer.write(said)
        await stream.readexactly(18)
        assert await stream.read() == b""
        writer.close()
    async with reading(lazy.socket, lazy.digest) as reader:
        assert await reader.read(SIZE - 1, 2) == IMAGE[-1:] + b"\0"
    assert lazy.socket.stat().st_mode & 0o777 == 0o600


async def test_an_image_that_was_evicted_is_fetched_again_when_it_is_wanted_again(lazy: Lazy) -> None:
    assert await lazy.begin()
    await eventually(lazy.path.exists)
    async with reading(lazy.socket, lazy.digest) as reader:
        lazy.path.unlink()
        await eventually(lazy.path.exists)
        assert await reader.read(0, 10) == IMAGE[:10]
    async with reading(lazy.socket, lazy.digest) as reader:
        assert await reader.read(SIZE - 10, 10) == IMAGE[-10:]
    assert lazy.path.read_bytes() == IMAGE


async def test_who_cannot_wait_fetches_it_whole_and_all_go_on_with_that(lazy: Lazy) -> None:
    damage(lazy, 5 * CHUNK)
    assert await lazy.begin()
    async with reading(lazy.socket, lazy.digest) as reader:
        await lazy.until(lambda state: bool(state.fault))
        lazy.path.write_bytes(IMAGE)
        with contextlib.suppress(OSError):
            await reader.read(5 * CHUNK, 10)
        await lazy.until(lambda state: state.fraction == 1)
        assert await reader.read(5 * CHUNK, 10) == IMAGE[5 * CHUNK : 5 * CHUNK + 10]


async def test_what_has_not_come_yet_stays_in_the_registry(lazy: Lazy) -> None:
    """Though its owner is deleted meanwhile."""
    images = NodeImages(lazy.world.settings)
    await collect.mark_deleted(lazy.world.client, "vi/ns/image", "u1")
    damage(lazy, SIZE - 1)
    assert await lazy.begin()

    async def nothing() -> frozenset[tuple[str, str]]:
        return frozenset()

    def none(repository: str, tag: str) -> bool:
        return False

    try:
        assert (await images.survey(nothing, dead=none)).removable == ()
        damage(lazy, SIZE - 1)
        await eventually(lazy.path.exists)
        assert (await images.survey(nothing, dead=none)).removable == (("vi/ns/image", "u1"),)
    finally:
        await images._client.close()


async def test_a_process_of_other_settings_is_not_adopted(lazy: Lazy) -> None:
    damage(lazy, SIZE - 1)
    assert await lazy.begin()
    before = await asyncio.to_thread(lazy.pids)
    await lazy.fetches.close()
    imports = lazy.world.settings.imports.model_copy(update={"connect_timeout_seconds": 1.0})
    settings = lazy.world.settings.model_copy(update={"imports": imports})
    lazy.fetches = LazyFetches(settings, lazy.world.client)
    await lazy.fetches.start()
    await eventually(lambda: lazy.pids() not in ([], before))


async def test_what_the_nodes_own_disk_has_lost_is_fetched_again(lazy: Lazy) -> None:
    repository, found = "vi/ns/image", lazy.stored
    assert found.disk.chunks is not None
    await recorded(lazy, LazyRecord(repository, "u1", found.layer, found.disk, found.disk.chunks))
    rotten = IMAGE[: 5 * CHUNK] + bytes(CHUNK) + IMAGE[6 * CHUNK :]
    lazy.places.data.write_bytes(rotten)
    lazy.places.map.write_bytes(b"\1" * len(found.disk.chunks))
    assert await lazy.begin()
    await eventually(lazy.path.exists)
    assert lazy.path.read_bytes() == IMAGE
