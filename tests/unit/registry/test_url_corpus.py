"""Every URL of ``tests/corpus/urls`` against two servers that write down what arrives."""

from __future__ import annotations

import asyncio
import base64
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hyperd.errors import PermanentError
from hyperd.settings import ImportSettings, Settings
from registry.fetch import open_source
from tests.unit.registry.corpus import cases


class Recorder:
    """Two servers: what they were asked, and which redirects are still to come."""

    def __init__(self, redirects: list[str]) -> None:
        self.redirects = list(redirects)
        self.seen: list[str] = []
        self.heads: list[tuple[str, list[str]]] = []
        self.places: dict[str, str] = {}

    def fill(self, text: str) -> str:
        for name, place in self.places.items():
            text = text.replace(f"{{{name}}}", place).replace(f"{{{name}_port}}", place.rpartition(":")[2])
        return text

    async def answer(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *headers = head.strip().split("\r\n")
        _, target, _ = line.split(" ")
        given = [value for key, value in (entry.split(": ", 1) for entry in headers) if key == "Authorization"]
        credentials = [" " + base64.b64decode(value.removeprefix("Basic ")).decode("latin-1") for value in given]
        self.seen.append(f"{name} {target}{''.join(credentials)}")
        self.heads.append((name, headers))
        if self.redirects:
            location = self.fill(self.redirects.pop(0)).encode("latin-1")
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nSet-Cookie: a=b\r\n")
            writer.write(b"Content-Length: 0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x01end")
        await writer.drain()
        writer.close()


@asynccontextmanager
async def recorder(redirects: list[str]) -> AsyncIterator[Recorder]:
    made = Recorder(redirects)
    servers = [
        await asyncio.start_server(functools.partial(made.answer, name), "127.0.0.1", 0) for name in ("a", "b")
    ]
    for name, server in zip("ab", servers, strict=True):
        made.places[name] = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        for server in servers:
            server.close()


async def fetch(url: str, settings: Settings) -> bytes:
    async with open_source(url, ca_bundle="", settings=settings) as source:
        return b"".join([block async for block in source.blocks])


@pytest.mark.parametrize("case", cases("urls"), ids=lambda case: case["name"])
async def test_a_url_of_the_corpus(tmp_path: Path, case: dict[str, Any]) -> None:
    async with recorder(case.get("redirects", [])) as servers:
        allowed = tuple(f"{place.replace(':', '/32:')}" for place in servers.places.values())
        settings = Settings(state_dir=tmp_path, imports=ImportSettings(allowed=allowed))
        url = servers.fill(case["url"])
        if "refused" in case:
            with pytest.raises(PermanentError, match=case["refused"]):
                await fetch(url, settings)
        else:
            assert await fetch(url, settings) == b"\x01end"
    assert servers.seen == case["wire"]
    for name, headers in servers.heads:
        hosts = [entry for entry in headers if entry.startswith("Host: ")]
        assert hosts == [f"Host: {servers.places[name]}"] or hosts[0].startswith("Host: localhost:")
        assert "Accept-Encoding: identity" in headers
        assert not [entry for entry in headers if entry.lower().startswith(("cookie:", "referer:"))]
