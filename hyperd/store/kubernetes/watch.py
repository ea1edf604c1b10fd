"""Watches over a Kubernetes API server that keep the promises of ``Store.watch``.

The rules it keeps: what exists comes from one consistent list, and everything after it from a watch that begins at
that list's version, so the order and the end of the initial events do not depend on which server versions know
``sendInitialEvents``. A watch that the server closes in good order (it does so after some minutes) goes on from
the last version seen, unnoticed. What cannot go on says so: Expired for a version that is gone, or that a server
put back to an earlier state has yet to reach, ServiceUnavailable for a server that is gone.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack
from typing import Final, Protocol

import aiohttp
import orjson

from hyperd.errors import Expired, InternalError
from hyperd.resources.schema.kind import Kind
from hyperd.store.interface import EventType, Item, Listing, WatchEvent
from hyperd.store.kubernetes.client import KubernetesClient, error_of

IDLE_SECONDS: Final = 180.0
"""Servers send a bookmark a minute: a longer silence is a connection that died without a word."""

_LONGEST_SECONDS: Final = 3600
_SHORTEST_LIFE: Final = 1.0


class Lister(Protocol):
    """Lists what the watch watches."""

    def __call__(self, *, limit: int = 0) -> Awaitable[Listing]: ...


class KubernetesWatch:
    """One open watch: an iterator of events. ``open`` before the first, ``close`` after the last."""

    def __init__(
        self,
        client: KubernetesClient,
        kind: Kind,
        path: str,
        *,
        query: Sequence[tuple[str, str]],
        bookmarks: bool,
        timeout: float | None,
    ) -> None:
        """``query`` selects; ``bookmarks`` passes on the bookmarks that are asked for anyway."""
        self._client = client
        self._kind = kind
        self._path = path
        self._query = tuple(query)
        self._bookmarks = bookmarks
        self._loop = asyncio.get_running_loop()
        self._deadline = None if timeout is None else self._loop.time() + timeout
        self._version = ""
        self._connected = 0.0
        self._connection = AsyncExitStack()
        self._lines: aiohttp.StreamReader | None = None
        self._lister: Lister | None = None
        self._events = self._run([])

    async def open(self, lister: Lister, *, resource_version: str, send_initial: bool | None) -> None:
        """Begin, so far that a faulty request is told now. Raises as ``Store.watch`` does."""
        first: list[WatchEvent] = []
        anywhere = resource_version in ("", "0")
        self._lister = lister
        if send_initial or (send_initial is None and anywhere):
            listing = await lister()
            first += (WatchEvent(EventType.ADDED, item) for item in listing.items)
            if send_initial:
                first.append(WatchEvent.bookmark(self._kind, listing.resource_version, initial_events_end=True))
            resource_version = listing.resource_version
        elif anywhere:
            resource_version = (await lister(limit=1)).resource_version
        self._version = resource_version
        await self._connect()
        if not first and not anywhere:
            await self._check_reached()
        self._events = self._run(first)

    async def close(self) -> None:
        await self._events.aclose()
        await self._connection.aclose()

    def __aiter__(self) -> AsyncIterator[WatchEvent]:
        return self._events

    async def _run(self, first: Sequence[WatchEvent]) -> AsyncGenerator[WatchEvent, None]:
        for event in first:
            yield event
        while True:
            while line := await self._line():
                event = self._decoded(line)
                if event.type is not EventType.BOOKMARK or self._bookmarks:
                    yield event
            if self._over() or self._client.closed:
                return
            # A server that is stopping closes each new watch at once.
            await asyncio.sleep(max(0.0, self._connected + _SHORTEST_LIFE - self._loop.time()))
            await self._connect()
            await self._check_reached()

    async def _check_reached(self) -> None:
        """Raise Expired where the server is behind the version that the open connection began at.

        Its etcd was put back to a snapshot then. It does not refuse such a watch, but says nothing, not even
        bookmarks, until it comes to that version again. A list that is no cache's is never behind otherwise.
        """
        if self._lister is None:
            return
        at = (await self._lister(limit=1)).resource_version
        if at.isdecimal() and self._version.isdecimal() and int(at) < int(self._version):
            raise Expired(
                f"The Kubernetes API server is at resource version {at}, behind {self._version}: it was restored."
            )

    async def _connect(self) -> None:
        await self._connection.aclose()
        query = [*self._query, ("watch", "1"), ("allowWatchBookmarks", "true")]
        query.append(("resourceVersion", self._version))
        if self._deadline is not None:
            left = math.ceil(self._deadline - self._loop.time())
            query.append(("timeoutSeconds", str(min(max(left, 1), _LONGEST_SECONDS))))
        stream = self._client.stream(self._path, query=query, idle=IDLE_SECONDS)
        self._lines = await self._connection.enter_async_context(stream)
        self._connected = self._loop.time()

    async def _line(self) -> bytes:
        """The next line; empty when the connection has ended, one way or another, or time is up."""
        if self._lines is None:
            return b""
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._lines.readline()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return b""
        except ValueError as err:
            raise InternalError(f"An event of {self._kind.plural} is larger than any object may be.") from err

    def _decoded(self, line: bytes) -> WatchEvent:
        try:
            sent = orjson.loads(line)
            if sent["type"] == "ERROR":
                raise error_of(sent["object"], 500)
            event = WatchEvent(EventType(sent["type"]), Item.of(sent["object"]))
        except (ValueError, KeyError, TypeError) as err:
            raise InternalError(f"The Kubernetes API server sent what is no event: {line[:100]!r}.") from err
        self._version = event.item.resource_version
        return event

    def _over(self) -> bool:
        return self._deadline is not None and self._loop.time() >= self._deadline
