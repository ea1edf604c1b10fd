"""What connections cost before anybody logs in over them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import weakref
from asyncio import sslproto
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hyperd.api.certificates import pki
from hyperd.api.limits.connections import Budget, ConnectionLimits
from hyperd.api.limits.turns import Turns
from hyperd.api.serving.accepting import Listener
from hyperd.api.serving.httpserver import HttpServer
from hyperd.settings import Settings
from tests.unit.api.test_crowds import half_a_handshake, silent

CROWD = 24


async def _answers(_: object) -> Any:
    raise AssertionError("nobody asks")


@pytest.fixture
def made(folder: Path) -> pki.Pki:
    return pki.ensure(Settings(state_dir=folder))


@contextlib.contextmanager
def _listening(context: ssl.SSLContext, turns: Turns) -> Iterator[tuple[int, ConnectionLimits]]:
    limits = ConnectionLimits(Budget(strangers=256, known=16, local=16))
    sock = socket.create_server(("127.0.0.1", 0))
    listener = Listener(HttpServer.of(_answers, turns), sock, limits, context)
    listener.start()
    try:
        yield sock.getsockname()[1], limits
    finally:
        listener.close()


class _Handshakes:
    """In which turn of the loop each began."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.turns: list[int] = []
        self._turn = 0
        loop = asyncio.get_running_loop()
        begin = loop.connect_accepted_socket

        async def counted(*args: Any, **kwargs: Any) -> object:
            self.turns.append(self._turn)
            return await begin(*args, **kwargs)

        monkeypatch.setattr(loop, "connect_accepted_socket", counted)
        self._tick()

    def _tick(self) -> None:
        self._turn += 1
        asyncio.get_running_loop().call_later(0, self._tick)


async def _until(holds: Any) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0)


async def test_who_says_nothing_costs_no_tls_session(made: pki.Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    context = await asyncio.to_thread(pki.server_context, made)
    with _listening(context, Turns()) as (port, limits), contextlib.ExitStack() as crowd:
        begun = _Handshakes(monkeypatch)
        for _ in range(CROWD):
            crowd.enter_context(contextlib.closing(await asyncio.to_thread(silent, port)))
        await _until(lambda: limits.strangers.lent == CROWD)
        crowd.enter_context(contextlib.closing(await asyncio.to_thread(half_a_handshake, port)))
        await _until(lambda: begun.turns)
        assert len(begun.turns) == 1
    await _until(lambda: limits.strangers.lent == 0)


async def test_who_left_without_a_word_costs_no_tls_session(
    made: pki.Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = await asyncio.to_thread(pki.server_context, made)
    with _listening(context, Turns()) as (port, limits), contextlib.ExitStack() as left:
        begun = _Handshakes(monkeypatch)
        socks = [await asyncio.to_thread(silent, port) for _ in range(CROWD)]
        await _until(lambda: limits.strangers.lent == CROWD)
        for sock in socks:
            sock.close()
        await _until(lambda: limits.strangers.lent == 0)
        left.enter_context(contextlib.closing(await asyncio.to_thread(half_a_handshake, port)))
        await _until(lambda: begun.turns)
        assert len(begun.turns) == 1


async def test_a_handshake_that_comes_to_nothing_leaves_no_circle(
    made: pki.Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector, which would have to find thousands of them, holds the loop for as long as that takes."""
    context = await asyncio.to_thread(pki.server_context, made)
    sessions = list[weakref.ref[sslproto.SSLProtocol]]()
    begin = sslproto.SSLProtocol.__init__

    def noted(session: sslproto.SSLProtocol, *args: Any, **kwargs: Any) -> None:
        begin(session, *args, **kwargs)
        sessions.append(weakref.ref(session))

    monkeypatch.setattr(sslproto.SSLProtocol, "__init__", noted)
    gc.disable()
    try:
        with _listening(context, Turns()) as (port, limits):
            with contextlib.closing(await asyncio.to_thread(half_a_handshake, port)):
                await _until(lambda: sessions)
            await _until(lambda: limits.strangers.lent == 0)
            await _until(lambda: [session() for session in sessions] == [None])
    finally:
        gc.enable()


async def test_an_address_begins_one_handshake_a_turn_while_others_ask(
    made: pki.Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = Turns()
    context = await asyncio.to_thread(pki.server_context, made)
    with _listening(context, turns) as (port, _), contextlib.ExitStack() as crowd:
        begun = _Handshakes(monkeypatch)
        for other in ("anna", "bert"):
            turns.take(other)
        coming = (asyncio.to_thread(half_a_handshake, port) for _ in range(CROWD))
        for sock in await asyncio.gather(*coming):
            crowd.enter_context(contextlib.closing(sock))
        await _until(lambda: len(begun.turns) == CROWD)
        assert len(set(begun.turns)) == CROWD


async def test_a_client_of_tls_is_served(made: pki.Pki) -> None:
    context = await asyncio.to_thread(pki.server_context, made)
    with _listening(context, Turns()) as (port, _):
        client = await asyncio.to_thread(ssl.create_default_context, cafile=str(made.ca.certificate))
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("localhost", port, ssl=client)
            writer.write(b"NONSENSE\r\n\r\n")
            assert (await reader.readline()).split()[1] == b"400"
            writer.close()


@pytest.mark.parametrize("retired", [True, False], ids=["retired", "closed"])
async def test_who_has_begun_to_arrive_stays_with_one_that_retires(made: pki.Pki, retired: bool) -> None:
    """As when certificates change: another one takes over then."""
    limits = ConnectionLimits(Budget(strangers=256, known=16, local=16))
    sock = socket.create_server(("127.0.0.1", 0))
    listener = Listener(HttpServer.of(_answers, Turns()), sock, limits, pki.server_context(made))
    listener.start()
    client = socket.create_connection(sock.getsockname())
    client.setblocking(False)
    try:
        await _until(lambda: listener.arriving)
        (listener.retire if retired else listener.close)()
        trusting = ssl.create_default_context(cafile=str(made.ca.certificate))
        try:
            _, writer = await asyncio.open_connection(sock=client, ssl=trusting, server_hostname="localhost")
        except OSError:
            assert not retired
        else:
            assert retired
            writer.close()
    finally:
        listener.close()
        client.close()
    await _until(lambda: not listener.arriving)
