"""One session's bytes: between a WebSocket and a guest's stream, until one of them ends.

Close codes are what the clients act on: 1001 ends a session for good, 1011 makes them come again. 1000 is never
said to one at a console or screen, where the reference's client hangs on it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import WSCloseCode, WSMsgType, web

from hyperd.errors import BadRequest, Forbidden

_log = logging.getLogger(__name__)

SUBPROTOCOLS = ("plain.virtualization.deckhouse.io", "plain.kubevirt.io")
_HEARTBEAT_SECONDS = 30.0
_CLOSE_SECONDS = 2.0
_MAX_MESSAGE_BYTES = 4 << 20
_MAX_REASON_BYTES = 123


class Stream(Protocol):
    """A guest's end: console or screen."""

    async def read(self) -> bytes: ...

    async def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Goodbye:
    """How a session ends."""

    code: WSCloseCode
    reason: str


LEFT = Goodbye(WSCloseCode.GOING_AWAY, "")
ENDED = Goodbye(WSCloseCode.INTERNAL_ERROR, "the guest's end of the session is gone")
FAILED = Goodbye(WSCloseCode.INTERNAL_ERROR, "the daemon failed at it; its log says how")
STOPPING = Goodbye(WSCloseCode.INTERNAL_ERROR, "the daemon is stopping")


def taken_over_by(user: str, former: str = "") -> Goodbye:
    """``former`` is who had it: the same user knows better what happened than by their own name."""
    who = f'"{user}", as whom you are here too,' if user == former else f'"{user}"'
    return Goodbye(WSCloseCode.GOING_AWAY, f"{who} took over the session")


def prepare_socket(
    request: web.BaseRequest, *, heartbeat: float | None = _HEARTBEAT_SECONDS
) -> web.WebSocketResponse:
    """The WebSocket that ``request`` asks for, not yet upgraded. Raises BadRequest and Forbidden.

    Without ``heartbeat`` a peer may be silent, or kept waiting, for as long as its connection stands.

    A browser names the page that opens a socket; another site's page must not use this user's certificate.
    """
    origin = request.headers.get("Origin", "")
    if origin and origin.partition("://")[2] != request.host:
        raise Forbidden(f"A page of {origin} may not open sessions here.")
    socket = web.WebSocketResponse(
        timeout=_CLOSE_SECONDS,
        autoclose=False,
        heartbeat=heartbeat,
        protocols=SUBPROTOCOLS,
        compress=False,
        max_msg_size=_MAX_MESSAGE_BYTES,
    )
    try:
        possible = socket.can_prepare(request)
    except (web.HTTPException, ValueError):  # aiohttp decodes and quotes headers that may not be text
        possible = None
    if not possible:
        raise BadRequest(f"{request.path} is opened as a WebSocket of the protocol {SUBPROTOCOLS[0]}.")
    return socket


async def splice(socket: web.WebSocketResponse, stream: Stream, *others: Awaitable[Goodbye]) -> Goodbye:
    """Copy both ways until one side, or one of ``others``, says how it ends."""
    return await first_of(_to_client(socket, stream), _to_guest(socket, stream), *others)


async def first_of(*ends: Awaitable[Goodbye]) -> Goodbye:
    """How the first of ``ends`` says that the session ends; the earlier one where two do at once."""
    tasks = [asyncio.ensure_future(end) for end in ends]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task in done).result()
    except Exception:  # noqa: BLE001  border: after the upgrade no status can tell of it
        _log.exception("A session failed")
        return FAILED
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def close(socket: web.WebSocketResponse, goodbye: Goodbye) -> None:
    """Say goodbye; a client that does not listen is left after two seconds."""
    reason = goodbye.reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore").encode()
    try:
        async with asyncio.timeout(2 * _CLOSE_SECONDS):
            await socket.close(code=goodbye.code, message=reason)
    except (TimeoutError, ConnectionError):
        pass


async def _to_client(socket: web.WebSocketResponse, stream: Stream) -> Goodbye:
    try:
        while data := await stream.read():
            await socket.send_bytes(data)
    except ConnectionError:
        return LEFT
    return ENDED


async def _to_guest(socket: web.WebSocketResponse, stream: Stream) -> Goodbye:
    while True:
        message = await socket.receive()
        if message.type is WSMsgType.BINARY:
            data = message.data
        elif message.type is WSMsgType.TEXT:
            data = message.data.encode()
        else:
            return LEFT
        try:
            await stream.write(data)
        except ConnectionError:
            return ENDED
