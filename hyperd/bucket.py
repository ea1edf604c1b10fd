"""A rate with a burst: so much at once, and so much a second from then on."""

from __future__ import annotations

from collections.abc import Callable

from hyperd.clock import elapsed


class TokenBucket:
    """``burst`` tokens at first and at most, ``rate`` new ones a second. Each use takes one."""

    __slots__ = ("_burst", "_clock", "_filled", "_rate", "_tokens")

    def __init__(self, *, burst: float, rate: float, clock: Callable[[], float] = elapsed) -> None:
        self._burst, self._rate, self._clock = burst, rate, clock
        self._tokens, self._filled = burst, clock()

    def holds(self) -> bool:
        """Whether a token is there now."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        return self._tokens >= 1

    def spend(self) -> None:
        """Use one that is there."""
        self._tokens -= 1

    def take(self) -> bool:
        """Use one, if one is there."""
        if not self.holds():
            return False
        self.spend()
        return True
