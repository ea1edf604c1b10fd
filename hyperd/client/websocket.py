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

from hyperd.client import failure
from hyperd.client.home import Home
from hyperd.client.http1 import Connection, ConnectionLost

SUBPROTOCOL = "plain.virtualization.deckhouse.io"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_FRAME = 1 << 20
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class Closed(Exception):
    """The session ended; ``code`` is the close code, 1006 when the connection just broke."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class WebSocket:
    """One open session. ``fileno`` may be selected on; then ``receive`` gives what has come."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._buffer = connection.buffer
        self._unread = bool(self._buffer)
        """Bytes came with the upgrade, or wait behind a frame: ``select`` does not know of them."""
        connection.socket.settimeout(None)

    def fileno(self) -> int:
        return self._connection.socket.fileno()

    def send(self, data: bytes) -> None:
        """One binary frame. Raises Closed when the connection is broken."""
        self._frame(_BINARY, data)

    def receive(self) -> bytes:
        """What is there now, possibly nothing; blocks when nothing was readable. Raises Closed."""
        if self._unread:
            self._unread = False
            return self._drain()
        try:
            data = self._connection.socket.recv(65536)
        except OSError as err:
            raise Closed(1006, str(err)) from err
        if not data:
            raise Closed(1006, "the server ended the connection")
        self._buffer += data
        return self._drain()

    def pending(self) -> bool:
        """Whether bytes wait where ``select`` does not see them."""
        if self._unread:
            return True
        waiting = getattr(self._connection.socket, "pending", None)
        return bool(waiting is not None and waiting())

    def wait(self, *others: int, timeout: float | None = None) -> list[int]:
        """Descriptors that are readable: this one's and ``others``."""
        if self.pending():
            return [self.fileno()]
        return select.select([self.fileno(), *others], [], [], timeout)[0]

    def close(self, code: int = 1001) -> None:
        """Say goodbye and close; never 1000, which a console reserves for itself."""
        try:
            self._frame(_CLOSE, struct.pack(">H", code))
        except Closed:
            pass
        self._connection.close()

    def _drain(self) -> bytes:
        out = bytearray()
        while (frame := self._next()) is not None:
            opcode, payload = frame
            if opcode in (_BINARY, _TEXT, _CONTINUATION):
                out += payload
            elif opcode == _PING:
                self._frame(_PONG, payload)
            elif opcode == _CLOSE:
                if out:
                    # Give the last bytes first; the close is read again next time.
                    self._buffer = bytes((0x80 | _CLOSE, len(payload))) + payload + self._buffer
                    self._unread = True
                    break
                code = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else 1005
                raise Closed(code, payload[2:].decode("utf-8", "replace"))
            elif opcode != _PONG:
                raise Closed(1002, "the server sent a frame of an unknown kind")
        return bytes(out)

    def _next(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        length, offset = buffer[1] & 0x7F, 2
        if buffer[1] & 0x80 or buffer[0] & 0x70:
            raise Closed(1002, "the server sent a frame that is not valid")
        if length >= 126:
            if buffer[0] & 0x08:
                raise Closed(1002, "the server sent a control frame that is too large")
            size = 2 if length == 126 else 8
            if len(buffer) < 2 + size:
                return None
            length, offset = int.from_bytes(buffer[2 : 2 + size], "big"), 2 + size
        if length > _MAX_FRAME:
            raise Closed(1009, "the server sent a frame that is too large")
        if len(buffer) < offset + length:
            return None
        payload, self._buffer = buffer[offset : offset + length], buffer[offset + length :]
        return buffer[0] & 0x0F, payload

    def _frame(self, opcode: int, payload: bytes) -> None:
        if len(payload) < 126:
            head = struct.pack(">BB", 0x80 | opcode, 0x80 | len(payload))
        elif len(payload) < 65536:
            head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, len(payload))
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, len(payload))
        mask = os.urandom(4)
        repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
        masked = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")
        try:
            self._connection.socket.sendall(head + mask + masked)
        except OSError as err:
            raise Closed(1006, str(err)) from err


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
