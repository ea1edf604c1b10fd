"""Who imports now: fair shares of a few places, and more of them for sources that are slow.

Work is what a place is for: hashing, converting, writing. A source that sends little makes little work, so an
import that waits for one gives its place to others and goes on beside them, no faster than what counts as slow. So
no number of slow servers keeps others' imports from beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hyperd import clock
from hyperd.settings import ImportSettings
from hyperd.shares import Grant, Shares

_LOOK_SECONDS = 5.0
_SLOW = 1 << 20
"""Bytes a second that make no work worth a place."""
_SLOW_FOR_EACH = 8
"""Slow imports for each place."""
_WAITING = 100_000
"""Images that wait for their turn are bounded by the store, which keeps them."""


class Slot:
    """One import's place. ``received`` and ``throttle`` are told of what comes; ``work`` ends the wait for it."""

    def __init__(self, slots: Slots, namespace: str, host: str, grant: Grant[str]) -> None:
        self._slots, self._namespace, self._host, self._grant = slots, namespace, host, grant
        self._fetching = True
        self._slow = False
        self._bytes = 0
        self._last = clock.elapsed()

    @property
    def slow(self) -> bool:
        """Whether it has given its place to others."""
        return self._slow

    @property
    def came(self) -> int:
        """Bytes that came over the wire, however much was unpacked from them."""
        return self._bytes

    def received(self, count: int) -> None:
        """``count`` bytes came from the source."""
        self._bytes += count

    async def throttle(self, count: int) -> None:
        """Before a block of ``count`` bytes is used: in its place again if there is one, slowly else."""
        now, last = clock.elapsed(), self._last
        self._last = now
        if not self._slow:
            return
        grant = self._slots.fast.try_acquire(self._namespace, beside=self._host)
        if grant is not None:
            self._swap(grant, slow=False)
            return
        await asyncio.sleep(max(0.0, count / _SLOW - (now - last)))
        self._last = clock.elapsed()

    async def work(self) -> None:
        """All has come; what follows needs a place."""
        self._fetching = False
        if self._slow:
            self._swap(await self._slots.fast.acquire(self._namespace, beside=self._host), slow=False)

    async def watch(self) -> None:
        """Look at the source's speed from time to time, until cancelled."""
        while True:
            before = self._bytes
            await asyncio.sleep(self._slots.look_seconds)
            if self._slow or not self._fetching or self._bytes - before >= _SLOW * self._slots.look_seconds:
                continue
            grant = self._slots.slow.try_acquire(self._namespace, beside=self._host)
            if grant is not None:
                self._swap(grant, slow=True)

    def leave(self) -> None:
        self._grant.release()

    def _swap(self, grant: Grant[str], *, slow: bool) -> None:
        former, self._grant, self._slow = self._grant, grant, slow
        former.release()


class Slots:
    """Places by namespace, and beside each source's host."""

    def __init__(self, limits: ImportSettings, *, look_seconds: float = _LOOK_SECONDS) -> None:
        self.look_seconds = look_seconds
        self.fast = _shares("imports", limits.concurrent)
        self.slow = _shares("slow imports", limits.concurrent * _SLOW_FOR_EACH)

    @asynccontextmanager
    async def taken(self, namespace: str, host: str) -> AsyncIterator[Slot]:
        """A place, when it is this namespace's turn."""
        slot = Slot(self, namespace, host, await self.fast.acquire(namespace, beside=host))
        watching = asyncio.create_task(slot.watch(), name="import-place")
        try:
            yield slot
        finally:
            watching.cancel()
            slot.leave()


def _shares(what: str, capacity: int) -> Shares[str]:
    kept = (capacity - 1) // 2
    return Shares(what, capacity, headroom=kept, most_beside=max(1, capacity - kept), waiting=_WAITING)
