"""How much thin volumes may be promised together: they take their space as guests write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from hyperd.errors import PermanentError, TemporaryError
from hyperd.resources.values.quantity import format_human
from hyperd.storage.interface import NO_ROOM

Measure = Callable[[], Awaitable[tuple[int, Mapping[str, int]]]]
"""Bytes that the storage may hold in truth, and the virtual size of each volume by uid."""


class Overcommit:
    """Counts the volumes that there are, and those that are being made or grown."""

    def __init__(self, ratio: float, measure: Measure) -> None:
        """At most ``ratio`` times what the storage holds is promised; 0 is no limit."""
        self._ratio = ratio
        self._measure = measure
        self._counting = asyncio.Lock()
        self._promised: dict[str, int] = {}

    @asynccontextmanager
    async def promise(self, uid: str, size: int) -> AsyncIterator[None]:
        """Count the volume of ``uid`` at ``size`` until the block ends, when it is there for all to see.

        Raises PermanentError for what could never be, TemporaryError for what others leave no room for.
        """
        async with self._counting:
            if self._ratio:
                whole, there = await self._measure()
                others = {**there, **self._promised}
                others.pop(uid, None)
                _check(size, int(whole * self._ratio), sum(others.values()))
            self._promised[uid] = size
        try:
            yield
        finally:
            # Not while somebody counts: the volume may have come after the storage was read.
            async with self._counting:
                self._promised.pop(uid, None)


def _check(size: int, limit: int, others: int) -> None:
    if others + size <= limit:
        return
    may = f"disks may have {format_human(limit)} together (setting storage.overcommit_ratio)"
    if size > limit:
        raise PermanentError(f"A disk of {format_human(size)} is too large: {may}.", key="ProvisioningFailed")
    raise TemporaryError(
        f"No room for a disk of {format_human(size)}: others have {format_human(others)}, and {may}.", key=NO_ROOM
    )
