"""Sessions behind the real API server: its paths, its Status answers, its stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import aiohttp
import pytest
from aiohttp import WSMsgType

from hyperd.api.serving.app import ApiServer
from hyperd.api.sessions import sending
from hyperd.settings import ApiSettings
from tests.unit.sessions.conftest import PROTOCOL, Lab

BASE = "http://h/apis/subresources.virtualization.deckhouse.io/v1alpha2/namespaces/default/virtualmachines/web/"


@pytest.fixture
async def server(lab: Lab) -> AsyncIterator[ApiServer]:
    settings = lab.settings.model_copy(update={"api": ApiSettings(port=0)})
    server = ApiServer(settings, lab.store, sessions=lab.sessions.handlers())
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(lab: Lab, server: ApiServer) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(path=str(lab.settings.socket_path))
    async with aiohttp.ClientSession(connector=connector) as client:
        yield client


async def test_a_refusal_is_a_status_in_exactly_json(lab: Lab, client: aiohttp.ClientSession) -> None:
    await lab.machine(phase="Stopped")
    async with client.get(BASE + "console") as response:
        assert response.status == 400
        assert response.headers["Content-Type"] == "application/json"
        assert (await response.json())["message"].endswith("is not Running or Migrating")
    async with client.get(BASE.replace("/web/", "/none/") + "console") as response:
        assert response.status == 404
        assert response.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("odd", ["Key", "Version", "Protocol"])
async def test_a_handshake_of_odd_bytes_is_refused_or_served_without_a_protocol(
    lab: Lab, client: aiohttp.ClientSession, odd: str
) -> None:
    await lab.serial(await lab.machine())
    values = {"Key": b"dGhlIHNhbXBsZSBub25jZQ==", "Version": b"13", "Protocol": b"plain.kubevirt.io"}
    values[odd] += b"\xff"
    lines = [b"Sec-WebSocket-%s: %s\r\n" % (name.encode(), value) for name, value in values.items()]
    path = BASE.removeprefix("http://h").encode()
    reader, writer = await asyncio.open_unix_connection(str(lab.settings.socket_path))
    writer.write(b"GET %sconsole HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" % path)
    writer.write(b"".join(lines) + b"\r\n")
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert answer.startswith(b"HTTP/1.1 " + (b"101" if odd == "Protocol" else b"400"))
    writer.close()


async def test_a_probe_and_the_log_are_answered(lab: Lab, client: aiohttp.ClientSession) -> None:
    await lab.machine()
    async with client.get(BASE + "vnc?probe=true") as response:
        assert (await response.json())["kind"] == "VirtualMachineSession"
    async with client.get(BASE + "log") as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_who_does_not_read_a_log_is_cut_off(
    lab: Lab, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SLOW_READER_SECONDS", 0.2)
    await lab.machine()
    over = asyncio.Event()

    async def endless(*_: object, **__: object) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield bytes(1 << 16)
        finally:
            over.set()

    monkeypatch.setattr(lab.sessions._consoles, "log", endless)
    _, writer = await asyncio.open_unix_connection(str(lab.settings.socket_path), limit=1 << 10)
    writer.write(f"GET {BASE.removeprefix('http://h')}log?follow=true HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    await asyncio.wait_for(over.wait(), 10)
    writer.close()


async def test_a_console_works_and_the_servers_stop_closes_it_with_1011(
    lab: Lab, server: ApiServer, client: aiohttp.ClientSession
) -> None:
    serial = await lab.serial(await lab.machine())
    async with client.ws_connect(BASE + "console", protocols=(PROTOCOL,), autoclose=False) as socket:
        await serial.say(b"hi")
        assert (await socket.receive()).data == b"hi"
        stopping = asyncio.create_task(server.stop())
        message = await asyncio.wait_for(socket.receive(), 5)
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1011)
        await socket.close()
        await asyncio.wait_for(stopping, 5)
    await lab.sessions.close()
    assert (await lab.get("console?probe=true"))[1]["holder"] == ""
