"""How slow a source may be: every byte buys time, and a source that has used up its time has lost its place.

A source may be silent for so long in all; what it sends buys it time again, at the slowest speed that is allowed.
So neither a server that trickles nor one that sends well and then stalls holds a place for long, whatever it does
on the wire between.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from hyperd.errors import TemporaryError
from hyperd.imagefile.detect import FAILED
from registry.answers import blocks_of


class Content(Protocol):
    """A body that is read as it comes, such as aiohttp's."""

    async def readany(self) -> bytes: ...


class Pace:
    """The time that ``host`` has left: ``seconds`` at first and at most, one more for each ``speed`` bytes."""

    def __init__(self, host: str, *, seconds: float, speed: int) -> None:
        self._host, self._most, self._speed = host, seconds, speed
        self._left = seconds
        self._bytes, self._waited = 0, 0.0

    async def read(self, content: Content) -> bytes:
        """What has come, empty at the end; TemporaryError when the time is up. Only waiting is counted."""
        # The clock that the timeout goes by: a host that slept is not a slow source.
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            async with asyncio.timeout(self._left):
                piece = await content.readany()
        except TimeoutError:
            self._waited += clock() - started
            raise self._too_slow() from None
        waited = clock() - started
        self._bytes += len(piece)
        self._waited += waited
        self._left = min(self._most, self._left - waited + len(piece) / self._speed)
        if self._left <= 0 and piece:
            raise self._too_slow()
        return piece

    def _too_slow(self) -> TemporaryError:
        return TemporaryError(
            f"{self._host} sends too slowly: {self._bytes} bytes in {self._waited:.0f} seconds, where "
            f"{self._speed} a second are the least (setting imports.slowest_bytes_per_second).",
            key=FAILED,
        )


def paced_blocks(
    content: Content, pace: Pace, *, received: Callable[[int], None] | None = None
) -> AsyncIterator[bytes]:
    """The body in blocks as ``blocks_of`` makes them.

    ``received`` is told of each read at once, however long a block takes to fill.
    """

    async def read() -> bytes:
        piece = await pace.read(content)
        if piece and received is not None:
            received(len(piece))
        return piece

    return blocks_of(read)
