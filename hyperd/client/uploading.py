"""A file into an object that waits for its upload: over a WebSocket, which every home lets through.

An API server cuts plain requests at a minute, so this way is taken everywhere. What is sent waits until the server
takes it; the server shows that it is there while it works on what came.
"""

from __future__ import annotations

import json
import time

from hyperd.client import failure, paths, websocket
from hyperd.errors import BadRequest, ServiceUnavailable, Timeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, Protocol

    from hyperd.client.home import Home
    from hyperd.client.resource import Resource

    class Readable(Protocol):
        """What is sent: read once, from its begin."""

        def read(self, count: int, /) -> bytes: ...


FRAME_BYTES = 256 << 10
_SILENCE_SECONDS = 90.0
"""The server says something every 15 s."""
_PATIENCE_SECONDS = 20.0
_LONGEST_ANSWER = 1 << 20


def upload(
    home: Home,
    resource: Resource,
    name: str,
    file: Readable,
    *,
    size: int | None,
    told: Callable[[int], None],
) -> str:
    """Send ``file`` to its end; returns the server's sentence once all of it is kept.

    ``size`` is in bytes, None where nobody knows; ``told`` is called with the bytes that have gone. Raises
    what the server refuses it with, ServiceUnavailable where the connection breaks: then it may be sent again.
    """
    scope = f"/namespaces/{paths.segment(home.namespace)}" if resource.namespaced else ""
    where = paths.query({"size": "" if size is None else str(size)})
    path = f"{paths.SUBRESOURCES}{scope}/{resource.plural}/{paths.segment(name)}/upload{where}"
    socket = _connect(home, path)
    answer = bytearray()
    try:
        _send(socket, file, size, told, answer)
    except websocket.Closed as end:
        return _verdict(bytes(answer), end, home)
    finally:
        socket.close()


def _connect(home: Home, path: str) -> websocket.WebSocket:
    """Of a daemon that has just started, or hands over to another, the object is known in a moment."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return websocket.connect(home, path)
        except ServiceUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)


def _send(
    socket: websocket.WebSocket, file: Readable, size: int | None, told: Callable[[int], None], answer: bytearray
) -> NoReturn:
    """Raises Closed at the end, with the answer in ``answer``."""
    sent, ended, heard = 0, False, time.monotonic()
    while True:
        while not ended and socket.backlog < FRAME_BYTES:
            data = file.read(FRAME_BYTES)
            sent += len(data)
            if size is not None and (sent > size or (not data and sent < size)):
                raise BadRequest(f"The file changed while it was sent: it had {size} bytes, and now has others.")
            socket.send(data)  # an empty message is the end
            ended = not data
        backlog = socket.backlog
        ready = socket.wait(timeout=_SILENCE_SECONDS)
        told(sent - min(sent, socket.backlog))
        if socket.fileno() in ready:
            answer += socket.receive()
            if len(answer) > _LONGEST_ANSWER:
                raise ServiceUnavailable("The server answers with more than an answer.")
        now = time.monotonic()
        if ready or socket.backlog < backlog:
            heard = now
        elif now - heard > _SILENCE_SECONDS:
            raise Timeout(f"The server has taken nothing and said nothing for {_SILENCE_SECONDS:.0f} s.")


def _verdict(answer: bytes, end: websocket.Closed, home: Home) -> str:
    try:
        status = json.loads(answer)
    except ValueError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        why = end.reason or "the connection broke"
        raise ServiceUnavailable(f"The upload to {home.where} broke off ({why}); send it again.") from end
    if status.get("status") != "Success":
        raise failure.from_status(status) from end
    return str(status.get("message") or "Uploaded.")
