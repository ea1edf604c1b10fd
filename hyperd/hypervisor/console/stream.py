"""A connected socket as what sessions carry: bytes that are read, written, and end."""

from __future__ import annotations

import asyncio

_READ_BYTES = 64 << 10


class SocketStream:
    """``read`` ends with b"" when the other side closes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """The next bytes, as many as there are; b"" at the end."""
        try:
            return await self._reader.read(_READ_BYTES)
        except OSError:
            return b""

    async def write(self, data: bytes) -> None:
        """Send ``data``; waits while the other side does not take it. Raises ConnectionError at the end."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise ConnectionError(str(error)) from error

    def close(self) -> None:
        """Send what is left, and end."""
        self._writer.close()
