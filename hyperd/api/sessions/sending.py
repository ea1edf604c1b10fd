"""Sending what may be large to one client, which has a place that others wait for: who reads slowly loses it.

What it took counts for what comes: it is cut that is slow on average, and may go on from where it was cut. So is
what takes more than a day, or a right that is lost would be good for as long as there are bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from aiohttp import web

SLOW_READER_SECONDS: Final = 30.0
"""How long a client may keep us waiting in one go, and in all before its speed counts."""
LONGEST_SECONDS: Final = 86_400.0
"""Of one answer."""
LEAST_BYTES_PER_SECOND: Final = 128 << 10
"""That it reads while it is waited for, on average: 1 Mbit/s."""


class Sending:
    """One answer. Its methods raise ConnectionError where the client has left, or is too slow and was cut off."""

    def __init__(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response
        self._began = asyncio.get_running_loop().time()
        self._waited = 0.0
        self._sent = 0

    @property
    def begun(self) -> bool:
        """Whether the client has something of it."""
        return self._response.prepared

    async def write(self, piece: bytes | bytearray | memoryview) -> None:
        """The answer begins with the first one."""
        if asyncio.get_running_loop().time() - self._began > LONGEST_SECONDS:
            abort(self._request)
            raise ConnectionAbortedError("one answer takes no longer; who goes on from here asks anew")
        if not self.begun:
            await self._response.prepare(self._request)
        await self._taken(self._response.write(piece))
        self._sent += len(piece)

    async def end(self) -> None:
        """All was written."""
        await self._taken(self._response.write_eof())

    async def _taken(self, writing: Awaitable[None]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        patience = SLOW_READER_SECONDS + self._sent / LEAST_BYTES_PER_SECOND - self._waited
        try:
            async with asyncio.timeout(min(SLOW_READER_SECONDS, patience)):
                await writing
        except TimeoutError:
            abort(self._request)
            raise ConnectionAbortedError("the client does not read what it asked for") from None
        finally:
            self._waited += loop.time() - began


def abort(request: web.BaseRequest) -> None:
    """End the connection now, whatever was to be sent."""
    if request.transport is not None:
        request.transport.abort()
