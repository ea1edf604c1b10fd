"""The NBD server alone, before a disk of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from registry.lazy import nbd
from tests.unit.registry.lazy.reader import reading
from tests.unit.registry.lazy.test_lazy import CHUNK, IMAGE


async def test_a_disk_that_reads_less_than_there_is_shifts_no_reply(tmp_path: Path) -> None:
    class Short:
        size = 2 * CHUNK

        async def read(self, offset: int, length: int) -> bytes:
            return IMAGE[offset : offset + length - (100 if offset else 0)]

    @asynccontextmanager
    async def find(name: str) -> AsyncIterator[Short]:
        yield Short()

    socket = tmp_path / "s"
    server = await asyncio.start_unix_server(lambda reader, writer: nbd.serve(reader, writer, find), socket)
    async with server, reading(socket, "a") as reader:
        with pytest.raises(OSError, match="the server says so"):
            await reader.read(4096, 512)
        assert await reader.read(0, 512) == IMAGE[:512]
