"""Watches on the wire: one JSON line an event, for as long as the client reads.

A reader too slow to drain its socket is dropped. The number of watches is bounded and shared fairly, so that no
client can make the daemon hold more and more. At stop every watch ends as a complete answer, and clients resume
elsewhere.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping

import orjson
from aiohttp import HttpVersion11, web

from hyperd.api.access.redaction import Redaction
from hyperd.api.endpoints import answers
from hyperd.api.endpoints.answers import REQUEST_ID, Call, add_warnings
from hyperd.api.limits.fairness import is_root
from hyperd.api.limits.turns import Coming
from hyperd.api.wire import tables
from hyperd.api.wire.metrics import Sample
from hyperd.api.wire.negotiate import Form
from hyperd.api.wire.options import ListOptions
from hyperd.errors import HyperdError
from hyperd.resources.schema.kind import Kind
from hyperd.shares import Grant, Shares
from hyperd.store.interface import EventType, Store, Watch, WatchEvent

_DEFAULT_TIMEOUT = 1800.0
_AT_ONCE_BYTES = 32 << 10
"""A line that fits into the buffer of an idle connection."""
_PIECE_BYTES = 16 << 10
"""Sent in one step, and in one write, where so many events are there without a wait."""
_EVENT_BYTES = 2 << 10
"""What an event costs beside its bytes, in bytes."""


class Watchers:
    """All open watches of one server."""

    def __init__(self, store: Store, shares: Shares[str], versions: Mapping[Kind, Store]) -> None:
        """``versions`` are the stores of kinds in other versions than they are stored in.

        ``shares`` say who may have how many, and end what a user has beyond its share when another asks.
        """
        self._store = store
        self._versions = versions
        self._shares = shares
        self._open: set[asyncio.Timeout] = set()
        self._events = 0
        self._closing = False

    def samples(self) -> Iterator[Sample]:
        yield Sample("hyperd_api_watchers", len(self._open), help="Watches that are open.")
        yield Sample(
            "hyperd_api_watch_events_total", self._events, kind="counter", help="Events sent to watchers."
        )

    def close(self) -> None:
        """End every watch now, and those to come at once."""
        self._closing = True
        for scope in self._open:
            scope.reschedule(0)

    async def serve(self, call: Call, options: ListOptions) -> web.StreamResponse:
        """Stream until timeout, stop, or the client leaves. Raises errors only before the first byte."""
        accepted = call.watch_form()
        formatter = None
        if accepted.form is not Form.OBJECT:
            formatter = tables.Formatter(call.target.kind, accepted, call.include_object())
        response = web.StreamResponse(headers={"Content-Type": "application/json", REQUEST_ID: call.id})
        add_warnings(response, call.warnings)
        if call.request.version >= HttpVersion11:
            response.enable_chunked_encoding()  # for older ones the end of the connection is the end
        try:
            async with asyncio.timeout(None) as scope:
                with self._share(call, scope):
                    self._open.add(scope)
                    if self._closing:
                        scope.reschedule(0)
                    try:
                        await response.prepare(call.request)
                        await self._stream(call, options, response, formatter)
                    finally:
                        self._open.discard(scope)
        except TimeoutError:
            if not response.prepared:
                raise self._shares.refusal(call.user.name) from None
        await response.write_eof()
        return response

    def _share(self, call: Call, scope: asyncio.Timeout) -> Grant[str]:
        """One more watch of the user. Raises TooManyRequests."""
        user = call.user
        grant = self._shares.try_acquire(user.name, privileged=is_root(user), lose=lambda: scope.reschedule(0))
        if grant is None:
            raise self._shares.refusal(user.name)
        return grant

    async def _stream(
        self,
        call: Call,
        options: ListOptions,
        response: web.StreamResponse,
        formatter: tables.Formatter | None,
    ) -> None:
        timeout = options.timeout or _DEFAULT_TIMEOUT * random.uniform(1, 2)  # noqa: S311  spreads reconnects
        watching = self._versions.get(call.target.kind, self._store).watch(
            call.target.kind,
            call.target.namespace,
            selector=call.within_sight(options.selector),
            resource_version=options.resource_version,
            bookmarks=options.bookmarks,
            send_initial=options.send_initial,
            timeout=timeout,
        )
        try:
            async with watching as watch:
                await self._pump(call, watch, response, formatter)
        except HyperdError as err:
            # The answer has begun; Kubernetes reports what ends a watch as its last event.
            await _send(call, response, orjson.dumps({"type": "ERROR", "object": err.status()}) + b"\n")

    async def _pump(
        self,
        call: Call,
        watch: Watch,
        response: web.StreamResponse,
        formatter: tables.Formatter | None,
    ) -> None:
        events, lines, size = aiter(watch), list[bytes](), 0
        while True:
            coming = Coming(anext(events))
            try:
                if not coming.at_once() and lines:
                    await _send(call, response, b"".join(lines))
                    lines, size = [], 0
                event = await coming
            except StopAsyncIteration:
                break
            except HyperdError:
                # It ends the watch behind all that was told before.
                if lines:
                    await _send(call, response, b"".join(lines))
                raise
            finally:
                coming.close()
            if call.redaction is not None:
                event = await _redacted(event, call.redaction)
            line = event.line if formatter is None else _formatted(event, formatter)
            self._events += 1
            lines.append(line)
            size += len(line) + _EVENT_BYTES
            if size > _PIECE_BYTES:
                # What is there at the beginning comes without a wait, however much it is.
                await _send(call, response, b"".join(lines))
                lines, size = [], 0
                await asyncio.sleep(0)
        if lines:
            await _send(call, response, b"".join(lines))


async def _send(call: Call, response: web.StreamResponse, line: bytes) -> None:
    """Write ``line``; raises TimeoutError when the client did not read for too long, and cuts it off."""
    transport = call.request.transport
    if transport is None or (len(line) < _AT_ONCE_BYTES and not transport.get_write_buffer_size()):
        # The socket took all before, and takes this without a wait.
        await response.write(line)
        return
    try:
        async with asyncio.timeout(answers.SLOW_READER_SECONDS):
            await response.write(line)
    except TimeoutError:
        # It would not read the rest either: no polite end is possible.
        transport.abort()
        raise


async def _redacted(event: WatchEvent, redaction: Redaction) -> WatchEvent:
    if event.type is EventType.BOOKMARK:
        return event
    item = await redaction.over(event.item)
    return event if item is event.item else WatchEvent(event.type, item)


def _formatted(event: WatchEvent, formatter: tables.Formatter) -> bytes:
    if event.type is EventType.BOOKMARK:
        return event.line
    return b'{"type":"%s","object":%s}\n' % (event.type.encode(), formatter.event(event.item))
