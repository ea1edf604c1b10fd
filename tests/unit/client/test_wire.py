"""HTTP and WebSocket by hand, against servers that misbehave."""

from __future__ import annotations

import base64
import hashlib
import json
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hyperd.client import failure, websocket
from hyperd.client.home import Home, local
from hyperd.client.http1 import Connection, ConnectionLost
from hyperd.client.sync import Client
from hyperd.errors import Conflict, Invalid, NotFound, ServiceUnavailable


class Server:
    """Answers each connection with fixed bytes, then closes; keeps what it was sent."""

    def __init__(self, path: Path) -> None:
        self.home = local(str(path))
        self.answers: list[bytes] = []
        self.seen = b""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                head = b""
                while b"\r\n\r\n" not in head and (data := connection.recv(65536)):
                    head += data
                self.seen = head
                answer = self.answers.pop(0) if self.answers else b""
                key = _header(head, b"Sec-WebSocket-Key")
                with suppress(BrokenPipeError):
                    connection.sendall(answer.replace(b"ACCEPT", _accept(key)))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _header(head: bytes, name: bytes) -> bytes:
    lines = [line for line in head.split(b"\r\n") if line.startswith(name)]
    return lines[0].partition(b": ")[2] if lines else b""


def _accept(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path / "s")
    yield running
    running.close()


def body_of(server: Server, answer: bytes) -> bytes:
    server.answers.append(answer)
    return Connection(server.home, timeout=5).request("GET", "/").body()


def test_bodies_end_by_length_by_chunks_or_by_closing(server: Server) -> None:
    assert body_of(server, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef") == b"abc"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    assert body_of(server, chunked) == b"abc"
    assert body_of(server, b"HTTP/1.1 200 OK\r\n\r\nabc") == b"abc"
    assert body_of(server, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx") == b"x"


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"nonsense\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
)  # fmt: skip
def test_a_server_that_breaks_http_is_an_error_not_a_hang(server: Server, answer: bytes) -> None:
    with pytest.raises(ConnectionLost):
        body_of(server, answer)


def test_a_connection_that_the_server_closed_while_idle_fails_no_write(server: Server) -> None:
    server.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"] * 2
    client = Client(server.home, timeout=5)
    assert client.call("GET", "/a") == {}
    kept = client._connection
    assert kept is not None
    ended = select.poll()
    ended.register(kept.socket, select.POLLIN)
    assert ended.poll(5000)
    assert client.call("PATCH", "/b", body={}) == {}
    assert server.seen.startswith(b"PATCH /b ")


def test_a_header_cannot_smuggle_a_second_one(server: Server) -> None:
    with pytest.raises(ValueError, match="line break"):
        Connection(server.home).request("GET", "/a\r\nX: y")


def status(code: int, reason: str, message: str) -> bytes:
    body = f'{{"kind":"Status","code":{code},"reason":"{reason}","message":"{message}"}}'.encode()
    return b"HTTP/1.1 %d x\r\nX-Request-Id: r-1\r\nContent-Length: %d\r\n\r\n%s" % (code, len(body), body)


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [
        (status(404, "NotFound", "no vm"), NotFound, "^no vm$"),
        (status(409, "Conflict", "changed"), Conflict, "changed"),
        (status(422, "Invalid", "bad"), Invalid, "bad"),
        (status(503, "ServiceUnavailable", "down"), ServiceUnavailable, r"down \(request r-1\)"),
        (b"HTTP/1.1 503 x\r\nContent-Length: 4\r\n\r\noops", ServiceUnavailable, "answered 503: oops"),
    ],
)
def test_a_refusal_is_the_error_it_names(
    server: Server, answer: bytes, error: type[Exception], sentence: str
) -> None:
    server.answers.append(answer)
    with pytest.raises(error, match=sentence):
        Client(server.home).call("GET", "/x")


def test_warnings_of_the_server_reach_the_user(server: Server) -> None:
    said: list[str] = []
    server.answers.append(
        b'HTTP/1.1 200 OK\r\nWarning: 299 - "field \\"x\\" is ignored"\r\nContent-Length: 2\r\n\r\n{}'
    )
    Client(server.home, warn=said.append).call("GET", "/x")
    assert said == ['field "x" is ignored']


def test_an_absent_daemon_is_said_with_what_to_do() -> None:
    with pytest.raises(ServiceUnavailable, match="Start hyperd, or name another home"):
        Client(Home(name="x", socket="/nonexistent/s")).call("GET", "/x")


UPGRADE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: ACCEPT\r\n\r\n"
)


def received(server: Server, frames: bytes) -> tuple[bytes, int]:
    """All data of a session, and its close code."""
    server.answers.append(UPGRADE + frames)
    session = websocket.connect(server.home, "/console", timeout=5)
    data = b""
    while True:
        try:
            data += session.receive()
        except websocket.Closed as end:
            return data, end.code


def test_frames_of_every_length_arrive_and_the_close_code_with_them(server: Server) -> None:
    long = b"x" * 70_000
    frames = b"\x82\x02hi\x82\x7e" + struct.pack(">H", 300) + b"y" * 300
    frames += b"\x82\x7f" + struct.pack(">Q", len(long)) + long + b"\x88\x02" + struct.pack(">H", 1001)
    assert received(server, frames) == (b"hi" + b"y" * 300 + long, 1001)
    assert b"Sec-WebSocket-Protocol: plain.virtualization.deckhouse.io" in server.seen


def test_a_broken_connection_is_1006(server: Server) -> None:
    assert received(server, b"\x82\x05ab") == (b"", 1006)


@pytest.mark.parametrize(
    "frame",
    [
        b"\x82\x82mask", b"\xf2\x01a", b"\x82\x7f" + struct.pack(">Q", 1 << 40), b"\x83\x01a",
        b"\x82\x02hi\x88\x7e" + struct.pack(">H", 300) + bytes(300),
    ],
)  # fmt: skip
def test_frames_that_no_server_may_send_end_the_session(server: Server, frame: bytes) -> None:
    assert received(server, frame)[1] in (1002, 1009)


def test_a_wrong_accept_key_is_refused(server: Server) -> None:
    server.answers.append(UPGRADE.replace(b"ACCEPT", b"d3Jvbmc="))
    with pytest.raises(ServiceUnavailable, match="not a WebSocket"):
        websocket.connect(server.home, "/console", timeout=5)


def test_a_refusal_before_the_upgrade_is_the_error_it_names(server: Server) -> None:
    server.answers.append(status(404, "NotFound", "no such machine"))
    with pytest.raises(NotFound, match="no such machine"):
        websocket.connect(server.home, "/console", timeout=5)


REFUSED = "dial tcp 127.0.0.1:38255: connect: connection refused"
URL = "https://hyperd-api.hyperd-system.svc:38255"


@pytest.mark.parametrize(
    ("code", "body", "why"),
    [
        (503, "service unavailable\n", ""),
        (503, f"error trying to reach service: {REFUSED}", REFUSED),
        (503, f"error dialing backend: {REFUSED}", REFUSED),
        (
            500,
            'Internal error occurred: failed calling webhook "mutation.virtualization.deckhouse.io": failed to '
            f'call webhook: Post "{URL}/mutate?timeout=10s": {REFUSED}',
            REFUSED,
        ),
        (
            500,
            "conversion webhook for virtualization.deckhouse.io/v1alpha2, Kind=VirtualMachineClass failed: Post "
            f'"{URL}/convert?timeout=30s": {REFUSED}',
            REFUSED,
        ),
    ],
)
def test_an_api_server_that_hears_nothing_from_hyperd_is_understood(code: int, body: str, why: str) -> None:
    sent = body if code == 503 else json.dumps({"kind": "Status", "code": code, "message": body})
    error = failure.from_response(code, sent.encode(), request_id="r")
    assert isinstance(error, ServiceUnavailable)
    because = f" ({why})" if why else ""
    assert error.message.startswith(f"The API server gets no answer from hyperd{because}. Virtual machines run on")


def test_another_webhook_that_fails_is_quoted() -> None:
    text = 'Internal error occurred: failed calling webhook "policy.example.org": failed to call webhook: EOF'
    sent = json.dumps({"kind": "Status", "code": 500, "message": text})
    assert failure.from_response(500, sent.encode()).message == text


@pytest.mark.parametrize(
    "head",
    [
        *(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\nhello\r\n0\r\n\r\n" for size in (
            "-5", "+5", "0x5", "1_0", "", " ", "²", "5 5", "f" * 5000, "-0", "g",
        )),
        *(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\nhello" for size in (
            "-5", "+5", "1_0", "²", "9" * 5000, "5, 5", "0x5",
        )),
        *(f"HTTP/1.1 {status} OK\r\n\r\n" for status in ("²00", "-20", "+20", "2_0", "xyz")),
    ],
)  # fmt: skip
def test_a_number_that_http_does_not_know_ends_the_answer(server: Server, head: str) -> None:
    server.answers.append(head.encode("latin-1"))
    with pytest.raises(ConnectionLost):
        Connection(server.home, timeout=5).request("GET", "/").body()


def test_a_server_that_goes_away_is_told_of_in_one_sentence(server: Server) -> None:
    said = failure.from_os_error(ConnectionLost("The server ended the connection."), server.home)
    assert str(said) == f"{server.home.where} cannot be reached: The server ended the connection."
