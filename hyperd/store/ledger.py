"""How a write becomes a committed change: one writer at a time for an object, all objects at once.

The rule it keeps: compare-and-set. Whoever holds the turn of an object reads its committed state and decides on
the next one; nobody else can write it in between, and the turn ends only when the change is durable or has failed.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from hyperd.resources.kind import Kind, Object
from hyperd.store.engine import Engine
from hyperd.store.interface import EventType
from hyperd.store.memory import Memory, Place
from hyperd.store.records import Change, Stored

Observer = Callable[[Change], None]

VERSIONS_PER_SECOND = 1000
"""At a start the counter is at least so many times the Unix time: see ``begin``."""


class Ledger:
    """Gives out turns and resourceVersions, and applies what was committed."""

    def __init__(self, memory: Memory, engine: Engine) -> None:
        self._memory = memory
        self._engine = engine
        self._turns: dict[Place, _Turn] = {}
        self._writing: Counter[str] = Counter()
        self._next = 0
        self._observers: list[Callable[[Sequence[Change]], None]] = []
        self.writes = 0
        """Changes committed since the start."""

    def begin(self, now: Callable[[], float] = time.time) -> None:
        """Go on counting behind the last write.

        The counter also leaps to the clock, so that a file restored from a backup never gives a version out
        again that clients saw before: their watches from there are unknown to the log and get 410.
        """
        self._next = max(self._memory.rv, int(now()) * VERSIONS_PER_SECOND)

    def observe(self, observer: Callable[[Sequence[Change]], None]) -> None:
        """Call ``observer`` with each committed batch, after memory has it."""
        self._observers.append(observer)

    def committed(self, changes: Sequence[Change]) -> None:
        """Take a batch that the engine has made durable."""
        for change in changes:
            self._memory.apply(change)
        self.writes += len(changes)
        for observer in self._observers:
            observer(changes)

    def writing_in(self, namespace: str) -> bool:
        """Whether a write to an object of ``namespace`` is on its way to the file."""
        return self._writing[namespace] > 0

    @asynccontextmanager
    async def turn(self, place: Place) -> AsyncIterator[None]:
        """Be the only writer of the object at ``place``."""
        turn = self._turns.get(place)
        if turn is None:
            turn = self._turns[place] = _Turn()
        turn.holders += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.holders -= 1
            if not turn.holders:
                del self._turns[place]

    async def put(self, kind: Kind, obj: Object, old: Stored | None) -> Stored:
        """Commit ``obj`` as the next state of ``old``; ``obj`` is stamped with its new version."""
        self._next += 1
        item = Stored.encode(kind, obj, self._next)
        type_ = EventType.ADDED if old is None else EventType.MODIFIED
        await self._commit(Change.of(kind, type_, item, old))
        return item

    async def drop(self, kind: Kind, obj: Object, old: Stored) -> Stored:
        """Commit the end of ``old``, whose last state is ``obj``."""
        self._next += 1
        item = Stored.encode(kind, obj, self._next)
        await self._commit(Change.of(kind, EventType.DELETED, item, old))
        return item

    async def _commit(self, change: Change) -> None:
        namespace = change.item.namespace
        self._writing[namespace] += 1
        future = self._engine.submit(change)
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            # The change is on its way and cannot be called back: keep the turn until it has arrived.
            await _settled(future)
            raise
        finally:
            self._writing[namespace] -= 1
            if not self._writing[namespace]:
                del self._writing[namespace]


class _Turn:
    __slots__ = ("holders", "lock")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.holders = 0


async def _settled(future: asyncio.Future[None]) -> None:
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue
    if not future.cancelled():
        future.exception()
