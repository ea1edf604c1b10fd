"""What goes wrong once an answer has begun: it is cut, so that nobody takes it for whole or for two."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from hyperd.errors import PermanentError
from hyperd.store.interface import User
from tests.unit.api.conftest import serving

PATH = "/apis/subresources.virtualization.deckhouse.io/v1alpha2/namespaces/default/virtualdisks/vm/export"


@pytest.mark.parametrize("length", [None, 100], ids=["chunked", "counted"])
@pytest.mark.parametrize("sent", [b"", b"begin"], ids=["head", "body"])
@pytest.mark.parametrize("error", [PermanentError("It is broken."), ValueError("defect")], ids=["told", "defect"])
async def test_an_answer_that_has_begun_is_cut(
    folder: Path, error: Exception, sent: bytes, length: int | None
) -> None:
    async def handler(request: web.BaseRequest, _: User, __: str, ___: str) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = length
        await response.prepare(request)
        if sent:
            await response.write(sent)
        raise error

    async with serving(folder, sessions={("virtualdisks", "export"): handler}) as api:
        reader, writer = await asyncio.open_unix_connection(str(api.settings.socket_path))
        writer.write(f"GET {PATH} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        said = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        assert said.count(b"HTTP/1.1") == 1
        assert b"500" not in said
        assert b"\r\n0\r\n" not in said
        async with api.client.get("http://h/api/v1/namespaces") as answer:
            assert answer.status == 200


async def test_what_has_not_begun_is_told(folder: Path) -> None:
    async def handler(_: web.BaseRequest, __: User, ___: str, ____: str) -> web.StreamResponse:
        raise PermanentError("It is broken.")

    async with serving(folder, sessions={("virtualdisks", "export"): handler}) as api:
        assert (await api.call("GET", PATH))[1]["message"] == "It is broken."
