"""Waking a crowd that waits for one thing, some in each turn of the event loop: others' steps come in between."""

from __future__ import annotations

import asyncio
from collections import deque

_Waiter = asyncio.Future[None]


class Waking:
    """Settles futures in the order in which it is asked, at most ``each`` of them in one turn of the loop."""

    def __init__(self, each: int) -> None:
        self._each = self._left = each
        self._waiting: deque[tuple[_Waiter, Exception | None]] = deque()
        self._ticking = False

    def wake(self, waiter: _Waiter, error: Exception | None = None) -> None:
        """Settle ``waiter``, with ``error`` if there is one; none that is done by then."""
        if self._waiting or not self._left:
            self._waiting.append((waiter, error))
            return
        self._left -= 1
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_soon(self._tick)
        _settle(waiter, error)

    def _tick(self) -> None:
        self._ticking = bool(self._waiting)
        self._left = self._each
        while self._waiting and self._left:
            self._left -= 1
            _settle(*self._waiting.popleft())
        if self._ticking:
            asyncio.get_running_loop().call_soon(self._tick)


def _settle(waiter: _Waiter, error: Exception | None) -> None:
    if waiter.done():
        return
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(error)
