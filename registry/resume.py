"""A body that is gone on with where its connection broke, and never with another version's bytes.

The rest is asked for by Range, on the condition (If-Range) that the file is the one whose beginning is here; an
answer that does not prove that ends the transfer, which then begins anew. All of that takes of the time that a
source may be silent, so a server that breaks off again and again is given up like one that is slow.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp

from hyperd.backoff import backoff
from hyperd.errors import HyperdError, PermanentError, TemporaryError
from hyperd.imagefile.detect import FAILED
from hyperd.settings import ImportSettings
from registry.answers import retry_after
from registry.pace import Pace, paced_blocks
from registry.visit import Broken, told

Ask = Callable[[AsyncExitStack, Mapping[str, str]], Awaitable[tuple[str, aiohttp.ClientResponse]]]
"""Makes the same request again with further headers; the host that answers, and what."""
_FIRST_SECONDS: Final = 1.0
_LAST_SECONDS: Final = 15.0
_PATIENCE: Final = 0.7
"""Of the time that a source may be silent: then the sentence is that it broke off, not that it is slow."""
_MOST_CONNECTIONS: Final = 1000
"""Of one transfer: what each was opened with is kept until all of it ends."""
_STRONG_SECONDS: Final = 60.0
"""A file that was changed less long before it was sent may have been changed again in the same second."""
_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")


@dataclass(frozen=True)
class Version:
    """By what a file is known to be the same: the header that says so and its value, or ``by_content``."""

    header: str = ""
    value: str = ""
    by_content: bool = False
    """It is known by its digest, which is checked in the end."""

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Version:
        """Nothing where the answer has no strong validator."""
        tag, changed = headers.get("ETag", ""), headers.get("Last-Modified", "")
        if tag.startswith('"'):
            return cls("ETag", tag)
        try:
            age = (parsedate_to_datetime(headers["Date"]) - parsedate_to_datetime(changed)).total_seconds()
        except (KeyError, ValueError, TypeError, OverflowError):
            return cls()
        return cls("Last-Modified", changed) if not tag and age >= _STRONG_SECONDS else cls()

    @property
    def known(self) -> bool:
        return bool(self.header) or self.by_content

    @property
    def condition(self) -> dict[str, str]:
        return {"If-Range": self.value} if self.header else {}

    def same(self, headers: Mapping[str, str]) -> bool:
        return self.by_content or headers.get(self.header) == self.value


class Unbroken:
    """The content of ``first``, an answer of ``length`` bytes, as one whose connection never breaks."""

    def __init__(
        self, stack: AsyncExitStack, first: aiohttp.ClientResponse, host: str, *, ask: Ask, version: Version
    ) -> None:
        """What is asked for again is open until ``stack`` is closed."""
        self._stack, self._response, self._host, self._ask = stack, first, host, ask
        coded = first.headers.get("Content-Encoding", "identity") != "identity"
        self._version = Version() if coded else version
        self._length = first.content_length
        self._came = 0
        self._failures = 0
        self._connections = 1
        self._patience = 0.0

    def blocks(self, limits: ImportSettings, received: Callable[[int], None] | None) -> AsyncIterator[bytes]:
        """All of it, no slower than a source may be; ``received`` is told of every read."""
        self._patience = _PATIENCE * limits.read_timeout_seconds
        pace = Pace(self._host, seconds=limits.read_timeout_seconds, speed=limits.slowest_bytes_per_second)
        return paced_blocks(self, pace, received=received)

    async def readany(self) -> bytes:
        """What has come, empty at the end. Raises TemporaryError."""
        while True:
            try:
                with told(self._host):
                    piece = await self._response.content.readany()
            except Broken as err:
                if not self._version.known or self._length is None:
                    raise
                try:
                    async with asyncio.timeout(self._patience):
                        await self._go_on(err)
                except TimeoutError:
                    raise err from None
                continue
            if piece:
                self._came, self._failures = self._came + len(piece), 0
            return piece

    async def _go_on(self, broken: Broken) -> None:
        """Have the rest come."""
        asked = 0.0
        while True:
            if asked > _LAST_SECONDS:
                # Longer than a place is kept for.
                raise TemporaryError(broken.message, key=FAILED, delay=asked) from broken
            if self._connections >= _MOST_CONNECTIONS:
                raise TemporaryError(
                    f"{broken.message} {_MOST_CONNECTIONS} connections broke off.", key=FAILED
                ) from broken
            self._failures, self._connections = self._failures + 1, self._connections + 1
            await asyncio.sleep(backoff(self._failures, first=_FIRST_SECONDS, last=_LAST_SECONDS, asked=asked))
            # It is closed with all the others: this may be another task than the one that opened the first.
            hop = await self._stack.enter_async_context(AsyncExitStack())
            self._response.close()
            wanted = {"Range": f"bytes={self._came}-", **self._version.condition}
            try:
                self._host, response = await self._ask(hop, wanted)
            except PermanentError:
                raise
            except HyperdError as err:
                asked = (err.delay if isinstance(err, TemporaryError) else None) or 0.0
                continue
            if response.status in (429, 503):
                asked = retry_after(response.headers) or 0.0
                await hop.aclose()
                continue
            if not self._fits(response):
                raise TemporaryError(
                    f"{broken.message} The rest of the same file is not to be had alone: all begins anew.",
                    key=FAILED,
                ) from broken
            self._response = response
            return

    def _fits(self, response: aiohttp.ClientResponse) -> bool:
        """Whether it is the rest, and of the same file."""
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status != 206 or found is None or self._length is None:
            return False
        first, last, total = map(int, found.groups())
        rest = (first, last + 1, total) == (self._came, self._length, self._length)
        return rest and response.content_length == total - first and self._version.same(response.headers)
