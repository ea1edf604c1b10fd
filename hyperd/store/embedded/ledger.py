"""How a write becomes a committed change: one writer at a time for an object, all objects at once.

The rule it keeps: compare-and-set. Whoever holds the turn of an object reads its committed state and decides on
the next one; nobody else can write it in between, and the turn ends only when the change is durable or has failed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from hyperd import clock
from hyperd.errors import QuotaExceeded, RequestEntityTooLarge
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.quantity import format_human
from hyperd.store.embedded.engine import Engine
from hyperd.store.embedded.memory import Memory, Place
from hyperd.store.interface import EventType
from hyperd.store.records import VERSIONS_PER_SECOND, Change, Stored

Observer = Callable[[Sequence[Change]], None]

MAX_OBJECT_BYTES = 3 << 20


class Ledger:
    """Gives out turns and resourceVersions, and applies what was committed."""

    def __init__(self, memory: Memory, engine: Engine, *, namespace_bytes: int = 0) -> None:
        """``namespace_bytes`` is what the objects of one namespace may take where that is asked; 0: no limit."""
        self._memory = memory
        self._engine = engine
        self._turns: dict[Place, deque[asyncio.Future[None]]] = {}
        self._writing: dict[str, int] = {}
        self._growing: dict[str, int] = {}
        """Namespace → bytes that are on their way to the file."""
        self._growth: dict[int, int] = {}
        """The same for each version that is."""
        self._namespace_bytes = namespace_bytes
        self._next = 0
        self._observers: list[Observer] = []
        self.writes = 0
        """Changes committed since the start."""

    def begin(self, now: Callable[[], float] = clock.wall) -> None:
        """Go on counting behind the last write.

        The counter also leaps to the clock, so that a file restored from a backup never gives a version out
        again that clients saw before: their watches from there are unknown to the log and get 410.
        """
        self._next = max(self._memory.rv, int(now()) * VERSIONS_PER_SECOND)

    def observe(self, observer: Observer) -> None:
        """Call ``observer`` with each committed batch, after memory has it."""
        self._observers.append(observer)

    def committed(self, changes: Sequence[Change]) -> None:
        """Take a batch that the engine has made durable."""
        for change in changes:
            self._memory.apply(change)
            # Now, and not when its writer runs again: it would be counted twice meanwhile.
            self._settle(change.item)
        self.writes += len(changes)
        for observer in self._observers:
            observer(changes)

    def writing_in(self, namespace: str) -> bool:
        """Whether a write to an object of ``namespace`` is on its way to the file."""
        return namespace in self._writing

    def turn(self, place: Place) -> AbstractAsyncContextManager[None]:
        """Be the only writer of the object at ``place`` while the context is open."""
        return _Turn(self._turns, place)

    async def put(self, kind: Kind, obj: Object, old: Stored | None, *, shares: bool = False) -> Stored:
        """Commit ``obj`` as the next state of ``old``; ``obj`` is stamped with its new version.

        ``shares`` says that it must fit into the namespace's share of the store. Raises QuotaExceeded.
        """
        item = self._encode(kind, obj)
        more = len(item.raw) - (0 if old is None else len(old.raw))
        if shares:
            self._check_share(kind, item, more)
        type_ = EventType.ADDED if old is None else EventType.MODIFIED
        # What a write gives back is free once it is durable.
        if more > 0:
            self._growth[item.rv] = more
            self._growing[item.namespace] = self._growing.get(item.namespace, 0) + more
        try:
            await self._commit(Change.of(kind, type_, item, old))
        finally:
            self._settle(item)
        return item

    def _settle(self, item: Stored) -> None:
        """What ``item`` takes is in memory, or will not be."""
        namespace = item.namespace
        left = self._growing.get(namespace, 0) - self._growth.pop(item.rv, 0)
        if left:
            self._growing[namespace] = left
        else:
            self._growing.pop(namespace, None)

    def _check_share(self, kind: Kind, item: Stored, more: int) -> None:
        limit, namespace = self._namespace_bytes, item.namespace
        used = self._memory.bytes_in(namespace) + self._growing.get(namespace, 0)
        if not limit or not namespace or more <= 0 or used + more <= limit:
            return
        raise QuotaExceeded(
            f'{kind.qualified_resource} "{item.name}" is forbidden: the objects of namespace "{namespace}" may '
            f"take {format_human(limit)} of the store and take {format_human(used)}, this write needs "
            f"{format_human(more)} more: delete some of them, or raise the setting store.namespace_bytes",
            kind=kind.plural,
            group=kind.group,
            name=item.name,
        )

    async def drop(self, kind: Kind, obj: Object, old: Stored) -> Stored:
        """Commit the end of ``old``, whose last state is ``obj``."""
        item = self._encode(kind, obj)
        await self._commit(Change.of(kind, EventType.DELETED, item, old))
        return item

    def _encode(self, kind: Kind, obj: Object) -> Stored:
        item = Stored.encode(kind, obj, self._next + 1)
        if len(item.raw) > MAX_OBJECT_BYTES:
            raise RequestEntityTooLarge(f"Request entity too large: limit is {MAX_OBJECT_BYTES}")
        self._next += 1
        return item

    async def _commit(self, change: Change) -> None:
        namespace = change.item.namespace
        self._writing[namespace] = self._writing.get(namespace, 0) + 1
        try:
            await self._engine.submit(change)
        finally:
            left = self._writing[namespace] - 1
            if left:
                self._writing[namespace] = left
            else:
                del self._writing[namespace]


class _Turn:
    """Waits in line for a place. The line exists only while somebody holds the turn."""

    __slots__ = ("_lines", "_place")

    def __init__(self, lines: dict[Place, deque[asyncio.Future[None]]], place: Place) -> None:
        self._lines = lines
        self._place = place

    async def __aenter__(self) -> None:
        line = self._lines.get(self._place)
        if line is None:
            self._lines[self._place] = deque()
            return
        waiter = asyncio.get_running_loop().create_future()
        line.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                # The turn was given to this task, which will not take it.
                self._pass_on()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        line = self._lines[self._place]
        while line:
            waiter = line.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        del self._lines[self._place]
