"""Watches: what committed writes look like to those who follow them.

The rules it keeps: an event is encoded once, however many watch; a watcher that does not keep up is cut off with
Expired instead of growing; no event between a watch's first and last is missing, whether it comes from memory,
from the log in the file, or from before a restart; and a crowd that watches keeps nobody else from the event loop:
it is told over several turns of it.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from hyperd.errors import Expired, ServiceUnavailable
from hyperd.resources.schema.kind import Kind
from hyperd.store.embedded.engine import Engine
from hyperd.store.embedded.memory import Memory
from hyperd.store.interface import EVERYTHING, EventType, Selector, WatchEvent
from hyperd.store.paging import check_not_newer, parse_version
from hyperd.store.records import Change, Stored, changes_of
from hyperd.store.selecting import check_selector, chosen, seen_as
from hyperd.waking import Waking

QUEUE_LIMIT = 4096
"""Events that may wait for one watcher."""
QUEUE_BYTES = 32 << 20
"""Bytes of objects that may wait for one watcher, beyond the first of them."""

BOOKMARK_SECONDS = 30.0
RING_EVENTS = 512
RING_BYTES = 2 << 20
REPLAY_CHUNK = 500

OFFERS = 64
"""Of a change to a watcher, in one turn of the event loop."""
_WOKEN = 16
"""Watchers, in one turn of the event loop: each of them has an event to send."""

TOO_OLD = "too old resource version: {rv} ({floor})"


@dataclass(slots=True)
class _Telling:
    """A change, and to whom it is still to be offered once that has begun."""

    change: Change
    watchers: Iterator[Watcher] | None = None
    events: dict[EventType, WatchEvent] = field(default_factory=dict)


class Hub:
    """Takes committed changes and hands them to the watchers of their kind."""

    def __init__(self, memory: Memory, *, queue_limit: int = QUEUE_LIMIT, queue_bytes: int = QUEUE_BYTES) -> None:
        self._memory = memory
        self.queue_limit = queue_limit
        self.queue_bytes = queue_bytes
        self.waking = Waking(_WOKEN)
        self._watchers: dict[Kind, set[Watcher]] = {}
        self._untold: deque[_Telling] = deque()
        self._told = 0
        self._ring: deque[Change] = deque()
        self._ring_bytes = 0
        self._ring_floor = 0
        self._closed = False

    def begin(self) -> None:
        """Memory is loaded: what happens from now on is in the ring."""
        self._ring_floor = self._told = self._memory.rv

    def __len__(self) -> int:
        """Open watches."""
        return len(set().union(*self._watchers.values()))

    @property
    def told(self) -> int:
        """The resourceVersion up to which every watcher has been offered all."""
        return self._told if self._untold else self._memory.rv

    def publish(self, changes: Sequence[Change]) -> None:
        """Hand out what was just committed, in order: to a crowd not all of it at once."""
        begun = bool(self._untold)
        for change in changes:
            self._remember(change)
            self._untold.append(_Telling(change))
        if not begun:
            self._tell(OFFERS)

    def _tell(self, most: float) -> None:
        while self._untold and most > 0:
            telling = self._untold[0]
            among = self._watchers.get(telling.change.kind, ())
            if telling.watchers is None:
                telling.watchers = iter(tuple(among))
            for watcher in telling.watchers:
                if watcher in among:
                    watcher.offer(telling.change, telling.events)
                    most -= 1
                    if most <= 0:
                        break
            else:
                self._told = telling.change.rv
                self._untold.popleft()
        if self._untold:
            asyncio.get_running_loop().call_soon(self._tell, OFFERS)

    def recent(self, kinds: Sequence[Kind], after: int) -> list[Change] | None:
        """The changes of ``kinds`` behind ``after``, or None where memory does not reach back that far."""
        if after < self._ring_floor:
            return None
        return [change for change in self._ring if change.kind in kinds and change.rv > after]

    def add(self, watcher: Watcher) -> None:
        """Raises ServiceUnavailable once closed: nobody would end such a watch."""
        if self._closed:
            raise ServiceUnavailable("The store is closing.")
        for kind in watcher.kinds:
            self._watchers.setdefault(kind, set()).add(watcher)

    def discard(self, watcher: Watcher) -> None:
        for kind in watcher.kinds:
            watchers = self._watchers.get(kind)
            if watchers is not None:
                watchers.discard(watcher)
                if not watchers:
                    del self._watchers[kind]

    def close(self) -> None:
        """End all watches in good order."""
        self._closed = True
        self._tell(math.inf)
        for watchers in list(self._watchers.values()):
            for watcher in tuple(watchers):
                watcher.end()

    def _remember(self, change: Change) -> None:
        self._ring.append(change)
        self._ring_bytes += len(change.item.raw)
        while len(self._ring) > RING_EVENTS or self._ring_bytes > RING_BYTES:
            oldest = self._ring.popleft()
            self._ring_bytes -= len(oldest.item.raw)
            self._ring_floor = oldest.rv


class Watcher:
    """One open watch, of one kind or of some in one order. Its queue is bounded; first comes ``past``."""

    def __init__(
        self,
        hub: Hub,
        kinds: Sequence[Kind],
        namespace: str | None,
        *,
        since: int,
        selector: Selector,
        bookmarks: bool,
    ) -> None:
        """``since`` is the resourceVersion of the last write before it: what is offered later may be older."""
        self.kinds = tuple(kinds)
        self._hub = hub
        self._namespace = namespace
        self._selector = selector
        self._bookmarks = bookmarks
        self._queue: deque[WatchEvent] = deque()
        self._waiting_bytes = 0
        self._past: AsyncIterator[WatchEvent] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._overflowed = False
        self._timers: list[asyncio.TimerHandle] = []
        self._since = since

    def start(self, past: AsyncIterator[WatchEvent], timeout: float | None) -> None:
        """Begin with ``past``; end after ``timeout`` seconds."""
        self._past = past
        loop = asyncio.get_running_loop()
        if self._bookmarks:
            self._timers = [loop.call_later(BOOKMARK_SECONDS, self._tick)]
        if timeout is not None:
            self._timers.append(loop.call_later(timeout, self.end))

    def close(self) -> None:
        self._hub.discard(self)
        for timer in self._timers:
            timer.cancel()

    def end(self) -> None:
        """No more events after those that wait, and a bookmark where they were asked for."""
        if self._bookmarks and not self._ended:
            self._queue.append(WatchEvent.bookmark(self.kinds[0], str(self._hub.told)))
        self._ended = True
        self._hub.discard(self)
        self._wake()

    def offer(self, change: Change, events: dict[EventType, WatchEvent]) -> None:
        """Queue ``change`` if it concerns this watch; ``events`` shares the encoded forms among watchers."""
        type_ = None if change.rv <= self._since else self.sight(change)
        if type_ is None:
            return
        if len(self._queue) >= self._hub.queue_limit or self._waiting_bytes >= self._hub.queue_bytes:
            # Who lists anew has no use for what waits, and a reader that hangs would keep it in memory.
            self._queue.clear()
            self._overflowed = True
            self._hub.discard(self)
            self._wake()
            return
        event = events.get(type_)
        if event is None:
            event = events[type_] = WatchEvent(type_, change.item)
        self._queue.append(event)
        self._waiting_bytes += len(change.item.raw)
        self._wake()

    def sight(self, change: Change) -> EventType | None:
        """What ``change`` is to this watch; None when it does not concern it."""
        if self._namespace is not None and change.item.namespace != self._namespace:
            return None
        return seen_as(change, self._selector) if self._selector else change.type

    def __aiter__(self) -> AsyncIterator[WatchEvent]:
        return self

    async def __anext__(self) -> WatchEvent:
        if self._past is not None:
            async for event in self._past:
                return event
            self._past = None
        while not self._queue:
            if self._overflowed:
                raise Expired("too old resource version: the watcher fell behind; list and watch again")
            if self._ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        event = self._queue.popleft()
        if event.type is not EventType.BOOKMARK:
            self._waiting_bytes -= len(event.item.raw)
        return event

    def _wake(self) -> None:
        if self._waiter is not None:
            self._hub.waking.wake(self._waiter)
            self._waiter = None

    def _tick(self) -> None:
        if not self._queue and not self._ended:
            self._queue.append(WatchEvent.bookmark(self.kinds[0], str(self._hub.told)))
            self._wake()
        self._timers[0] = asyncio.get_running_loop().call_later(BOOKMARK_SECONDS, self._tick)


@asynccontextmanager
async def open_watch(
    hub: Hub,
    memory: Memory,
    engine: Engine,
    kinds: Sequence[Kind],
    namespace: str | None,
    *,
    selector: Selector = EVERYTHING,
    resource_version: str = "",
    bookmarks: bool = False,
    send_initial: bool | None = None,
    timeout: float | None = None,
) -> AsyncIterator[Watcher]:
    """A watch from ``resource_version`` on; the selector and bookmarks are of the first of ``kinds``.

    Raises BadRequest and, for what the log no longer holds, Expired.
    """
    kind = kinds[0]
    check_selector(kind, selector)
    since = parse_version(resource_version) if resource_version else 0
    # From this moment on nothing is missed; what lies before it is the past.
    now = memory.rv
    watcher = Watcher(hub, kinds, namespace, since=now, selector=selector, bookmarks=bookmarks)
    hub.add(watcher)
    past = _initial(kind, [], None)
    try:
        if send_initial or (send_initial is None and since == 0):
            check_not_newer(since, now)
            items = [item for one in kinds for item in memory.table(one).walk(namespace)]
            seen = await chosen(kind, selector, items) if selector else items
            past = _initial(kind, seen, now if send_initial else None)
        elif since not in (0, now):
            if since > now or not await engine.knows(since):
                raise Expired(TOO_OLD.format(rv=since, floor=engine.floor))
            past = _replay(hub, engine, watcher, since, now)
        watcher.start(past, timeout)
        yield watcher
    finally:
        watcher.close()
        await past.aclose()


async def _initial(kind: Kind, items: Sequence[Stored], end_rv: int | None) -> AsyncGenerator[WatchEvent, None]:
    for item in items:
        yield WatchEvent(EventType.ADDED, item)
    if end_rv is not None:
        yield WatchEvent.bookmark(kind, str(end_rv), initial_events_end=True)


async def _replay(
    hub: Hub, engine: Engine, watcher: Watcher, after: int, until: int
) -> AsyncGenerator[WatchEvent, None]:
    """What happened in (after, until], from memory where it reaches back far enough, else from the file."""
    recent = hub.recent(watcher.kinds, after)
    if recent is not None:
        for event in _seen(watcher, [change for change in recent if change.rv <= until]):
            yield event
        return
    while after < until:
        changes, reached = [], until
        for kind in watcher.kinds:
            rows = await engine.replay(kind.group, kind.plural, after=after, until=until, limit=REPLAY_CHUNK)
            if engine.floor > after:
                # Pruned while this watcher was reading: there may be a hole in what was read.
                raise Expired(TOO_OLD.format(rv=after, floor=engine.floor))
            changes += changes_of(kind, rows)
            if len(rows) == REPLAY_CHUNK:
                reached = min(reached, rows[-1][0])
        told = sorted((change for change in changes if change.rv <= reached), key=lambda change: change.rv)
        for event in _seen(watcher, told):
            yield event
        after = reached


def _seen(watcher: Watcher, changes: Sequence[Change]) -> Iterator[WatchEvent]:
    for change in changes:
        type_ = watcher.sight(change)
        if type_ is not None:
            yield WatchEvent(type_, change.item)
