"""Work that goes on beside all else, for as long as the daemon does.

A defect in it ends neither it nor the daemon, and is never silent: it is logged, and the work begins anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

_log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[None]]
"""Begins the work; called again after a defect, so it may rely on nothing that an earlier call left half done."""


class Background:
    """The owner of such tasks: ``spawn`` them, ``stop`` them all."""

    def __init__(self, *, pause_seconds: float = 5.0) -> None:
        """``pause_seconds`` pass between a defect and the new beginning."""
        self._pause = pause_seconds
        self._tasks: list[asyncio.Task[None]] = []

    def spawn(self, work: Work, name: str) -> None:
        """Do ``work`` until it returns or all is stopped. Failures that it expects it handles itself."""
        self._tasks.append(asyncio.create_task(self._keep(work, name), name=name))

    async def stop(self) -> None:
        """Cancel everything and wait for it; safe to call twice."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, work: Work, name: str) -> None:
        while True:
            try:
                return await work()
            except Exception:  # noqa: BLE001  border: a defect in one task must not go unheard, or end it for good
                _log.exception("The background task %r failed; it begins anew in %g s", name, self._pause)
            await asyncio.sleep(self._pause)
