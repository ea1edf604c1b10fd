"""An export that is asked of one node's daemon and answered by another's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from hyperd.api.endpoints.connect import Wanted
from hyperd.api.serving.peers import HANDED_ON, Peers
from hyperd.api.sessions import sending
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.names import SELECTED_NODE_ANNOTATION
from hyperd.store.interface import User

WHOLE = bytes(range(256))


class Reader:
    """Has one disk and one snapshot, both on the node ``two``."""

    async def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        if kind not in (VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT) or (namespace, name) != ("default", "a"):
            return None
        return {"metadata": {"name": "a", "annotations": {SELECTED_NODE_ANNOTATION: "two"}}}


@asynccontextmanager
async def serving(handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> AsyncIterator[URL]:
    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield URL(f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


async def far(request: web.BaseRequest) -> web.StreamResponse:
    """What the other node's daemon answers."""
    assert request.headers[HANDED_ON] == "one"
    assert request.headers["If-Range"] == '"tag"'
    assert request.headers["Range"] == "bytes=200-"
    headers = {"ETag": '"tag"', "Content-Range": "bytes 200-255/256", "Accept-Ranges": "bytes", "X-Other": "1"}
    return web.Response(status=206, body=WHOLE[200:], headers=headers)


async def test_a_part_is_asked_for_and_given_through_another_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = Peers(Reader(), node_name="one", port=1, server_name="hyperd", max_body_bytes=1 << 20)  # type: ignore[arg-type]

    async def near(request: web.BaseRequest) -> web.StreamResponse:
        node = await peers.elsewhere(Wanted("virtualdisks", "export", "default", "a"), request)
        assert node == "two"
        return await peers.hand_on(node, request, User("me"))

    async with serving(far) as there, serving(near) as here, aiohttp.ClientSession() as session:

        async def url(node: str, request: web.BaseRequest) -> URL:
            return there / "export"

        monkeypatch.setattr(peers, "_url", url)
        monkeypatch.setattr(peers, "_session", session)
        asked = {"Range": "bytes=200-", "If-Range": '"tag"'}
        async with session.get(here / "export", headers=asked) as answer:
            assert (answer.status, await answer.read()) == (206, WHOLE[200:])
            assert (answer.headers["ETag"], answer.headers["Content-Range"]) == ('"tag"', "bytes 200-255/256")
            assert answer.content_length == 56
            assert "X-Other" not in answer.headers


async def test_who_does_not_read_what_comes_through_another_daemon_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "SLOW_READER_SECONDS", 0.2)
    peers = Peers(Reader(), node_name="one", port=1, server_name="hyperd", max_body_bytes=1 << 20)  # type: ignore[arg-type]
    over = asyncio.Event()

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(1 << 16))

    async def near(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await peers.hand_on("two", request, User("me"))
        finally:
            over.set()

    async with serving(endless) as there, serving(near) as here, aiohttp.ClientSession() as session:

        async def url(node: str, request: web.BaseRequest) -> URL:
            return there / "export"

        monkeypatch.setattr(peers, "_url", url)
        monkeypatch.setattr(peers, "_session", session)
        _, writer = await asyncio.open_connection(here.host, here.port, limit=1 << 10)
        writer.write(b"GET /export HTTP/1.1\r\nHost: h\r\n\r\n")
        await asyncio.wait_for(over.wait(), 10)
        writer.close()


@pytest.mark.parametrize(
    ("plural", "name", "node"),
    [
        ("virtualdisks", "a", "two"),
        ("virtualdisksnapshots", "a", "two"),
        ("virtualdisks", "b", ""),
        ("virtualimages", "a", ""),
        ("clustervirtualimages", "a", ""),
    ],
)
async def test_who_has_the_content_is_asked(plural: str, name: str, node: str) -> None:
    peers = Peers(Reader(), node_name="one", port=1, server_name="hyperd", max_body_bytes=1 << 20)  # type: ignore[arg-type]
    found = []

    async def ask(request: web.BaseRequest) -> web.StreamResponse:
        namespace = "" if plural.startswith("cluster") else "default"
        found.append(await peers.elsewhere(Wanted(plural, "export", namespace, name), request))
        return web.Response()

    async with serving(ask) as here, aiohttp.ClientSession() as session, session.get(here) as answer:
        assert answer.status == 200
    assert found == [node]
