"""Connections that break in the middle: gone on with, and never with another version's bytes."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiohttp import web

from hyperd.errors import TemporaryError
from registry import resume
from registry.fetch import open_source
from registry.remote.disk import open_disk
from tests.unit.registry.remote.shelf import archive, digest, everything, gz, member, shelf
from tests.unit.registry.world import World, settings_in

MIB = 1 << 20
TAGGED = {"ETag": '"v1"'}
IMAGE = b"\xeb\x63\x90" + os.urandom(12 * MIB)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "_FIRST_SECONDS", 0.01)


class Breaking:
    """Serves ``data`` and breaks off after ``at`` bytes of each answer, ``times`` times."""

    def __init__(self, data: bytes, headers: Mapping[str, str] = {}, *, at: int = 5 * MIB, times: int = 1) -> None:
        self.data, self.at, self.times, self.headers = data, at, times, dict(headers)
        self.ranges: list[str] = []
        self.conditions: list[str] = []
        self.then: Callable[[], None] = lambda: None
        """Called when it breaks off."""

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.ranges.append(request.headers.get("Range", ""))
        self.conditions.append(request.headers.get("If-Range", ""))
        start, status = 0, 200
        if self.ranges[-1] and self.conditions[-1] in ("", *self.headers.values()):
            start, status = int(self.ranges[-1].removeprefix("bytes=").rstrip("-")), 206
        headers = {"Content-Length": str(len(self.data) - start), **self.headers}
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{len(self.data) - 1}/{len(self.data)}"
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        if self.times:
            self.times -= 1
            await response.write(self.data[start : start + self.at])
            assert request.transport is not None
            request.transport.close()
            self.then()
            return response
        await response.write(self.data[start:])
        return response


async def read(world: World, path: str = "/a") -> bytes:
    async with open_source(world.source.url(path), ca_bundle="", settings=world.settings) as source:
        return await everything(source)


OLD = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)


@pytest.mark.parametrize("validator", [{"ETag": '"v1"'}, {"Last-Modified": OLD}], ids=["ETag", "Last-Modified"])
async def test_a_broken_connection_is_gone_on_with(world: World, validator: dict[str, str]) -> None:
    server = world.source.routes["/a"] = Breaking(IMAGE, validator, times=2)
    got = await world.load("/a", sha256=hashlib.sha256(IMAGE).hexdigest())
    assert (await world.cache.ensure(got.reference)).path.read_bytes() == IMAGE
    assert server.conditions == ["", *validator.values(), *validator.values()]
    assert server.ranges[0] == ""
    starts = [int(each.removeprefix("bytes=").rstrip("-")) for each in server.ranges[1:]]
    assert starts == sorted(starts)
    assert 0 < starts[0] <= 5 * MIB


async def test_a_server_that_breaks_off_without_end_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "_MOST_CONNECTIONS", 5)
    server = world.source.routes["/a"] = Breaking(IMAGE, TAGGED, at=MIB, times=100)
    with pytest.raises(TemporaryError, match=r"before all bytes came\. 5 connections broke off\."):
        await world.load("/a")
    assert len(server.ranges) == 5
    assert await world.leftovers() == []


async def test_another_version_is_never_appended(world: World) -> None:
    server = world.source.routes["/a"] = Breaking(IMAGE, TAGGED)

    def change() -> None:
        server.data, server.headers = IMAGE[::-1], {"ETag": '"v2"'}

    server.then = change
    with pytest.raises(TemporaryError, match="all begins anew"):
        await world.load("/a")
    assert await world.leftovers() == []
    got = await world.load("/a")
    assert (await world.cache.ensure(got.reference)).path.read_bytes() == IMAGE[::-1]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ETag": 'W/"weak"'},
        {"Last-Modified": format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)},
        {"ETag": '"v1"', "Content-Encoding": "br"},
    ],
    ids=["nothing", "a weak tag", "just changed", "encoded"],
)
async def test_what_cannot_be_told_to_be_the_same_begins_anew(world: World, headers: dict[str, str]) -> None:
    server = world.source.routes["/a"] = Breaking(IMAGE, headers)
    with pytest.raises(TemporaryError, match="ended the transfer before all bytes came"):
        await read(world)
    assert server.ranges == [""]


LIES: dict[str, dict[str, str]] = {
    "another place": {"Content-Range": f"bytes 0-{len(IMAGE) - 1}/{len(IMAGE)}"},
    "another length": {"Content-Range": f"bytes {{start}}-{len(IMAGE)}/{len(IMAGE) + 1}"},
    "no place": {"Content-Range": ""},
    "another tag": {"ETag": '"v2"'},
    "no tag": {"ETag": ""},
}


@pytest.mark.parametrize("case", LIES)
async def test_a_rest_that_lies_is_not_taken(world: World, case: str) -> None:
    first = Breaking(IMAGE, TAGGED)

    async def lying(request: web.Request) -> web.StreamResponse:
        if "Range" not in request.headers:
            return await first(request)
        start = int(request.headers["Range"].removeprefix("bytes=").rstrip("-"))
        headers = {"ETag": '"v1"', "Content-Range": f"bytes {start}-{len(IMAGE) - 1}/{len(IMAGE)}"}
        headers |= {name: value.format(start=start) for name, value in LIES[case].items()}
        return web.Response(status=206, body=IMAGE[start:], headers={k: v for k, v in headers.items() if v})

    world.source.routes["/a"] = lying
    with pytest.raises(TemporaryError, match="all begins anew"):
        await read(world)


async def test_a_server_that_asks_for_time_gets_it(world: World) -> None:
    good = Breaking(IMAGE, TAGGED)
    asked: list[float] = []

    async def busy(request: web.Request) -> web.StreamResponse:
        if "Range" in request.headers:
            asked.append(asyncio.get_running_loop().time())
            if len(asked) == 1:
                return web.Response(status=503, headers={"Retry-After": "1"})
        return await good(request)

    world.source.routes["/a"] = busy
    assert await read(world) == IMAGE
    assert asked[1] - asked[0] >= 1
    asked.clear()
    good.times = 1

    async def very_busy(request: web.Request) -> web.StreamResponse:
        if "Range" in request.headers:
            return web.Response(status=503, headers={"Retry-After": "900"})
        return await good(request)

    world.source.routes["/a"] = very_busy
    with pytest.raises(TemporaryError) as waits:
        await read(world)
    assert waits.value.delay == 900


async def test_one_that_is_gone_is_given_up(tmp_path: Path) -> None:
    async with shelf(tmp_path) as server:
        breaking = Breaking(IMAGE, TAGGED)

        async def gone(request: web.Request) -> web.StreamResponse:
            if "Range" not in request.headers:
                return await breaking(request)
            assert request.transport is not None
            request.transport.close()
            return web.Response()

        server.routes["/a"] = gone
        settings = settings_in(tmp_path, port=server.port, read_timeout_seconds=1)
        with pytest.raises(TemporaryError, match="ended the transfer before all bytes came"):
            async with open_source(server.url("/a"), ca_bundle=server.ca_bundle, settings=settings) as source:
                await everything(source)


async def test_one_that_breaks_off_for_ever_is_given_up(tmp_path: Path) -> None:
    async with shelf(tmp_path) as server:
        server.routes["/a"] = Breaking(IMAGE, TAGGED, at=100, times=10**9)
        settings = settings_in(tmp_path, port=server.port, read_timeout_seconds=0.5)
        with pytest.raises(TemporaryError, match="sends too slowly"):
            async with open_source(server.url("/a"), ca_bundle=server.ca_bundle, settings=settings) as source:
                await everything(source)


@pytest.mark.loop_seconds(10, "the test packs what it serves")
@pytest.mark.parametrize("pack", [bytes, gz], ids=["plain", "gzip"])
async def test_a_layer_is_gone_on_with(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    layer = pack(archive(member("disk/a.img", IMAGE)))
    async with shelf(tmp_path) as server:
        server.push(server.blob(layer))
        breaking = server.routes[f"/v2/a/disk/blobs/{digest(layer)}"] = Breaking(layer, times=2)
        settings = settings_in(tmp_path, port=server.port)
        async with open_disk(
            server.image(), ca_bundle=server.ca_bundle, pull_secret=b"", settings=settings
        ) as source:
            assert await everything(source) == IMAGE
        assert len(breaking.ranges) == 3
