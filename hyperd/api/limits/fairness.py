"""Fair shares of what a server does for its users: requests in flight, turns of the loop, watches, sessions.

Whoever asks is known by name, before a login by address. Root has a reserve of everything. What a user has too
much of is refused with 429 and Retry-After; only watches are taken back from whoever has most, for ending one is
ordinary, and its client lists anew. Sessions are not: somebody types in them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Final

from hyperd.api.access.rules import MASTERS
from hyperd.api.limits.connections import network_of
from hyperd.api.limits.turns import Turns
from hyperd.api.wire.metrics import Sample
from hyperd.shares import Grant, Shares
from hyperd.store.interface import User

_REQUESTS: Final = 512
_SESSIONS: Final = 1024
_WAIT_SECONDS: Final = 10.0
_FREE_FAILURES: Final = 100
_FAILURES_A_SECOND: Final = 100.0
_LONGEST_PENALTY: Final = 10.0
_REMEMBERED: Final = 4096


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

    async def begin(self, user: User) -> Grant[str]:
        """A request of ``user`` is in flight until the grant is released. Raises TooManyRequests."""
        return await self.requests.acquire(user.name, timeout=_WAIT_SECONDS, privileged=is_root(user))

    async def denied(self, source: str) -> None:
        """Hold back the answer to a login from ``source`` that failed, where there were many."""
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
