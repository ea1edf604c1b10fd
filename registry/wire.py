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
_HEAD_SLICE = 8 << 10
_CHUNKED_SLICE = 64 << 10
_MOST_BESIDE = 64 << 10
_BESIDE_SHARE = 4
"""Beyond that, a byte for so many bytes of content: chunks of a few bytes each are not how an image is sent."""


class GuardedHandler(ResponseHandler):
    """Ends the connection when what is no content exceeds its bounds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._came = 0
        self._content: aiohttp.StreamReader | None = None
        self._slice = _HEAD_SLICE

    def feed_data(self, data: tuple[Any, aiohttp.StreamReader], size: int = 0) -> None:
        """The parser has found the head of an answer."""
        message, content = data
        if message.code >= 200 and self._content is None:
            self._content = content
            self._slice = _CHUNKED_SLICE if message.chunked else 0
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Bytes came. What costs time to parse is parsed in pieces, so that its bound is noticed early."""
        while 0 < self._slice < len(data):
            piece, data = data[: self._slice], data[self._slice :]
            if not self._take(piece):
                return
        self._take(data)

    def _take(self, data: bytes) -> bool:
        self._came += len(data)
        super().data_received(data)
        if not self._slice:
            return True
        content = self._content
        if content is None:
            most = _MOST_BEFORE_CONTENT
        else:
            most = content.total_bytes + content.total_bytes // _BESIDE_SHARE + _MOST_BESIDE
        if self._came <= most:
            return True
        if self.transport is not None:
            self.transport.abort()
        error = aiohttp.ClientPayloadError("sends far more beside the content than content")
        self.set_exception(error)
        if content is not None:
            content.set_exception(error)
        return False


def connector(addresses: Sequence[Address], tls: Any, limits: ImportSettings) -> aiohttp.TCPConnector:
    """Connects to ``addresses`` alone, once."""
    made = aiohttp.TCPConnector(resolver=Pinned(addresses), ssl=tls, use_dns_cache=False, force_close=True)
    factory: Any = functools.partial(GuardedHandler, loop=asyncio.get_running_loop())
    made._factory = factory  # noqa: SLF001  aiohttp offers no other way to a handler of one's own
    return made
