"""A client of NBD that reads as QEMU does: it agrees on an export by name, and takes simple replies."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class Refused(Exception):
    """There is no such export."""


class Reader:
    """One connection; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.size = 0
        self.flags = 0

    async def go(self, name: str) -> None:
        await self._reader.readexactly(18)
        wanted = name.encode()
        data = struct.pack(">I", len(wanted)) + wanted + struct.pack(">H", 0)
        self._writer.write(struct.pack(">I", 3) + struct.pack(">QII", 0x49484156454F5054, 7, len(data)) + data)
        while True:
            _, _, type_, length = struct.unpack(">QIII", await self._reader.readexactly(20))
            body = await self._reader.readexactly(length)
            if type_ == 3 and body[:2] == b"\0\0":
                _, self.size, self.flags = struct.unpack(">HQH", body)
            if type_ == 1:
                return
            if type_ >> 31:
                raise Refused

    async def read(self, offset: int, length: int) -> bytes:
        """Raises OSError with the server's errno."""
        self._writer.write(struct.pack(">IHHQQI", 0x25609513, 0, 0, 7, offset, length))
        magic, error, cookie = struct.unpack(">IIQ", await self._reader.readexactly(16))
        assert (magic, cookie) == (0x67446698, 7)
        if error:
            raise OSError(error, "the server says so")
        return await self._reader.readexactly(length)

    async def say(self, type_: int, offset: int, length: int) -> int:
        """Any request without data; the error of the reply."""
        self._writer.write(struct.pack(">IHHQQI", 0x25609513, 0, type_, 7, offset, length))
        _, error, _ = struct.unpack(">IIQ", await self._reader.readexactly(16))
        return int(error)


@asynccontextmanager
async def reading(socket: Path, name: str) -> AsyncIterator[Reader]:
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        made = Reader(reader, writer)
        await made.go(name)
        yield made
    finally:
        writer.close()
