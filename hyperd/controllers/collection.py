"""The registry's garbage collection: on a schedule, and when asked.

What is alive is read from the store at that moment; an image is alive as long as its object is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Set
from datetime import datetime

from cronsim import CronSim, CronSimError

from hyperd import clock
from hyperd.controllers.context import Context
from hyperd.controllers.image import repository_of
from hyperd.controllers.sweep import Sweeper
from hyperd.errors import HyperdError, PermanentError
from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, VIRTUAL_DISK, VIRTUAL_IMAGE
from registry.collect import Collected, garbage_collect
from registry.server import EmbeddedRegistry

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 60.0
"""How soon a step of the wall clock is noticed."""


class Collection:
    """Removes images without an object from the registry, and what the sweep finds on the host."""

    def __init__(self, context: Context, server: EmbeddedRegistry | None, sweeper: Sweeper) -> None:
        """Raises PermanentError when ``settings.registry.gc_schedule`` is no cron expression."""
        self._context = context
        self._server = server
        self._sweeper = sweeper
        self._running = asyncio.Lock()
        self._schedule = context.settings.registry.gc_schedule
        if self._schedule:
            self._next()

    async def run(self) -> None:
        """Collect on schedule until cancelled; an empty schedule means only when asked."""
        while self._schedule:
            await self._until_due()
            if self._server is None and not self._context.duty.leads():
                continue  # one registry for all nodes
            try:
                await self.collect()
            except HyperdError as err:
                _log.warning("The registry's garbage collection was put off: %s", err.message)

    async def _until_due(self) -> None:
        """Until the wall clock shows the schedule's next time; one that is set back meanwhile begins anew."""
        began, due = clock.now(), self._next()
        while (now := clock.now()) < due:
            if now < began:
                began, due = now, self._next()
            await asyncio.sleep(min(max(1.0, (due - now).total_seconds()), _LOOK_SECONDS))

    async def collect(self, *, foreign: bool = False) -> tuple[Collected, list[str]]:
        """Collect now: what was removed, and a sentence for each thing that was left alone.

        ``foreign`` takes what another store left here as well. Raises TemporaryError while imports run,
        ServiceUnavailable while the registry is down.
        """
        async with self._running:
            await self._sweeper.sweep(foreign=foreign)
            kept = await self._sweeper.kept()
            if not await self._sweeper.owns_pool():
                # Images that a lost object owned are not ours to judge.
                return Collected(0, 0), kept
            collected = await garbage_collect(self._context.registry, self._server, self._live)
        _log.info("Garbage collection removed %d manifests.", collected.manifests)
        return collected, kept

    async def _live(self) -> Set[tuple[str, str]]:
        live = set()
        endpoint = self._context.registry.endpoint
        for kind in (VIRTUAL_IMAGE, CLUSTER_VIRTUAL_IMAGE, VIRTUAL_DISK):
            for item in (await self._context.store.list(kind)).items:
                if kind is VIRTUAL_DISK and (item.object().get("status") or {}).get("phase") == "Ready":
                    # A disk's own image is only a station on the way to its volume.
                    continue
                live.add((repository_of(endpoint, kind, item.namespace, item.name), item.uid))
        return live

    def _next(self) -> datetime:
        try:
            return next(CronSim(self._schedule, clock.now()))
        except (CronSimError, StopIteration) as err:
            raise PermanentError(
                f'Setting registry.gc_schedule: "{self._schedule}" is not a cron expression such as "0 2 * * *".'
            ) from err
