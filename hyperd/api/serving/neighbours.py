"""Between the daemons of two nodes: questions about a guest that goes from one to the other, and its streams.

Both go over the port that all daemons listen on, under certificates of the CA that they share. Who asks must be a
daemon, and no user is vouched for. A stream is a WebSocket; over there it ends at one of three sockets, and only
while that node has noted that the guest is on its way to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote, unquote

import aiohttp
import orjson
from aiohttp import WSMsgType, web
from yarl import URL

from hyperd.api.serving.peers import Peers
from hyperd.api.sessions.stream import SUBPROTOCOLS, prepare_socket
from hyperd.api.wire import bodies
from hyperd.errors import BadRequest, HyperdError, NotFound, PermanentError, ServiceUnavailable, TemporaryError
from hyperd.resources.schema.kind import Object

if TYPE_CHECKING:
    from hyperd.resources.views.core import Node

_log = logging.getLogger(__name__)
PREFIX: Final = "/hyperd/v1/arrivals/"
AWAY_PATH: Final = "/hyperd/v1/away"
"""Whether the API server does not answer the daemon that is asked."""
_LINE: Final = "lines"
_TO: Final = "to"
"""In a question: who is asked. Where nodes change addresses another one would answer, under the same name."""
_ELSEWHERE: Final = "elsewhere"
_MAX_BODY_BYTES: Final = 16 << 20
_LONGEST_NAME: Final = 253
_TRIES: Final = 4
_PIECE_BYTES: Final = 256 << 10

AnySocket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


class Arriving(Protocol):
    """What answers for guests that are on their way here."""

    @property
    def node(self) -> str:
        """Whose daemon it is."""
        ...

    async def answer(self, uid: str, verb: str, body: Object) -> Object: ...

    async def door(self, uid: str, line: str) -> tuple[socket.socket, Callable[[bytes], bytes]]:
        """Where a line ends, and what of the bytes that come may go on there: it raises PermanentError."""
        ...


class PeerNeighbours:
    """Asks other nodes' daemons, once it has ``peers``."""

    peers: Peers | None = None

    def __init__(self) -> None:
        self._known: dict[str, URL] = {}
        """Where nodes answered last: an API server that goes away keeps no guest stopped."""

    async def ask(self, node: str, uid: str, verb: str, body: Object) -> Object:
        """TemporaryError where ``node`` does not answer, or may do so later; PermanentError where it will not."""
        path, asked = f"{PREFIX}{quote(uid, safe='')}/{quote(verb, safe='')}", orjson.dumps({**body, _TO: node})
        try:
            said = await self._peers().ask(node, await self._at(node), path, asked)
            answer = orjson.loads(said)
        except ServiceUnavailable as err:
            self._known.pop(node, None)
            raise TemporaryError(err.message) from err
        except orjson.JSONDecodeError as err:
            raise TemporaryError(f"Node {node} answers what is no JSON.") from err
        given = answer.get("answer", {}) if isinstance(answer, dict) else None
        if not isinstance(given, dict):
            raise PermanentError(f"Node {node} answers what is not understood.")
        if answer.get(_ELSEWHERE):
            self._known.pop(node, None)
        if refused := answer.get("refused"):
            raise (TemporaryError if answer.get("again") else PermanentError)(str(refused))
        return given

    async def says_away(self, node: Node) -> bool:
        """Whether the node's daemon says that the API server is away for it. False where it says nothing."""
        name = node["metadata"]["name"]
        try:
            said = orjson.loads(await self._peers().ask(name, self._peers().of(node), AWAY_PATH, b""))
        except (HyperdError, orjson.JSONDecodeError):
            return False
        return isinstance(said, dict) and said.get("away") is True

    async def _at(self, node: str) -> URL:
        """Where it answers. Raises ServiceUnavailable."""
        if (known := self._known.get(node)) is None:
            known = self._known[node] = await self._peers().at(node)
        return known

    @asynccontextmanager
    async def lines(
        self, node: str, uid: str, sockets: Mapping[str, Path], users: Mapping[str, str]
    ) -> AsyncIterator[None]:
        """Have each of ``sockets`` lead to its own over there while the block runs.

        Over there are libvirt and the guest: only root opens them, or who is named in ``users``, by the line.
        """
        # Once: an API server that goes away meanwhile is in nobody's way.
        base = await self._peers().at(node)
        servers: list[asyncio.Server] = []
        running: set[asyncio.Task[None]] = set()

        async def lead(line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101  asyncio runs this in one
            running.add(task)
            try:
                far = await self._open(node, base, f"{PREFIX}{quote(uid, safe='')}/{_LINE}/{line}")
                try:
                    await _both_ways(far, reader, writer)
                finally:
                    with contextlib.suppress(TimeoutError, ConnectionError):
                        await far.close()
            except asyncio.CancelledError:
                return  # by ``lines`` alone, which waits for this; asyncio would report it as a defect
            except HyperdError as err:
                _log.warning("The line %s to node %s: %s", line, node, err.message)
            finally:
                writer.close()
                running.discard(task)

        try:
            for line, path in sockets.items():
                made = await asyncio.to_thread(_listen, path, users.get(line, ""))
                server = await asyncio.start_unix_server(partial(lead, line), sock=made, limit=_PIECE_BYTES)
                servers.append(server)
            yield
        finally:
            for server in servers:
                server.close()
            for task in list(running):
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await asyncio.to_thread(_clear, list(sockets.values()))

    async def _open(self, node: str, base: URL, path: str) -> aiohttp.ClientWebSocketResponse:
        """Tried again where a busy node does not answer at once: libvirt and QEMU try but once."""
        for _ in range(_TRIES - 1):
            try:
                return await self._peers().open(node, base, path, SUBPROTOCOLS)
            except ServiceUnavailable as err:
                _log.info("%s", err.message)
        return await self._peers().open(node, base, path, SUBPROTOCOLS)

    def _peers(self) -> Peers:
        if self.peers is None:
            raise TemporaryError("This daemon does not reach those of other nodes yet.")
        return self.peers


async def answer(request: web.BaseRequest, path: str, arriving: Arriving) -> web.StreamResponse:
    """What another node's daemon asks. Raises NotFound, BadRequest, and what has no line where it is opened."""
    parts = [unquote(part) for part in path.removeprefix(PREFIX).split("/")]
    if len(parts) == 3 and parts[1] == _LINE:
        return await _line(request, parts[0], parts[2], arriving)
    if len(parts) != 2 or request.method != "POST":
        raise NotFound("the server could not find the requested resource")
    try:
        body = orjson.loads(await bodies.read(request, _MAX_BODY_BYTES))
    except orjson.JSONDecodeError as err:
        raise BadRequest("The body is no JSON.") from err
    to = body.pop(_TO, arriving.node) if isinstance(body, dict) else arriving.node
    if to != arriving.node:
        why = f"Node {str(to)[:_LONGEST_NAME]} is asked, and this is node {arriving.node}."
        said: Object = {"refused": why, "again": True, _ELSEWHERE: True}
        return web.Response(body=orjson.dumps(said), content_type="application/json")
    try:
        said = {"answer": await arriving.answer(parts[0], parts[1], body)}
    except HyperdError as err:
        said = {"refused": err.message, "again": isinstance(err, TemporaryError | ServiceUnavailable)}
    return web.Response(body=orjson.dumps(said), content_type="application/json")


async def _line(request: web.BaseRequest, uid: str, line: str, arriving: Arriving) -> web.StreamResponse:
    near, passes = await arriving.door(uid, line)
    try:
        socket_ = prepare_socket(request, heartbeat=None)
        await socket_.prepare(request)
        reader, writer = await asyncio.open_unix_connection(sock=near, limit=_PIECE_BYTES)
    except BaseException:
        near.close()
        raise
    try:
        await _both_ways(socket_, reader, writer, passes)
    except PermanentError as err:
        _log.error("The line %s from %s for machine %s is cut: %s", line, request.remote, uid, err.message)
    finally:
        writer.close()
        with contextlib.suppress(TimeoutError, ConnectionError):
            await socket_.close()
    return socket_


async def _both_ways(
    far: AnySocket,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    passes: Callable[[bytes], bytes] = bytes,
) -> None:
    """Until one of both ends: what it had sent has reached the other then. Raises what ``passes`` does."""
    coming = asyncio.ensure_future(_in(far, writer, passes))
    tasks = [asyncio.ensure_future(_out(far, reader)), coming]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not coming.cancelled():
        coming.result()


async def _out(far: AnySocket, reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(_PIECE_BYTES):
            await far.send_bytes(piece)


async def _in(far: AnySocket, writer: asyncio.StreamWriter, passes: Callable[[bytes], bytes]) -> None:
    with contextlib.suppress(ConnectionError):
        while (message := await far.receive()).type is WSMsgType.BINARY:
            writer.write(passes(message.data))
            await writer.drain()


def _listen(path: Path, user: str) -> socket.socket:
    """At ``path``, for ``user`` alone, and root. Raises PermanentError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.parent.chmod(0o711)
    path.parent.chmod(0o711)
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        made.bind(str(path))
        path.chmod(0o600)
        if user:
            shutil.chown(path, user)
        made.listen()
    except (LookupError, OSError) as err:
        made.close()
        raise PermanentError(f'{path} cannot be made for "{user or "root"}": {err}.') from err
    return made


def _clear(paths: list[Path]) -> None:
    """The sockets, and the folders that were made for them."""
    for path in paths:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another one is left in it
            path.parent.rmdir()
