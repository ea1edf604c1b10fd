"""The registry's garbage collection: on a schedule, and when asked.

What is alive is read from the store at that moment; an image is alive as long as its object is. One whose object
is absent, and was not seen deleted, stays and is noted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection as Uids
from collections.abc import Sequence, Set
from dataclasses import asdict
from datetime import datetime

from cronsim import CronSim, CronSimError

from hyperd import clock
from hyperd.controllers.context import Context
from hyperd.controllers.host.quarantine import UID, Quarantine
from hyperd.controllers.host.sweep import Sweeper
from hyperd.controllers.image.volume import on_volume
from hyperd.errors import HyperdError, PermanentError, ServiceUnavailable
from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, VIRTUAL_DISK, VIRTUAL_IMAGE
from hyperd.resources.kinds.virtual_disk import VirtualDiskPhase
from registry.interface import RETRY_SECONDS, Collected, Image, Postponed, Survey
from registry.naming import repository_of

_log = logging.getLogger(__name__)
NOTHING = Collected(0, 0)
_KINDS = {kind.short_names[0]: kind for kind in (VIRTUAL_IMAGE, CLUSTER_VIRTUAL_IMAGE, VIRTUAL_DISK)}
"""By the first part of a repository's name."""
_LOOK_SECONDS = 60.0
"""How soon a step of the wall clock is noticed."""


class Collection:
    """Removes images of deleted objects from the registry, and what the sweep finds on the host."""

    def __init__(self, context: Context, sweeper: Sweeper, quarantine: Quarantine) -> None:
        """Raises PermanentError when ``settings.registry.gc_schedule`` is no cron expression."""
        self._context = context
        self._sweeper = sweeper
        self._quarantine = quarantine
        self._running = asyncio.Lock()
        self._schedule = context.settings.registry.gc_schedule
        if self._schedule:
            self._next()

    async def run(self) -> None:
        """Collect on schedule until cancelled; an empty schedule means only when asked."""
        while self._schedule:
            await self._until_due()
            if self._context.images.shared and not self._context.ownership.leads():
                continue  # one registry for all nodes
            try:
                await self._collect_when_possible()
            except HyperdError as err:
                _log.warning("The registry's garbage collection was put off: %s", err.message)

    async def _collect_when_possible(self) -> None:
        """Collect, and come again as long as imports run: those that begin later wait meanwhile."""
        try:
            await self.collect()
        except Postponed as err:
            _log.info("%s", err.message)
        else:
            return
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            with contextlib.suppress(Postponed):
                async with self._running:
                    await self._collect_images(lists=False)
                return

    async def _until_due(self) -> None:
        """Until the wall clock shows the schedule's next time; one that is set back meanwhile begins anew."""
        began, due = clock.now(), self._next()
        while (now := clock.now()) < due:
            if now < began:
                began, due = now, self._next()
            await asyncio.sleep(min(max(1.0, (due - now).total_seconds()), _LOOK_SECONDS))

    async def collect(self, *, accept: bool = False, empty: Uids[str] = (), lists: bool = False) -> Collected:
        """Collect now, or only look for what has no owner (``lists``).

        ``accept`` takes the store as it is; ``empty`` removes what is kept of these uids. Raises TemporaryError
        while imports run, ServiceUnavailable while the registry is down, Conflict and NotFound for what cannot be
        emptied.
        """
        async with self._running:
            if accept:
                await self._sweeper.accept()
                return NOTHING
            if empty:
                return await self._empty(empty)
            await self._sweeper.sweep()
            return await self._collect_images(lists=lists)

    async def _collect_images(self, *, lists: bool) -> Collected:
        if self._context.images.shared and not self._context.ownership.leads():
            return NOTHING  # one registry for all nodes, the leader's to collect
        if lists or self._context.witness.waits:
            with contextlib.suppress(ServiceUnavailable):
                await self._survey()
            return NOTHING
        return await self._collect(frozenset())

    def kept(self) -> list[dict[str, str]]:
        """What is left alone for want of an owner, and what an owner has twice."""
        return [
            {
                "uid": kept.uid,
                "kind": kept.kind,
                "name": kept.name,
                "since": kept.since,
                "message": kept.sentence(),
            }
            for kept in self._quarantine.all()
        ] + [
            {
                "uid": double.uid,
                "kind": VIRTUAL_DISK.kind,
                "name": double.name,
                "since": double.since,
                "message": double.sentence(),
                "owned": "true",
            }
            for double in self._sweeper.doubles.all()
        ]

    async def _empty(self, uids: Uids[str]) -> Collected:
        images = {uid for uid in uids if (kept := self._quarantine.get(uid)) is not None and kept.images}
        await self._sweeper.empty(uids)
        # An owner that is back by now has no mark any more.
        return await self._collect(images & {kept.uid for kept in self._quarantine.all()}) if images else NOTHING

    async def check(self) -> dict[str, object]:
        """What a collection of the registry would find now, as users are told: counts, removable images, bytes.

        Raises ServiceUnavailable while the registry is down.
        """
        async with self._running:
            found = await self._survey()
        return {
            "images": found.images,
            "ownerless": len(found.ownerless),
            "removable": [{"repository": repository, "tag": tag} for repository, tag in found.removable],
            "space": None if found.space is None else asdict(found.space),
        }

    async def _survey(self) -> Survey:
        owners = Owners(self._context)
        found = await self._context.images.survey(owners.images, dead=owners.are_done)
        await self._note(found.ownerless)
        return found

    async def _collect(self, emptied: Set[str]) -> Collected:
        owners = Owners(self._context)

        def dead(repository: str, tag: str) -> bool:
            return owners.are_done(repository, tag) or tag in emptied

        collected = await self._context.images.collect(owners.images, dead=dead)
        await self._note(collected.ownerless)
        _log.info("Garbage collection removed %d manifests.", collected.manifests)
        return collected

    async def _note(self, ownerless: Sequence[Image]) -> None:
        """Images without an owner are marked like all else; no mark is kept of what is no longer there."""
        found: dict[str, list[Image]] = {}
        for repository, tag in ownerless:
            if repository.partition("/")[0] in _KINDS and UID.fullmatch(tag):
                found.setdefault(tag, []).append((repository, tag))
        for uid, images in found.items():
            kind, _, name = images[0][0].partition("/")
            await self._sweeper.mark_images(uid, _KINDS[kind], name, images)
        for kept in self._quarantine.all():
            if kept.images and kept.uid not in found:
                if kept.things:
                    await self._quarantine.mark(kept.uid, kind=kept.kind, why=kept.why, images=())
                else:
                    await self._quarantine.clear([kept.uid])

    def _next(self) -> datetime:
        try:
            return next(CronSim(self._schedule, clock.now()))
        except (CronSimError, StopIteration) as err:
            raise PermanentError(
                f'Setting registry.gc_schedule: "{self._schedule}" is not a cron expression such as "0 2 * * *".'
            ) from err


class Owners:
    """What owns images, as the store says when ``images`` is asked."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._done: set[str] = set()

    async def images(self) -> Set[Image]:
        """Those that an object has, imported or not."""
        found, endpoint = set(), self._context.images.endpoint
        for kind in (VIRTUAL_IMAGE, CLUSTER_VIRTUAL_IMAGE, VIRTUAL_DISK):
            for item in (await self._context.store.list(kind)).items:
                phase = (item.object().get("status") or {}).get("phase")
                if phase == VirtualDiskPhase.READY and (kind is VIRTUAL_DISK or on_volume(item.object())):
                    self._done.add(item.uid)
                else:
                    found.add((repository_of(endpoint, kind, item.namespace, item.name), item.uid))
        return found

    def are_done(self, _: str, tag: str) -> bool:
        """The own image of a disk, or of an image on a volume, is only a station on the way to that."""
        return tag in self._done
