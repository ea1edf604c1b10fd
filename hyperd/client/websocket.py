"""RFC 6455 from the client's side, blocking, for the console: binary frames both ways, ping, close codes.

``aiohttp`` would cost 190 ms of CPU before the first byte. The peer is not trusted: frames have a limit, masked
server frames and broken sequences end the session.
"""

from __future__ import annotations

import base64
import hashlib
import os
import select
import struct
from collections.abc import Sequence

from hyperd.client import failure
from hyperd.client.home import Home
from hyperd.client.http1 import Connection, ConnectionLost

SUBPROTOCOL = "plain.virtualization.deckhouse.io"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_BACKLOG = 1 << 20
_MAX_FRAME = 1 << 20
_PIECE = 64 << 10
_NOT_NOW = ("BlockingIOError", "InterruptedError", "SSLWantReadError", "SSLWantWriteError")
"""By name: the import of ``ssl`` costs 20 ms, which a unix socket need not pay."""
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class Closed(Exception):
    """The session ended; ``code`` is the close code, 1006 when the connection just broke."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class WebSocket:
    """One open session, which never blocks: ``wait`` tells what is ready, ``receive`` gives what has come.

    What is sent is kept until the other side takes it, up to ``MAX_BACKLOG`` bytes.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._buffer = bytearray(connection.buffer)
        self._unread = bool(self._buffer)
        """Bytes came with the upgrade, or wait behind a frame: ``select`` does not know of them."""
        self._out = bytearray()
        self._ended: Closed | None = None
        connection.socket.setblocking(False)

    def fileno(self) -> int:
        return self._connection.socket.fileno()

    @property
    def backlog(self) -> int:
        """Bytes that the other side has not taken yet."""
        return len(self._out)

    def send(self, data: bytes) -> bool:
        """One binary frame; False when so much waits that it was dropped. Raises Closed on a broken connection."""
        if len(self._out) + len(data) > MAX_BACKLOG:
            return False
        self._queue(_BINARY, data)
        self.flush()
        return True

    def flush(self) -> None:
        """Send what waits, as far as the other side takes it. Raises Closed."""
        try:
            while self._out:
                del self._out[: self._connection.socket.send(bytes(self._out[:_PIECE]))]
        except OSError as err:
            if type(err).__name__ not in _NOT_NOW:
                raise Closed(1006, str(err)) from err

    def receive(self) -> bytes:
        """What is there now, possibly nothing. Raises Closed."""
        if self._ended is not None:
            raise self._ended
        if self._unread:
            self._unread = False
            return self._drain()
        try:
            data = self._connection.socket.recv(_PIECE)
        except OSError as err:
            if type(err).__name__ in _NOT_NOW:
                return b""
            raise Closed(1006, str(err)) from err
        if not data:
            raise Closed(1006, "the server ended the connection")
        self._buffer += data
        return self._drain()

    def pending(self) -> bool:
        """Whether bytes wait where ``select`` does not see them."""
        if self._unread or self._ended is not None:
            return True
        waiting = getattr(self._connection.socket, "pending", None)
        return bool(waiting is not None and waiting())

    def wait(
        self, readers: Sequence[int] = (), writers: Sequence[int] = (), *, timeout: float | None = None,
        receive: bool = True,
    ) -> set[int]:  # fmt: skip
        """Descriptors that are ready: of ``readers`` and ``writers``, and this one's where it may ``receive``."""
        pending = receive and self.pending()
        ready, writable, _ = select.select(
            [*readers, *([self.fileno()] if receive else ())],
            [*writers, *([self.fileno()] if self._out else ())],
            [],
            0 if pending else timeout,
        )
        if self._out:
            self.flush()
        return {*ready, *(fd for fd in writable if fd != self.fileno()), *([self.fileno()] if pending else ())}

    def close(self, code: int = 1001) -> None:
        """Say goodbye and close; never 1000, which a console reserves for itself."""
        try:
            # Behind what nobody took a goodbye would not arrive either.
            if not self._out:
                self._queue(_CLOSE, struct.pack(">H", code))
                self.flush()
        except Closed:
            pass
        self._connection.close()

    def _drain(self) -> bytes:
        out, at = bytearray(), 0
        try:
            while (frame := self._next(at)) is not None:
                opcode, payload, at = frame
                if opcode in (_BINARY, _TEXT, _CONTINUATION):
                    out += payload
                elif opcode == _PING:
                    if len(self._out) < MAX_BACKLOG:
                        self._queue(_PONG, payload)
                elif opcode == _CLOSE:
                    code = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else 1005
                    raise Closed(code, payload[2:].decode("utf-8", "replace"))
                elif opcode != _PONG:
                    raise Closed(1002, "the server sent a frame of an unknown kind")
        except Closed as end:
            if not out:
                raise
            # Give the last bytes first.
            self._ended = end
        del self._buffer[:at]
        self.flush()
        return bytes(out)

    def _next(self, at: int) -> tuple[int, bytes, int] | None:
        """The frame at ``at``: kind, payload, and where the next one begins; None when it is not whole yet."""
        buffer = self._buffer
        if len(buffer) < at + 2:
            return None
        length, offset = buffer[at + 1] & 0x7F, at + 2
        if buffer[at + 1] & 0x80 or buffer[at] & 0x70:
            raise Closed(1002, "the server sent a frame that is not valid")
        if length >= 126:
            if buffer[at] & 0x08:
                raise Closed(1002, "the server sent a control frame that is too large")
            size = 2 if length == 126 else 8
            if len(buffer) < offset + size:
                return None
            length, offset = int.from_bytes(buffer[offset : offset + size], "big"), offset + size
        if length > _MAX_FRAME:
            raise Closed(1009, "the server sent a frame that is too large")
        if len(buffer) < offset + length:
            return None
        return buffer[at] & 0x0F, bytes(buffer[offset : offset + length]), offset + length

    def _queue(self, opcode: int, payload: bytes) -> None:
        if len(payload) < 126:
            head = struct.pack(">BB", 0x80 | opcode, 0x80 | len(payload))
        elif len(payload) < 65536:
            head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, len(payload))
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, len(payload))
        mask = os.urandom(4)
        repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
        masked = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")
        self._out += head + mask + masked


def connect(home: Home, path: str, *, timeout: float = 30.0) -> WebSocket:
    """Open a session at ``path``. Raises the server's refusal, before the upgrade, as an error of ours."""
    key = base64.b64encode(os.urandom(16))
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key.decode(),
        "Sec-WebSocket-Protocol": SUBPROTOCOL,
    }
    try:
        connection = Connection(home, timeout=timeout)
        response = connection.request("GET", path, headers=headers)
        if response.status != 101:
            answer = response.body()
            connection.close()
            request_id = response.header("x-request-id")
            raise failure.from_response(max(response.status, 400), answer, request_id=request_id)
    except OSError as err:
        raise failure.from_os_error(err, home) from err
    expected = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
    if response.header("sec-websocket-accept") != expected:
        connection.close()
        raise failure.from_os_error(ConnectionLost("the answer is not a WebSocket"), home)
    return WebSocket(connection)
