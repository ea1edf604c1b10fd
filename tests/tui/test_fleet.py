"""What the UI follows, from servers that do not do as they should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from hyperd.client.home import local
from hyperd.client.kinds import built_in
from tests.tui.world import short_folder
from tui.fleet import Fleet
from tui.homes import HomeStatus

MACHINES = [resource for resource in built_in() if resource.plural == "virtualmachines"]
GOOD = {"type": "ADDED", "object": {"metadata": {"name": "web", "namespace": "shop", "resourceVersion": "2"}}}


class Odd:
    """A home that answers lists with ``listed`` and watches with ``event``, and ends each watch at once."""

    def __init__(self, listed: bytes = b'{"metadata":{"resourceVersion":"1"}}', event: bytes = b"") -> None:
        self.listed = listed
        self.event = event
        self.watches = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.Response(body=self.listed)
        self.watches += 1
        return web.Response(body=self.event)


@asynccontextmanager
async def following(odd: Odd, folder: Path) -> AsyncIterator[Fleet]:
    socket = str(folder / "s")
    runner = web.ServerRunner(web.Server(odd.answer))
    await runner.setup()
    await web.UnixSite(runner, socket).start()
    fleet = Fleet([local(socket)], MACHINES)
    running = asyncio.create_task(fleet.run(lambda _: None))
    try:
        yield fleet
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await runner.cleanup()


async def test_a_home_that_ends_each_watch_at_once_is_not_asked_all_the_time() -> None:
    odd = Odd(event=orjson.dumps(GOOD) + b"\n")
    with short_folder() as folder:
        async with following(odd, folder) as fleet:
            async with asyncio.timeout(10):
                while not odd.watches:
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.5)
            assert odd.watches == 1
            assert [key.name for key in fleet.objects("virtualmachines")] == ["web"]


@pytest.mark.parametrize(
    ("listed", "event"),
    [
        (b"[]", b""),
        (b'{"items": 1}', b""),
        (b'{"items": [{"metadata": null}]}', b""),
        (b'{"metadata":{"resourceVersion":"1"}}', b"[]\n"),
        (b'{"metadata":{"resourceVersion":"1"}}', b'{"type":"ADDED"}\n'),
        (b'{"metadata":{"resourceVersion":"1"}}', b'{"type":"ADDED","object":{"metadata":{}}}\n'),
        (b'{"metadata":{"resourceVersion":"1"}}', b'{"type":"ERROR","object":{"details":null}}\n'),
    ],
)
async def test_what_is_no_list_and_no_event_is_told_of_the_home(listed: bytes, event: bytes) -> None:
    with short_folder() as folder:
        async with following(Odd(listed, event), folder) as fleet, asyncio.timeout(10):
            (state,) = fleet.homes.values()
            while state.status not in (HomeStatus.ERROR, HomeStatus.STALE):
                await asyncio.sleep(0.02)
            assert state.message


@pytest.mark.parametrize("begins", [True, False])
async def test_a_home_with_objects_without_end_does_not_take_the_memory_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, *, begins: bool
) -> None:
    monkeypatch.setattr("tui.fleet.MOST_HELD", 1 << 20)
    most, sent = 0, 0

    class Endless(Odd):
        async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
            nonlocal sent
            if "watch" not in request.query:
                items = [_big(number) for number in range(200 if begins else 1)]
                return web.json_response({"metadata": {"resourceVersion": "1"}, "items": items})
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                sent += 1
                await response.write(orjson.dumps({"type": "ADDED", "object": _big(sent)}) + b"\n")
                await asyncio.sleep(0)

    with short_folder() as folder:
        async with following(Endless(), folder) as fleet, asyncio.timeout(20):
            (state,) = fleet.homes.values()
            while not state.trouble:
                most = max(most, len(fleet.objects("virtualmachines")))
                await asyncio.sleep(0.001)
            assert state.trouble.endswith("has more virtualmachines than hv keeps; none are shown.")
            assert fleet.objects("virtualmachines") == {}
            assert state.held == 0
            assert most < 120


def _big(number: int) -> dict[str, object]:
    metadata = {"name": f"vm{number}", "namespace": "shop", "resourceVersion": str(number)}
    return {"metadata": metadata, "spec": "x" * 10_000}
