"""A server whose answers are nested too deeply to be read is told of in a sentence."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest

from hyperd.cli.threeway import LAST_APPLIED, last_applied
from hyperd.client import home
from hyperd.client.aio import AsyncClient
from hyperd.client.failure import from_response
from hyperd.errors import ServiceUnavailable

DEEP = b'{"a":' * 50_000 + b"1" + b"}" * 50_000


async def test_the_terminal_interfaces_client_says_so() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(DEEP), DEEP))
        await writer.drain()
        writer.close()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        async with await asyncio.start_unix_server(answer, path):
            client = AsyncClient(home.local(str(path)))
            with pytest.raises(ServiceUnavailable):
                await client.call("GET", "/")
            await client.close()


def test_so_do_refusals_and_what_was_last_applied() -> None:
    assert str(from_response(500, DEEP)).startswith("The server answered 500")
    assert last_applied({"metadata": {"annotations": {LAST_APPLIED: DEEP.decode()}}}) == {}
