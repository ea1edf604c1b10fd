"""The queue between "something changed" and "look at this object again".

The rule it keeps: a key is worked on by one worker at a time, a key that changes while it is worked on is
looked at once more afterwards, and a key that fails waits longer each time. Nothing is lost by adding twice.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from hyperd.backoff import backoff

K = TypeVar("K", bound=Hashable)

BASE_DELAY_SECONDS = 0.005
MAX_DELAY_SECONDS = 60.0


class QueueClosed(Exception):
    """The queue was shut down; the worker should end."""


class WorkQueue(Generic[K]):
    """De-duplicated keys with per-key back-off. Use it on the loop it was made for; it is not thread-safe."""

    def __init__(
        self,
        *,
        base: float = BASE_DELAY_SECONDS,
        cap: float = MAX_DELAY_SECONDS,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._base = base
        self._cap = cap
        self._jitter = jitter
        self._ready: deque[K] = deque()
        self._dirty: set[K] = set()
        self._working: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def __len__(self) -> int:
        """Keys that wait to be worked on now; those with a delay are not counted."""
        return len(self._ready)

    @property
    def delayed(self) -> int:
        """Keys that wait for their time."""
        return len(self._timers)

    def busy(self, key: K) -> bool:
        """Whether somebody works on ``key`` now, or is about to."""
        return key in self._working or key in self._dirty

    def failures(self, key: K) -> int:
        """How often ``key`` failed since it was last forgotten."""
        return self._failures.get(key, 0)

    def add(self, key: K) -> None:
        """Have ``key`` worked on, once, however often it is added before that."""
        if self._closed or key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._working:
            self._ready.append(key)
            self._wake()

    def add_after(self, key: K, seconds: float) -> None:
        """Add ``key`` after a while; of several pending times the earliest counts."""
        if self._closed:
            return
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        pending = self._timers.get(key)
        if pending is not None:
            if pending.when() <= loop.time() + seconds:
                return
            pending.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def add_limited(self, key: K) -> float:
        """Add ``key`` after its back-off, which doubles with each call; returns the delay in seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = backoff(failures, first=self._base, last=self._cap, jitter=self._jitter)
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """``key`` went well: its next failure starts from the shortest delay."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The next key, marked as worked on until ``done``. Raises QueueClosed after ``close``."""
        while not self._ready:
            if self._closed:
                raise QueueClosed
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                # The wake-up that this worker will not use belongs to another.
                if waiter.done() and not waiter.cancelled() and self._ready:
                    self._wake()
                raise
        if self._closed:
            raise QueueClosed
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """``key`` is no longer worked on; queue it again if it was added meanwhile."""
        self._working.discard(key)
        if key in self._dirty and not self._closed:
            self._ready.append(key)
            self._wake()

    def close(self) -> None:
        """Drop what waits and end all ``get`` calls."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._ready.clear()
        self._dirty.clear()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
