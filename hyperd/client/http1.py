"""HTTP/1.1 over one socket: just what a command needs, without ``http.client``'s 18 ms of imports.

It speaks to a unix socket or a TCP port, plain or TLS; reads bodies by length, chunks or until close; and hands
the socket over after a ``101``. A server is not trusted: heads and chunk headers have limits.
"""

from __future__ import annotations

import select
import socket
import time

from hyperd.client.home import Home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MAX_HEAD = 64 << 10
_MAX_LINE = 4 << 10
_MAX_DIGITS = 15
_DIGITS = {10: set("0123456789"), 16: set("0123456789abcdefABCDEF")}
MAX_BODY = 128 << 20
MAX_EVENT = 16 << 20
"""Bytes of one answer, and of one line of a watch, that are kept in memory."""
MAX_WEIGHT = 512 << 20
"""Of one answer once it is parsed, by ``weight``."""
_VALUE_BYTES = 56
_MAX_INTERIM = 8
_SLOWEST_BYTES_PER_SECOND = 1024
"""On average, of an answer that is waited for as a whole; less is a server that keeps us waiting on purpose."""
_USER_AGENT = "hv/0.1"


def weight(text: bytes) -> int:
    """About how many bytes the JSON ``text`` takes once it is parsed: a few of it become fifty of Python's."""
    return len(text) + _VALUE_BYTES * sum(map(text.count, (b",", b"[", b"{")))


class ConnectionLost(OSError):
    """The server ended the connection, or does not speak HTTP."""


class Response:
    """Status and headers are read; the body is read when asked for. Header names are lower case."""

    def __init__(self, status: int, headers: list[tuple[str, str]], connection: Connection) -> None:
        self.status = status
        self.headers = headers
        self._connection = connection

    def header(self, name: str) -> str:
        """The first header of that (lower case) name, or an empty string."""
        return next((value for key, value in self.headers if key == name), "")

    def body(self) -> bytes:
        """The whole body. Raises ConnectionLost for one that is too large, TimeoutError where it trickles in."""
        self._require_plain()
        whole = bytearray()
        began, patience = time.monotonic(), self._connection.timeout
        for piece in self.pieces():
            whole += piece
            if len(whole) > MAX_BODY:
                self._connection.close()
                raise ConnectionLost(f"its answer is larger than {MAX_BODY >> 20} MiB: ask for less at a time")
            slow = len(whole) / _SLOWEST_BYTES_PER_SECOND
            if patience is not None and time.monotonic() - began > patience + slow:
                self._connection.close()
                raise TimeoutError("the answer trickles in")
        return bytes(whole)

    def _require_plain(self) -> None:
        coding = self.header("content-encoding").lower()
        if coding not in ("", "identity"):
            self._connection.close()
            raise ConnectionLost("its answer is compressed, which nobody asked for")

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives."""
        connection = self._connection
        if "chunked" in self.header("transfer-encoding").lower():
            yield from connection.chunks()
        elif length := self.header("content-length"):
            yield from connection.counted(_number(length, 10))
        elif self.status not in (101, 204, 304):
            yield from connection.rest()

    def lines(self) -> Iterator[bytes]:
        """The body's lines as they arrive, without their ends: a watch."""
        self._require_plain()
        pending = b""
        for piece in self.pieces():
            *whole, pending = (pending + piece).split(b"\n")
            yield from whole
            if len(pending) > MAX_EVENT:
                self._connection.close()
                raise ConnectionLost(f"it sent an event of more than {MAX_EVENT >> 20} MiB")
        if pending:
            yield pending


class Connection:
    """One connection to a home; requests follow each other on it. Raises OSError when the home is not there."""

    def __init__(self, home: Home, *, timeout: float | None = 30.0) -> None:
        self.home = home
        self.buffer = b""
        self.timeout = timeout
        self.socket = _connect(home, timeout)

    def close(self) -> None:
        self.socket.close()

    @property
    def dropped(self) -> bool:
        """Whether the server has ended it meanwhile, or said what nobody asked for."""
        idle = select.poll()
        idle.register(self.socket, select.POLLIN)
        return bool(self.buffer or idle.poll(0))

    def request(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Response:
        """Send one request and read the answer's head. ``path`` is encoded and may carry a query."""
        home = self.home
        head = {"Host": home.host or "hyperd", "User-Agent": _USER_AGENT, "Accept": "application/json"}
        if home.token:
            head["Authorization"] = f"Bearer {home.token}"
        if body or method in ("POST", "PUT", "PATCH"):
            head["Content-Length"] = str(len(body))
        head.update(headers or {})
        lines = [f"{method} {home.prefix}{path} HTTP/1.1", *(f"{key}: {value}" for key, value in head.items())]
        if any("\r" in entry or "\n" in entry for entry in lines):
            raise ValueError("A request line or header cannot contain a line break.")
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode("utf-8") + body)
        return self._response()

    def receive(self) -> bytes:
        """Some bytes, buffered ones first; empty at the end of the stream."""
        if self.buffer:
            data, self.buffer = self.buffer, b""
            return data
        return self.socket.recv(65536)

    def counted(self, length: int) -> Iterator[bytes]:
        """Exactly ``length`` bytes, in pieces."""
        while length:
            data = self.receive()
            if not data:
                raise ConnectionLost("The server ended its answer early.")
            if len(data) > length:
                data, self.buffer = data[:length], data[length:]
            length -= len(data)
            yield data

    def chunks(self) -> Iterator[bytes]:
        """A chunked body."""
        while True:
            size_line = self._until(b"\r\n", _MAX_LINE).split(b";")[0].strip()
            size = _number(size_line.decode("latin-1"), 16)
            if size == 0:
                while self._until(b"\r\n", _MAX_LINE):
                    pass
                return
            yield from self.counted(size)
            self._until(b"\r\n", _MAX_LINE)

    def rest(self) -> Iterator[bytes]:
        """All until the server closes."""
        while data := self.receive():
            yield data

    def _response(self) -> Response:
        for _ in range(_MAX_INTERIM):
            head = self._until(b"\r\n\r\n", _MAX_HEAD).decode("latin-1").split("\r\n")
            version, _, rest = head[0].partition(" ")
            if not version.startswith("HTTP/1."):
                raise ConnectionLost("The server does not speak HTTP.")
            status = _number(rest[:3], 10)
            if status >= 200 or status == 101:
                break
        else:
            raise ConnectionLost("The server's answer has no end of beginnings.")
        headers = []
        for entry in head[1:]:
            key, _, value = entry.partition(":")
            headers.append((key.strip().lower(), value.strip()))
        return Response(status, headers, self)

    def _until(self, end: bytes, limit: int) -> bytes:
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        while end not in self.buffer:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError("the answer trickles in")
            if len(self.buffer) > limit:
                raise ConnectionLost("The server's answer is not valid HTTP.")
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionLost("The server ended the connection.")
            self.buffer += data
        found, _, self.buffer = self.buffer.partition(end)
        return found


def _number(text: str, base: int) -> int:
    """A size or a status. Raises ConnectionLost for what HTTP does not take for one, though Python does."""
    if not 0 < len(text) <= _MAX_DIGITS or not set(text) <= _DIGITS[base]:
        raise ConnectionLost("The server's answer is not valid HTTP.")
    return int(text, base)


def _connect(home: Home, timeout: float | None) -> socket.socket:
    if home.ssh:
        return _by_ssh(home, timeout)
    if home.socket:
        return _unix(home.socket, timeout)
    try:
        plain = socket.create_connection((home.host, home.port), timeout=timeout)
    except UnicodeError:
        raise ConnectionLost(f"{home.host} is no name of a host.") from None
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not home.tls:
        return plain
    from hyperd.client.tls import context

    return context(home).wrap_socket(plain, server_hostname=home.server_name)


def _by_ssh(home: Home, timeout: float | None) -> socket.socket:
    from hyperd.client import ssh
    from hyperd.errors import HyperdError

    ssh.own(home)
    try:
        plain = _unix(home.socket, timeout)
    except (FileNotFoundError, ConnectionRefusedError):
        ssh.reach(home, ask=ssh.may_ask())
        plain = _unix(home.socket, timeout)
    try:
        ssh.trust(home, plain)
    except HyperdError:
        plain.close()
        raise
    return plain


def _unix(path: str, timeout: float | None) -> socket.socket:
    plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    plain.settimeout(timeout)
    try:
        plain.connect(path)
    except OSError:
        plain.close()
        raise
    return plain
