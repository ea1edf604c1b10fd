"""Who exports has a place, as long as it reads on and others have theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from hyperd.api.sessions import exports, sending
from hyperd.api.sessions.exports import Exports
from hyperd.api.sessions.sending import Sending
from hyperd.imagefile.exporting import Content
from hyperd.resources.schema.kind import Kind
from hyperd.settings import Settings
from hyperd.store.interface import User


class Image:
    """A content of 4 pieces that are read once ``go`` is set."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.size = 4
        self.go = asyncio.Event()
        self.now = self.most = self.reads = 0

    async def pieces(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        self.reads += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            for _ in range(start, stop):
                await self.go.wait()
                yield b"x"
        finally:
            self.now -= 1


class Lab:
    """Exports of disks that are called as their images."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images: dict[str, Image] = {}
        self.lost: list[str] = []
        self.running: list[asyncio.Task[web.StreamResponse]] = []
        monkeypatch.setattr(exports, "image_of", self._image_of)
        self._serve = Exports(self._opened, Settings()).handlers()["virtualdisks", "export"]

    @asynccontextmanager
    async def _opened(self, _: Kind, __: str, name: str) -> AsyncIterator[Content]:
        yield Content(name, name, "u", name, [])

    @asynccontextmanager
    async def _image_of(self, content: Content, *_: Any, **__: Any) -> AsyncIterator[Image]:
        yield self.images.setdefault(content.tag, Image(content.tag))

    def begin(self, user: str, name: str = "vm", query: str = "") -> asyncio.Task[web.StreamResponse]:
        def lost() -> None:
            self.lost.append(user)
            task.cancel()

        transport = Mock()
        transport.abort.side_effect = lost
        transport.get_extra_info.return_value = None
        request = make_mocked_request("GET", f"/{query}", transport=transport)
        task: asyncio.Task[web.StreamResponse] = asyncio.ensure_future(self._serve(request, User(user), "a", name))
        self.running.append(task)
        return task


@pytest.fixture
async def lab(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    made = Lab(monkeypatch)
    yield made
    for task in made.running:
        task.cancel()
    await asyncio.gather(*made.running, return_exceptions=True)


async def reading(lab: Lab, count: int) -> None:
    """So many are being read."""
    async with asyncio.timeout(5):
        while sum(image.now for image in lab.images.values()) != count:
            await asyncio.sleep(0)


async def test_who_has_many_places_gives_one_to_who_has_none(lab: Lab) -> None:
    held = 0
    for user, more in (("a", 5), ("b", 1), ("c", 1)):
        for _ in range(more):
            lab.begin(user)
        held += more
        await reading(lab, held)
    lab.begin("d")
    async with asyncio.timeout(5):
        while not lab.lost:
            await asyncio.sleep(0)
    await reading(lab, held)
    assert lab.lost == ["a"]


@pytest.mark.parametrize(("users", "names"), [("aa", "xy"), ("ab", "xx")], ids=["user", "content"])
async def test_one_checksum_at_a_time_is_computed_for_a_user_and_for_a_content(
    lab: Lab, users: str, names: str
) -> None:
    asked = [lab.begin(user, name, "?checksum=sha256") for user, name in zip(users, names, strict=True)]
    await reading(lab, 1)
    for _ in range(50):
        await asyncio.sleep(0)
    assert sum(image.now for image in lab.images.values()) == 1, "the other one waits"
    for image in lab.images.values():
        image.go.set()
    assert [answer.status for answer in await asyncio.wait_for(asyncio.gather(*asked), 5)] == [200, 200]
    assert [image.reads for image in lab.images.values()] == [1] * len(lab.images)


async def test_a_checksum_that_somebody_waits_for_is_computed_though_the_first_one_left(lab: Lab) -> None:
    first = lab.begin("a", query="?checksum=sha256")
    await reading(lab, 1)
    second = lab.begin("b", query="?checksum=sha256")
    first.cancel()
    lab.images["vm"].go.set()
    assert (await asyncio.wait_for(second, 5)).status == 200
    assert lab.images["vm"].reads == 2


class Slow(web.StreamResponse):
    """To a client that takes each piece a little later, on a clock of its own."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    @property
    def prepared(self) -> bool:
        return True

    async def write(self, _: object) -> None:
        await asyncio.sleep(self._seconds)

    async def write_eof(self, _: bytes = b"") -> None:
        await asyncio.sleep(self._seconds)


async def test_who_reads_a_little_now_and_then_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "SLOW_READER_SECONDS", 0.2)
    monkeypatch.setattr(sending, "LEAST_BYTES_PER_SECOND", 1000)
    transport = Mock()
    request = make_mocked_request("GET", "/", transport=transport)
    steady = Sending(request, Slow(0.02))
    for _ in range(20):
        await steady.write(bytes(100))
    await steady.end()
    transport.abort.assert_not_called()
    slow = Sending(request, Slow(0.02))

    async def write(count: int) -> None:
        for _ in range(count):
            await slow.write(b"x")

    await write(5)
    with pytest.raises(ConnectionAbortedError):
        await write(10)
    transport.abort.assert_called_once()


async def test_who_does_not_read_the_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "SLOW_READER_SECONDS", 0.05)
    transport = Mock()
    with pytest.raises(ConnectionAbortedError):
        await Sending(make_mocked_request("GET", "/", transport=transport), Slow(10)).end()
    transport.abort.assert_called_once()
