"""What two nodes' daemons say to each other of a guest that moves: questions, and streams."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from hyperd.api.serving import neighbours
from hyperd.api.serving.neighbours import AWAY_PATH, PREFIX, PeerNeighbours, answer
from hyperd.api.sessions.stream import SUBPROTOCOLS
from hyperd.errors import HyperdError, PermanentError, ServiceUnavailable, TemporaryError
from hyperd.resources.schema.kind import Object
from tests.parts import Part, part
from tests.unit.api.test_peers import serving

UID = "6f7d3a52-7c5e-4b3c-9a58-9d6c1a6b7c8d"


class There:
    """What answers on the other node."""

    node = "there"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Object]] = []
        self.refuses: Exception | None = None
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)

    async def answer(self, uid: str, verb: str, body: Object) -> Object:
        self.asked.append((uid, verb, body))
        if self.refuses is not None:
            raise self.refuses
        return {"state": "paused"}

    async def door(self, uid: str, line: str) -> tuple[socket.socket, Callable[[bytes], bytes]]:
        assert (uid, line) == (UID, "memory")
        if self.refuses is not None:
            raise self.refuses
        return self.near, passes


def passes(piece: bytes) -> bytes:
    if b"evil" in piece:
        raise PermanentError("That is evil.")
    return piece


@asynccontextmanager
async def listening(there: There) -> AsyncIterator[URL]:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await answer(request, request.rel_url.raw_path, there)
        except HyperdError as err:
            return web.json_response(err.message, status=err.code)

    async with serving(handle) as url:
        yield url


class Near:
    """Reaches it as ``Peers`` would, without their certificates."""

    def __init__(self, url: URL, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def at(self, node: str) -> URL:
        return self.url

    def of(self, node: Part) -> URL:
        if not node["status"]:
            raise ServiceUnavailable("It has no address.")
        return self.url

    async def ask(self, node: str, base: URL, path: str, body: bytes) -> bytes:
        async with self._session.post(base.with_path(path, encoded=True), data=body) as said:
            return await said.read()

    async def open(
        self, node: str, base: URL, path: str, protocols: Sequence[str]
    ) -> aiohttp.ClientWebSocketResponse:
        return await self._session.ws_connect(base.with_path(path, encoded=True), protocols=protocols)


@asynccontextmanager
async def near(there: There) -> AsyncIterator[PeerNeighbours]:
    async with listening(there) as url, aiohttp.ClientSession() as session:
        made = PeerNeighbours()
        given: Any = Near(url, session)
        made.peers = given
        yield made


async def test_a_question_comes_back_with_its_answer_or_whether_to_ask_again() -> None:
    there = There()
    async with near(there) as node:
        assert await node.ask("there", UID, "look", {"a": 1}) == {"state": "paused"}
        assert there.asked == [(UID, "look", {"a": 1})]
        there.refuses = TemporaryError("The Pod is being started.")
        with pytest.raises(TemporaryError, match="is being started"):
            await node.ask("there", UID, "prepare", {})
        there.refuses = PermanentError("It is not on its way.")
        with pytest.raises(PermanentError, match="not on its way"):
            await node.ask("there", UID, "prepare", {})
        there.refuses = None
        await node.ask("there", "../" + UID, "a/b", {})
        assert there.asked[-1][:2] == ("../" + UID, "a/b"), "names are never parts of a path"


async def test_who_has_the_nodes_former_address_does_not_answer_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    there = There()
    async with near(there) as node:
        assert await node.ask("there", UID, "look", {}) == {"state": "paused"}
        monkeypatch.setattr(there, "node", "another")
        with pytest.raises(TemporaryError, match="Node there is asked, and this is node another"):
            await node.ask("there", UID, "look", {})
        assert len(there.asked) == 1
        assert not node._known, "the next time it is asked for where it is"


async def test_a_daemon_that_knows_no_others_yet_asks_later() -> None:
    with pytest.raises(TemporaryError):
        await PeerNeighbours().ask("there", UID, "look", {})


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", f"{UID}/look", b"{", 400),
        ("POST", f"{UID}/look", b"\xff", 400),
        ("POST", f"{UID}/look", b"[" * 900, 400),
        ("GET", f"{UID}/look", b"", 404),
        ("POST", UID, b"{}", 404),
        ("POST", f"{UID}/look/more", b"{}", 404),
        ("POST", f"{UID}/lines/memory/x", b"{}", 404),
        ("GET", f"{UID}/lines/memory", b"", 400),
        ("POST", f"{UID}/prepare", b"[" + b"1," * 1000, 413),
    ],
)
async def test_what_is_no_question_gets_an_answer_that_says_so(
    monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: bytes, status: int
) -> None:
    monkeypatch.setattr(neighbours, "_MAX_BODY_BYTES", 1000)
    async with listening(There()) as url, aiohttp.ClientSession() as session:
        at = url.with_path(PREFIX + path, encoded=True)
        assert (await session.request(method, at, data=body)).status == status


async def _echo(there: There) -> None:
    loop = asyncio.get_running_loop()
    there.far.setblocking(False)
    while piece := await loop.sock_recv(there.far, 1 << 16):
        await loop.sock_sendall(there.far, piece)
    there.far.close()


async def test_a_socket_here_leads_to_one_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, path = There(), Path("moves/op/memory.sock")
    monkeypatch.chdir(tmp_path)
    sent = bytes(range(256)) * 8192
    async with near(there) as node:
        echo = asyncio.create_task(_echo(there))
        async with node.lines("there", UID, {"memory": path}, {}):
            assert (await asyncio.to_thread(path.stat)).st_mode & 0o777 == 0o600, "for nobody else"
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(sent)
            assert await reader.readexactly(len(sent)) == sent
            writer.close()
            await asyncio.wait_for(echo, 5)
    assert not await asyncio.to_thread(path.parent.exists), "nothing is left of it"


async def test_a_line_that_is_refused_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, path = There(), Path("moves/op/memory.sock")
    there.refuses = TemporaryError("It is not on its way.")
    monkeypatch.chdir(tmp_path)

    async with near(there) as node:
        peers: Any = node.peers

        async def refused(*_: object) -> None:
            raise PermanentError("It is not on its way (node there)")

        monkeypatch.setattr(peers, "open", refused)
        async with node.lines("there", UID, {"memory": path}, {}):
            reader, _ = await asyncio.open_unix_connection(str(path))
            assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_what_may_not_pass_ends_a_line_and_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    there = There()
    async with listening(there) as url, aiohttp.ClientSession() as session:
        at = url.with_path(f"{PREFIX}{UID}/lines/memory", encoded=True)
        async with session.ws_connect(at, protocols=SUBPROTOCOLS) as line:
            await line.send_bytes(b"good")
            await line.send_bytes(b"evil")
            assert (await line.receive(timeout=5)).type is aiohttp.WSMsgType.CLOSE
    assert await asyncio.to_thread(there.far.recv, 100) == b"good"
    assert "That is evil." in caplog.text


async def test_what_is_no_bytes_ends_a_line() -> None:
    there = There()
    async with listening(there) as url, aiohttp.ClientSession() as session:
        at = url.with_path(f"{PREFIX}{UID}/lines/memory", encoded=True)
        async with session.ws_connect(at, protocols=SUBPROTOCOLS) as line:
            await line.send_str("no bytes")
            assert (await line.receive(timeout=5)).type is aiohttp.WSMsgType.CLOSE
    assert await asyncio.to_thread(there.far.recv, 1) == b""


@pytest.mark.parametrize("said", [b"[]", b"7", b"{", b'{"answer": "x"}', b'{"answer": [1]}', b""])
async def test_what_is_no_answer_is_told_as_such(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    async with near(There()) as node:

        async def ask(*_: object) -> bytes:
            return said

        monkeypatch.setattr(node.peers, "ask", ask)
        with pytest.raises(HyperdError, match="Node there answers"):
            await node.ask("there", UID, "look", {})


async def test_where_a_node_answered_is_known_while_the_api_server_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = There()
    async with near(there) as node:
        await node.ask("there", UID, "look", {})

        async def at(_: str) -> URL:
            raise ServiceUnavailable("The API server is away.")

        monkeypatch.setattr(node.peers, "at", at)
        assert await node.ask("there", UID, "go-on", {})
        with pytest.raises(TemporaryError, match="is away"):
            await node.ask("other", UID, "look", {})


@pytest.mark.parametrize(
    ("said", "away"),
    [(b'{"away": true}', True), (b'{"away": false}', False), (b'{"away": 1}', False), (b'{"away": "true"}', False),
     (b"{}", False), (b"[true]", False), (b"true", False), (b"", False), (b"\xff", False)],
)  # fmt: skip
async def test_a_node_is_believed_that_it_is_away_where_it_says_just_that(said: bytes, away: bool) -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        assert request.path == AWAY_PATH
        return web.Response(body=said)

    there: Part = {"metadata": {"name": "there"}, "status": {"addresses": []}}
    async with serving(handle) as url, aiohttp.ClientSession() as session:
        made, given = PeerNeighbours(), Near(url, session)
        assert not await made.says_away(there), "it knows no others yet"
        made.peers = part(given)
        assert await made.says_away(there) is away
        assert not await made.says_away(part({**there, "status": {}}))
