"""Fair shares of what a server does for its users: requests in flight, turns of the loop, watches, sessions.

Whoever asks is known by name, before a login by address. Root has a reserve of everything. What a user has too
much of is refused with 429 and Retry-After; only watches are taken back from whoever has most, for ending one is
ordinary, and its client lists anew. Sessions are not: somebody types in them.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from typing import Final

from hyperd.api.access.rules import MASTERS
from hyperd.api.limits.connections import network_of
from hyperd.api.wire.metrics import Sample
from hyperd.shares import Grant, Shares
from hyperd.store.interface import User

_REQUESTS: Final = 512
_SESSIONS: Final = 1024
_WAIT_SECONDS: Final = 10.0
_EACH_TURN: Final = 1
"""Requests of one user that begin in one turn of the event loop, while others ask too."""
_ALONE: Final = 32
"""The same for a user whom nobody was beside lately, as a turn costs half a request. Fewer of long ones."""
_LONG_TURN_SECONDS: Final = 0.01
"""Of CPU time: what else the host does is nobody's here."""
_LATELY_SECONDS: Final = 5.0
_FREE_FAILURES: Final = 100
_FAILURES_A_SECOND: Final = 100.0
_LONGEST_PENALTY: Final = 10.0
_REMEMBERED: Final = 4096


class Turns:
    """At most so many beginnings for each key in one turn of the event loop; the rest have theirs in later turns.

    A user with a hundred connections so keeps another one's request waiting for a few requests, not for a hundred.
    Nobody is refused, and within a key it goes first come, first served. A key that has been alone for some
    seconds may begin more, as many as take some milliseconds; the first one beside it waits for those, once.

    What lasts long is done in pieces, and each piece has its turn as a request has.
    """

    def __init__(self, each: int = _EACH_TURN, alone: int = _ALONE) -> None:
        self._most = each
        self._alone = alone
        self._each = self._most_alone = alone
        self._ticked = self._used = 0.0
        self._last = ""
        self._shared_until = 0.0
        self._begun: dict[str, int] = {}
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        self._ticking = False

    @property
    def shared(self) -> bool:
        """Whether several keys had turns lately."""
        return self._each == self._most

    @property
    def waiting(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    async def wait(self, key: str) -> None:
        """Return when it is the turn of ``key``."""
        turn = self.take(key)
        if turn is not None:
            await turn

    def take(self, key: str) -> asyncio.Future[None] | None:
        """None: begin now. Else what to wait for first."""
        if not self._ticking:
            self._ticking = True
            self._ticked, self._used = asyncio.get_running_loop().time(), time.thread_time()
            self._relax()
            asyncio.get_running_loop().call_soon(self._tick)
        if key != self._last:
            self._shared(key)
        begun = self._begun.get(key, 0)
        if begun < self._each:
            self._begun[key] = begun + 1
            return None
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = deque()
        queue.append(turn)
        return turn

    def _shared(self, key: str) -> None:
        if self._last:
            self._shared_until = asyncio.get_running_loop().time() + _LATELY_SECONDS
            self._each = self._most
        self._last = key

    def _relax(self) -> None:
        if self._ticked > self._shared_until:
            self._each = self._most_alone

    def _tick(self) -> None:
        self._begun.clear()
        former, self._used = self._used, time.thread_time()
        if self._used - former > _LONG_TURN_SECONDS:
            self._most_alone = max(self._most, self._most_alone // 2)
        elif self._most_alone < self._alone:
            self._most_alone += 1
        self._ticked = asyncio.get_running_loop().time()
        self._relax()
        for key, queue in list(self._queues.items()):
            begun = 0
            while queue and begun < self._each:
                turn = queue.popleft()
                if not turn.done():
                    turn.set_result(None)
                    begun += 1
            self._begun[key] = begun
            if not queue:
                del self._queues[key]
        if self._begun:
            asyncio.get_running_loop().call_soon(self._tick)
        else:
            self._ticking = False


class Penalties:
    """How long the answer to a failed login waits: nothing for a few, then so that few a second are answered."""

    def __init__(self, free: int = _FREE_FAILURES, rate: float = _FAILURES_A_SECOND) -> None:
        self._lead = free / rate
        self._step = 1 / rate
        self._until: dict[str, float] = {}

    def failed(self, key: str) -> float:
        """Seconds to wait before ``key`` is told."""
        now = time.monotonic()
        until = max(self._until.pop(key, 0.0), now - self._lead) + self._step
        if len(self._until) >= _REMEMBERED:
            self._until = {one: end for one, end in self._until.items() if end > now - self._lead}
            while len(self._until) >= _REMEMBERED:
                del self._until[next(iter(self._until))]
        self._until[key] = until
        return min(_LONGEST_PENALTY, max(0.0, until - now))


class Fairness:
    """All shares of one server."""

    def __init__(self, *, watches: int, requests: int = _REQUESTS, sessions: int = _SESSIONS) -> None:
        self.turns = Turns()
        self.reads = Turns(alone=_EACH_TURN)
        """Turns to have parsed what has arrived: it costs as much as half a request, and comes in bursts."""
        self.penalties = Penalties()
        self.requests: Shares[str] = Shares(
            "requests",
            requests,
            floor=8,
            headroom=requests // 4,
            reserve=requests // 16,
            most=max(1, requests // 4),
            waiting=requests // 2,
        )
        self.watches: Shares[str] = Shares("watches", watches, reserve=watches // 20, retry_after_seconds=5)
        self.sessions = _held_long("sessions", sessions)
        self.forwards = _held_long("forwarded ports", sessions)

    def read(self, key: str) -> asyncio.Future[None] | None:
        """What to wait for before what ``key`` sends is parsed; nothing while nobody else asks."""
        return self.reads.take(key) if self.turns.shared else None

    async def begin(self, user: User) -> Grant[str]:
        """A request of ``user`` is in flight until the grant is released. Raises TooManyRequests."""
        key = user.name
        await self.turns.wait(key)
        return await self.requests.acquire(key, timeout=_WAIT_SECONDS, privileged=is_root(user))

    async def denied(self, source: str) -> None:
        """Hold back the answer to a login from ``source`` that failed, where there were many."""
        await self.turns.wait(source)
        delay = self.penalties.failed(source)
        if delay > 0:
            await asyncio.sleep(delay)

    def session(self, user: User, subresource: str) -> Grant[str]:
        """One more session of ``user``. Raises TooManyRequests."""
        shares = self.forwards if subresource == "portforward" else self.sessions
        grant = shares.try_acquire(user.name, privileged=is_root(user))
        if grant is None:
            raise shares.refusal(user.name)
        return grant

    def samples(self) -> Iterator[Sample]:
        """For ``/metrics``."""
        for name in ("requests", "watches", "sessions", "forwards"):
            shares: Shares[str] = getattr(self, name)
            labels = (("of", name),)
            yield Sample("hyperd_api_shares_lent", shares.lent, labels, help="Units of a shared thing in use.")
            yield Sample("hyperd_api_shares_waiting", shares.waiting, labels, help="Who waits for a unit.")
            yield Sample(
                "hyperd_api_shares_refused_total",
                shares.refused + shares.taken_back,
                labels,
                "counter",
                "Units refused or taken back because a share was used up.",
            )


def is_root(user: User) -> bool:
    """Whether it has the reserve."""
    return MASTERS in user.groups


def source_key(source: str) -> str:
    """Whom ``Peer.source`` counts for before a login: the address without its port, or the uid."""
    if source.startswith("uid="):
        return source.partition(" ")[0]
    return network_of(source.rpartition(":")[0].strip("[]"))


def _held_long(what: str, capacity: int) -> Shares[str]:
    return Shares(
        what,
        capacity,
        floor=4,
        headroom=capacity // 8,
        reserve=capacity // 16,
        most=max(1, capacity // 2),
        retry_after_seconds=5,
    )
