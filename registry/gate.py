"""Keeps imports and garbage collection apart: a collection would remove blobs that are pushed but not tagged.

A collection that has to wait is not overtaken by imports that come later, so that it gets its turn however many
there are. That is bounded: who waits for one long import does not keep all others out for as long as it takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hyperd.clock import elapsed
from registry.interface import RETRY_SECONDS, Postponed

ASKED_SECONDS = 2 * RETRY_SECONDS
"""How long imports are kept out for a collection that does not come again."""
HELD_SECONDS = 600.0
"""How long they are kept out at most; as long, at least, they may begin then."""


class WriteGate:
    """Many writers or one collector; who comes second is told to come again, the collector before new writers."""

    def __init__(self, *, clock: Callable[[], float] = elapsed) -> None:
        self._clock = clock
        self._writers = 0
        self._collecting = False
        self._forget()

    def _forget(self) -> None:
        self._held_until = self._held_at_most = -math.inf

    @contextmanager
    def writing(self) -> Iterator[None]:
        """From the first byte pushed to the tag; Postponed while a collection runs or waits."""
        if self._collecting or self._clock() < self._held_until:
            raise Postponed("The import waits for the registry's garbage collection.")
        self._writers += 1
        try:
            yield
        finally:
            self._writers -= 1

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Postponed while anything is written or another collection runs."""
        if self._writers or self._collecting:
            if not self._collecting:
                self._hold()
            raise Postponed("The registry's garbage collection waits for running imports to end.")
        self._forget()
        self._collecting = True
        try:
            yield
        finally:
            self._collecting = False

    def _hold(self) -> None:
        """Keep new writers out until the collector comes again, but not for ever."""
        now = self._clock()
        if now >= self._held_at_most + HELD_SECONDS:
            self._held_at_most = now + HELD_SECONDS
        self._held_until = min(now + ASKED_SECONDS, self._held_at_most)
