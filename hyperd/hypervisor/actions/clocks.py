"""Sets the clocks of guests that stood still, by their agents.

A guest that an I/O error stopped, or somebody by hand, goes on with the time at which it was stopped, and NTP in
it may refuse to leap as far as that. So its agent is asked when it goes on, until it answers or for a minute and
a half. A guest without one keeps the time that it has.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from hyperd import clock
from hyperd.background import Background
from hyperd.errors import HyperdError, NotFound
from hyperd.hypervisor.state import DomainEvent, DomainInfo, DomainState, EventKind

SHORT_SECONDS: Final = 0.5
"""So long a guest may stand still and is not asked: as where one of its disks goes over to another file."""
PAUSES: Final = (1.0, 5.0, 20.0, 60.0)
"""Before each try."""
_AT_ONCE: Final = 2
"""Agents that are asked: a full disk may have stopped all guests."""
_log = logging.getLogger(__name__)


class Clocks:
    """Hears what happens to guests."""

    def __init__(
        self,
        ask: Callable[[str], Awaitable[int]],
        background: Background,
        *,
        known: Mapping[str, DomainInfo],
        elapsed: Callable[[], float] = clock.elapsed,
    ) -> None:
        """``ask`` has the agent of a guest set its clock; ``known`` are the guests as they were last seen."""
        self._ask = ask
        self._background = background
        self._known = known
        self._elapsed = elapsed
        self._stopped: dict[str, float] = {}
        """Since when guests stand still."""
        self._asked: dict[str, int] = {}
        """Guests whose clocks are being set, and how often each has gone on meanwhile."""
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def hear(self, uid: str, event: DomainEvent) -> None:
        """An event of the guest ``uid``."""
        if event.kind is EventKind.SUSPENDED:
            self._stopped.setdefault(uid, self._elapsed())
        elif event.kind is EventKind.STOPPED:
            self._stopped.pop(uid, None)
        elif event.kind is EventKind.RESUMED and self._stood(uid):
            begun = uid in self._asked
            self._asked[uid] = self._asked.get(uid, 0) + 1
            if not begun:
                self._background.spawn(functools.partial(self._set, uid), f"set the clock of {uid}")

    def _stood(self, uid: str) -> bool:
        """Whether a guest that goes on has stood still for long, or since before this daemon."""
        since = self._stopped.pop(uid, None)
        if since is not None:
            return self._elapsed() - since >= SHORT_SECONDS
        known = self._known.get(uid)
        return known is not None and known.state is DomainState.PAUSED and known.reason != "starting-up"

    async def _set(self, uid: str) -> None:
        try:
            tries = iter(PAUSES)
            while (pause := next(tries, None)) is not None:
                await asyncio.sleep(pause)
                asked = self._asked[uid]
                try:
                    async with self._turns:
                        await self._ask(uid)
                except NotFound:
                    return
                except HyperdError as err:
                    _log.debug("The clock of domain %s is not set: %s", uid, err.message)
                    continue
                if self._asked[uid] == asked:
                    return
                # It stood still again since.
                tries = iter(PAUSES)
        finally:
            self._asked.pop(uid, None)
