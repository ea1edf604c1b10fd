"""Fair shares of a bounded thing: requests in flight, watches, sessions, import slots, calls into one guest.

``Shares`` lends ``capacity`` units to keys: a user, an address, a namespace, a guest. On one event loop, it keeps:

- **Bounds.** Never more than ``capacity`` units are lent, nor ``most`` of one key, nor ``most_beside`` beside one
  thing, such as a source's host. A key has at most ``waiting`` waiters; who comes then is refused.
- **Room for others.** Of all units ``reserve`` are for the privileged alone. Beside these, ``headroom`` units are
  for keys that hold less than ``floor``: whatever one key takes, the next ``headroom // floor`` keys get their
  floor at once.
- **Max-min.** A unit that comes free goes to the waiting key that holds least; among equals in
  turn, within a key first come, first served. So nobody at or above its fair share is served while somebody below
  it waits, and nobody waits while a unit is free that it may have.
- **No starvation.** A key that waits is passed over only by keys that hold less, or that have waited longer.
- **Taking back.** What is held long is lent with ``lose``: a key below its fair share that finds nothing free
  takes the newest unit of the key that holds most, where that still holds no less than the taker
  afterwards, and at least its floor. ``lose`` must end the thing without waiting. With ``churn`` it is the oldest
  unit, also of the key itself where that has all it may have, and of any where all hold the same: who comes last
  stays.
- **Nothing is left.** Cancelled and timed out waiters leave no trace; a key that neither holds nor waits is
  forgotten.

Usage::

    with await slots.acquire(key, timeout=5):      # raises TooManyRequests: queue full, or nothing free in time
        ...
    grant = watches.try_acquire(user, lose=end)    # None: nothing free now
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

from hyperd.errors import TooManyRequests

_log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
T = TypeVar("T", bound=Hashable)


class Grant(Generic[K]):
    """One unit, until it is released or taken back."""

    __slots__ = ("_shares", "beside", "key", "lose", "privileged")

    def __init__(
        self, shares: Shares[K], key: K, privileged: bool, beside: Hashable, lose: Callable[[], None] | None
    ) -> None:
        self._shares: Shares[K] | None = shares
        self.key = key
        self.privileged = privileged
        self.beside = beside
        self.lose = lose

    @property
    def lent(self) -> bool:
        """Whether it still counts."""
        return self._shares is not None

    def release(self) -> None:
        """Give it back; nothing to do when that was done, or it was taken back."""
        shares, self._shares = self._shares, None
        if shares is not None:
            shares._back(self)  # noqa: SLF001  one mechanism in two classes
            self.lose = None  # what it ends holds this

    def taken(self) -> None:
        """For ``Shares``: it counts no more, and its holder is told."""
        self._shares = None
        lose, self.lose = self.lose, None
        if lose is None:
            return
        try:
            lose()
        except Exception:  # noqa: BLE001  border: who gets the unit has it, whatever its former holder does
            _log.exception("A unit of %s was taken back, and its holder failed", self.key)

    def __enter__(self) -> Grant[K]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class _Waiter(Generic[K]):
    __slots__ = ("beside", "future", "lose", "privileged")

    def __init__(self, *, privileged: bool, beside: Hashable, lose: Callable[[], None] | None) -> None:
        self.future: asyncio.Future[Grant[K]] = asyncio.get_running_loop().create_future()
        self.privileged = privileged
        self.beside = beside
        self.lose = lose


class _Queue(Generic[K]):
    """Who waits of one key; ``turn`` is when it began to wait, or was last served."""

    __slots__ = ("turn", "waiters")

    def __init__(self, turn: int) -> None:
        self.turn = turn
        self.waiters: deque[_Waiter[K]] = deque()


class Shares(Generic[K]):
    """See above. ``what`` names the units in refusals: "watches"."""

    def __init__(
        self,
        what: str,
        capacity: int,
        *,
        floor: int = 1,
        headroom: int = 0,
        reserve: int = 0,
        most: int | None = None,
        most_beside: int | None = None,
        waiting: int = 100,
        churn: bool = False,
        retry_after_seconds: int = 1,
    ) -> None:
        self.what = what
        self.capacity = capacity
        self.waiting_limit = waiting
        self.lent = 0
        self.granted = self.refused = self.taken_back = 0
        """Counts since the start, for metrics."""
        self._floor, self._headroom, self._reserve = floor, headroom, reserve
        self._most = capacity if most is None else most
        self._most_beside = most_beside
        self._churn = churn
        self._retry_after = retry_after_seconds
        self._privileged = 0
        self._held: dict[K, int] = {}
        self._beside: dict[Hashable, int] = {}
        self._losable: dict[K, dict[Grant[K], None]] = {}
        self._queues: dict[K, _Queue[K]] = {}
        self._turns = itertools.count(1)

    def held(self, key: K) -> int:
        """Units that ``key`` has."""
        return self._held.get(key, 0)

    def keys(self) -> Iterator[K]:
        """Those that hold something or wait."""
        return iter({**self._held, **self._queues})

    @property
    def waiting(self) -> int:
        """Waiters of all keys."""
        return sum(len(queue.waiters) for queue in self._queues.values())

    def try_acquire(
        self,
        key: K,
        *,
        privileged: bool = False,
        beside: Hashable = None,
        lose: Callable[[], None] | None = None,
    ) -> Grant[K] | None:
        """A unit now, taken back from somebody if need be; or None, also while others of ``key`` wait."""
        grant = None if key in self._queues else self._at_once(key, privileged, beside, lose)
        if grant is None:
            self.refused += 1
        return grant

    async def acquire(
        self,
        key: K,
        *,
        timeout: float | None = None,
        privileged: bool = False,
        beside: Hashable = None,
        lose: Callable[[], None] | None = None,
    ) -> Grant[K]:
        """A unit, after ``timeout`` seconds at most. Raises TooManyRequests."""
        queue = self._queues.get(key)
        if queue is None:
            grant = self._at_once(key, privileged, beside, lose)
            if grant is not None:
                return grant
        if self.waiting_limit <= (0 if queue is None else len(queue.waiters)):
            raise self.refusal(key)
        if queue is None:
            queue = self._queues[key] = _Queue(next(self._turns))
        waiter: _Waiter[K] = _Waiter(privileged=privileged, beside=beside, lose=lose)
        queue.waiters.append(waiter)
        self._hand_out()
        try:
            async with asyncio.timeout(timeout):
                return await waiter.future
        except BaseException as err:
            self._leave(key, waiter)
            if isinstance(err, TimeoutError):
                raise self.refusal(key) from None
            raise

    def refusal(self, key: K) -> TooManyRequests:
        """Counted, and for the caller to raise."""
        self.refused += 1
        return TooManyRequests(
            f"{self.held(key)} {self.what} of yours are open already, and there is no room for more; close some, "
            f"or try again in {self._retry_after} s",
            retry_after_seconds=self._retry_after,
        )

    def _level(self, key: K, more: int = 0) -> int:
        return self._held.get(key, 0) + more

    def _allowed(self, key: K, beside: Hashable) -> bool:
        """Whether the bounds of this key let it have one more."""
        if self._most_beside is not None and self._beside.get(beside, 0) >= self._most_beside:
            return False
        return self._held.get(key, 0) < self._most

    def _may(self, key: K, privileged: bool, beside: Hashable) -> bool:
        free = self.capacity - self.lent
        if free <= 0 or not self._allowed(key, beside):
            return False
        if privileged:
            return True
        kept = self._kept()
        return free > (kept if self._held.get(key, 0) < self._floor else kept + self._headroom)

    def _kept(self) -> int:
        """What is left of the reserve."""
        return max(0, self._reserve - self._privileged)

    def _lend(self, key: K, privileged: bool, beside: Hashable, lose: Callable[[], None] | None) -> Grant[K]:
        self.lent += 1
        self._privileged += privileged
        self.granted += 1
        self._held[key] = self._held.get(key, 0) + 1
        grant = Grant(self, key, privileged, beside, lose)
        if beside is not None:
            self._beside[beside] = self._beside.get(beside, 0) + 1
        if lose is not None:
            self._losable.setdefault(key, {})[grant] = None
        return grant

    def _forget(self, grant: Grant[K]) -> None:
        self.lent -= 1
        self._privileged -= grant.privileged
        _less(self._held, grant.key)
        if grant.beside is not None:
            _less(self._beside, grant.beside)
        if grant.lose is not None:
            mine = self._losable[grant.key]
            del mine[grant]
            if not mine:
                del self._losable[grant.key]

    def _back(self, grant: Grant[K]) -> None:
        self._forget(grant)
        if self._queues:
            self._hand_out()

    def _at_once(
        self, key: K, privileged: bool, beside: Hashable, lose: Callable[[], None] | None
    ) -> Grant[K] | None:
        if self._may(key, privileged, beside):
            return self._lend(key, privileged, beside, lose)
        victim = self._too_rich(key, privileged, beside) if self._losable else None
        if victim is None:
            return None
        self._forget(victim)
        self.taken_back += 1
        grant = self._lend(key, privileged, beside, lose)
        victim.taken()  # last, for it may call back
        return grant

    def _too_rich(self, key: K, privileged: bool, beside: Hashable) -> Grant[K] | None:
        """What may be taken for ``key``, as it brings the two nearer to their fair shares."""
        if not self._allowed(key, beside):
            return self._first_of(key) if self._churn and key in self._losable else None
        richest = max(self._losable, key=self._level)
        if richest == key:
            return self._first_of(key) if self._churn else None
        after = self._held[richest] - 1
        level = after < self._floor or self._level(richest, -1) < self._level(key, 1)
        if level and not self._churn:
            return None
        grant = self._first_of(key if level and key in self._losable else richest)
        if grant.privileged and not privileged and self._privileged <= self._reserve:
            return None
        return grant

    def _first_of(self, key: K) -> Grant[K]:
        """What ``key`` loses first."""
        mine = self._losable[key]
        return next(iter(mine)) if self._churn else next(reversed(mine))

    def _hand_out(self) -> None:
        """Give what is free to those who wait, in the order of what they hold."""
        while self.lent < self.capacity:
            best: tuple[int, int] | None = None
            chosen: tuple[K, _Queue[K], _Waiter[K]] | None = None
            for key, queue in self._queues.items():
                rank = (self._level(key), queue.turn)
                if best is not None and rank > best:
                    continue
                waiter = next((one for one in queue.waiters if self._serves(key, one)), None)
                if waiter is not None:
                    best, chosen = rank, (key, queue, waiter)
            if chosen is None:
                return
            key, queue, waiter = chosen
            self._remove(key, queue, waiter)
            queue.turn = next(self._turns)
            waiter.future.set_result(self._lend(key, waiter.privileged, waiter.beside, waiter.lose))

    def _serves(self, key: K, waiter: _Waiter[K]) -> bool:
        # One whose task was cancelled just now is still in the queue.
        return not waiter.future.done() and self._may(key, waiter.privileged, waiter.beside)

    def _remove(self, key: K, queue: _Queue[K], waiter: _Waiter[K]) -> None:
        queue.waiters.remove(waiter)
        if not queue.waiters:
            del self._queues[key]

    def _leave(self, key: K, waiter: _Waiter[K]) -> None:
        """It waits no more; what it was given in the meantime goes to the next one."""
        if waiter.future.done() and not waiter.future.cancelled():
            waiter.future.result().release()
            return
        waiter.future.cancel()
        queue = self._queues.get(key)
        if queue is not None and waiter in queue.waiters:
            self._remove(key, queue, waiter)


def _less(counts: dict[T, int], key: T) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
