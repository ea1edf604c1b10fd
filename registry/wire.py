"""A connection to a server that nobody vouches for: what it sends beside the content is bounded.

Between a request and the content, and between the pieces of content, a server may send interim answers, headers,
chunk extensions and trailers. Parsing them costs the event loop time and moves nothing.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from hyperd.settings import ImportSettings
from registry.addresses import Address, Pinned

_MOST_BEFORE_CONTENT = 64 << 10
_SLICE = 8 << 10
_MOST_BESIDE = 1 << 20
"""Beyond as many bytes as the content has: chunks of a few bytes each are not how an image is sent."""


class GuardedHandler(ResponseHandler):
    """Ends the connection when what is no content exceeds its bounds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._came = 0
        self._content: aiohttp.StreamReader | None = None

    def feed_data(self, data: tuple[Any, aiohttp.StreamReader], size: int = 0) -> None:
        """The parser has found the head of an answer."""
        if data[0].code >= 200 and self._content is None:
            self._content = data[1]
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        while self._content is None and len(data) > _SLICE:
            piece, data = data[:_SLICE], data[_SLICE:]
            if not self._take(piece):
                return
        self._take(data)

    def _take(self, data: bytes) -> bool:
        self._came += len(data)
        super().data_received(data)
        content = self._content
        most = _MOST_BEFORE_CONTENT if content is None else 2 * content.total_bytes + _MOST_BESIDE
        if self._came <= most:
            return True
        if self.transport is not None:
            self.transport.abort()
        error = aiohttp.ClientPayloadError("sends far more beside the content than content")
        self.set_exception(error)
        if self._content is not None:
            self._content.set_exception(error)
        return False


def connector(addresses: Sequence[Address], tls: Any, limits: ImportSettings) -> aiohttp.TCPConnector:
    """Connects to ``addresses`` alone, once."""
    made = aiohttp.TCPConnector(resolver=Pinned(addresses), ssl=tls, use_dns_cache=False, force_close=True)
    factory: Any = functools.partial(GuardedHandler, loop=asyncio.get_running_loop())
    made._factory = factory  # noqa: SLF001  aiohttp offers no other way to a handler of one's own
    return made
