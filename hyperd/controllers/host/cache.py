"""Cached images of the node that nothing reads any more."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from pathlib import Path

from hyperd import clock
from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.host.strangers import Strangers
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase


class Cache:
    """Evicts what nobody touched for a while."""

    def __init__(self, context: Context, strangers: Strangers) -> None:
        self._context = context
        self._strangers = strangers
        self._untouched = clock.Seen()
        """For how long nobody touched a cached image."""

    async def sweep(self) -> None:
        """Cached images that no volume overlays, no domain may read, and nobody touched for a while."""
        retention = self._context.settings.imports.cache_retention_seconds
        for cached in await self._context.images.copies():
            with contextlib.suppress(FileNotFoundError):
                touched = (await asyncio.to_thread(cached.path.stat)).st_mtime
                age = self._untouched.age(cached.path, touched, hint=clock.wall() - touched)
                if age >= retention:
                    await self._context.images.evict(cached.layer_digest, partial(self._unused, cached.path))

    async def _unused(self, path: Path) -> bool:
        if await self._context.volumes.reads(path):
            return False
        return not self._strangers.domains and not self._in_domain()

    def _in_domain(self) -> bool:
        """Whether a machine that is not stopped names an image: then any cached image may be its."""
        for item in self._context.informer(VIRTUAL_MACHINE).items():
            machine = item.object()
            if (machine.get("status") or {}).get("phase") == VirtualMachinePhase.STOPPED:
                continue
            if any(kind != VIRTUAL_DISK.kind for kind, _ in usage.references(machine)):
                return True
        return False
