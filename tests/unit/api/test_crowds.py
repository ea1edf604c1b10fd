"""More connections than file descriptors: others are served all the same, and the log stays short."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import resource
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hyperd.api.limits import connections as connections
from hyperd.api.limits.connections import Budget, ConnectionLimits, network_of
from hyperd.api.serving import accepting
from hyperd.api.serving.accepting import Listener
from hyperd.api.serving.httpserver import HttpServer
from tests.unit.api.conftest import Api

DESCRIPTORS = 150
CROWD = 220
MAPS = "/api/v1/namespaces/default/configmaps"


@dataclass
class Crowded:
    folder: Path
    port: int

    async def over_the_socket(self) -> float:
        """Seconds that a new connection over the unix socket takes to its answer."""
        started = time.monotonic()
        connector = aiohttp.UnixConnector(path=str(self.folder / "hyperd.sock"))
        async with aiohttp.ClientSession(connector=connector) as client, client.get(f"http://h{MAPS}") as got:
            assert got.status == 200
        return time.monotonic() - started

    async def over_tls(self) -> int:
        """Status of an administrator's request over a connection from the crowd's own address."""
        context = ssl.create_default_context(cafile=str(self.folder / "pki" / "ca.crt"))
        context.load_cert_chain(self.folder / "pki" / "admin.crt", self.folder / "pki" / "admin.key")
        connector, url = aiohttp.TCPConnector(ssl=context), f"https://localhost:{self.port}{MAPS}"
        async with aiohttp.ClientSession(connector=connector) as client, client.get(url) as got:
            return got.status


@asynccontextmanager
async def crowded(folder: Path, log: Path) -> AsyncIterator[Crowded]:
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.unit.api.crowded", str(folder), str(DESCRIPTORS)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=file,
            cwd=Path(__file__).parents[3],
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Crowded(folder, int(await process.stdout.readline()))
    finally:
        process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@functools.cache
def trusting() -> ssl.SSLContext:
    """One for all of a crowd; none of the host's certificates are loaded, which takes longer than a handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def silent(port: int) -> socket.socket:
    """Says nothing."""
    return socket.create_connection(("127.0.0.1", port))


def half_a_handshake(port: int) -> socket.socket:
    """A ClientHello, and no answer to the server's."""
    sock = silent(port)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        trusting().wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    sock.sendall(outgoing.read())
    return sock


def no_tls(port: int) -> socket.socket:
    """HTTP to a listener that wants TLS."""
    sock = silent(port)
    with contextlib.suppress(OSError):
        sock.sendall(b"GET /api HTTP/1.1\r\nHost: x\r\n")
    return sock


def slow_header(port: int) -> socket.socket:
    """TLS, and a header that never ends."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.settimeout(10)
    try:
        wrapped = trusting().wrap_socket(sock)
        wrapped.sendall(b"GET /api HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    except OSError:
        return sock
    return wrapped


def room_for(connections: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < connections + 100:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, connections + 100), hard))


@pytest.mark.parametrize("how", [silent, half_a_handshake, no_tls, slow_header])
async def test_more_connections_than_descriptors_keep_nobody_out(
    folder: Path, tmp_path: Path, how: Callable[[int], socket.socket]
) -> None:
    room_for(CROWD + 70)
    log = tmp_path / "log"
    async with crowded(folder, log) as server:
        alone = await server.over_the_socket()
        crowd: list[socket.socket] = []
        try:
            for _ in range(CROWD):
                crowd.append(await asyncio.to_thread(how, server.port))
            # Whoever had to wait for room would wait until the crowd's first connections are given up.
            waited = await server.over_the_socket()
            assert waited < alone + accepting.FIRST_REQUEST_SECONDS / 2
            assert await server.over_tls() == 200
        finally:
            for sock in crowd:
                sock.close()
        assert await server.over_tls() == 200
    lines = log.read_text().splitlines()
    assert len(lines) < 12, lines[:40]
    assert "Traceback" not in log.read_text()


async def test_without_a_descriptor_connections_wait_and_the_log_says_so_once(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, failing = socket.socket.accept, [True]

    def accept(self: socket.socket) -> Any:
        if failing[0]:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(self)

    monkeypatch.setattr(socket.socket, "accept", accept)
    monkeypatch.setattr(accepting, "_PAUSE_SECONDS", 0.01)
    with caplog.at_level(logging.WARNING):
        asking = asyncio.create_task(api.call("GET", MAPS))
        await asyncio.sleep(0.2)
        assert not asking.done()
        failing[0] = False
        assert (await asking)[0] == 200
    assert [record.message for record in caplog.records] == [
        "Connections wait, for none can be accepted: Too many open files"
    ]


async def test_a_connection_without_a_good_request_ends_soon(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "FIRST_REQUEST_SECONDS", 0.3)
    context = ssl.create_default_context(cafile=str(api.settings.pki_dir / "ca.crt"))
    context.load_cert_chain(api.settings.pki_dir / "admin.crt", api.settings.pki_dir / "admin.key")
    kept = await asyncio.open_connection("localhost", api.server.port, ssl=context)
    kept[1].write(f"GET {MAPS} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert (await kept[0].readline()).startswith(b"HTTP/1.1 200")
    slow = await asyncio.open_connection("localhost", api.server.port, ssl=context)
    slow[1].write(b"GET /version HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(5):
            await slow[0].read()
    kept[1].write(f"GET {MAPS} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    rest = await kept[0].readuntil(b"HTTP/1.1 200")
    assert rest
    for _, writer in (kept, slow):
        writer.close()
    assert api.server.connections.strangers.lent <= 1


@pytest.mark.parametrize("descriptors", [64, 200, 256, 1024, 4096, 65536, 524288, 1 << 20])
def test_the_shares_of_connections_leave_room_for_the_daemons_own_files(descriptors: int) -> None:
    budget = Budget.of(descriptors)
    assert budget.strangers + budget.known + budget.local <= descriptors - max(16, descriptors // 4)
    assert min(budget.strangers, budget.known, budget.local) >= 4


def test_one_address_never_takes_all_that_strangers_have() -> None:
    crowd = ConnectionLimits(Budget(strangers=16, known=16, local=16))
    ended: list[int] = []
    for number in range(100):
        assert crowd.stranger("192.0.2.1", lambda number=number: ended.append(number))  # type: ignore[misc]
    assert crowd.strangers.held("192.0.2.1") == 8
    assert ended == list(range(92))
    for number in range(8):
        assert crowd.stranger(f"192.0.2.{number + 2}", lambda: ended.append(-1))
    assert crowd.stranger("198.51.100.7", lambda: ended.append(-1))
    assert -1 not in ended
    assert crowd.strangers.held("192.0.2.1") == 7


async def test_a_connection_that_is_dropped_in_the_turn_in_which_it_came_leaves_nothing() -> None:
    crowd = ConnectionLimits(Budget(strangers=16, known=16, local=16))
    with socket.create_server(("127.0.0.1", 0)) as sock:

        async def answers(_: object) -> Any:
            raise AssertionError("nothing arrives")

        listener = Listener(HttpServer.of(answers), sock, crowd)
        sock.setblocking(False)
        with socket.create_connection(sock.getsockname()) as client:
            listener._accept()
            assert crowd.strangers.lent == 1
            (task,) = listener._arriving
            task.cancel()
            await asyncio.wait([task])
            await asyncio.sleep(0)
            assert (crowd.strangers.lent, listener._arriving) == (0, set())
            client.settimeout(5)
            assert client.recv(1) == b""


def test_one_user_leaves_connections_to_others_and_to_root() -> None:
    crowd = ConnectionLimits(Budget(strangers=16, known=32, local=16))
    while crowd.known.try_acquire("viewer", lose=lambda: None):
        pass
    assert crowd.login("other", lambda: None, privileged=False)
    assert crowd.login("root", lambda: None, privileged=True)
    while crowd.neighbour(1000, privileged=False):
        pass
    assert crowd.neighbour(1001, privileged=False)
    assert crowd.neighbour(0, privileged=True)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/56"),
        ("2001:db8:1:2::", "2001:db8:1::/56"),
        ("fe80::1%eth0", "fe80::/56"),
        ("", ""),
    ],
)
def test_strangers_are_known_by_their_network(address: str, key: str) -> None:
    assert network_of(address) == key


def test_the_limit_of_open_files_is_raised_to_what_is_allowed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        assert connections.raise_limit() == min(hard, 1 << 20) or hard == resource.RLIM_INFINITY
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
