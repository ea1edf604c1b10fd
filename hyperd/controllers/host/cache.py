"""Cached images of the node that nothing reads any more: each for itself, whoever uses the others.

What a guest has open it has locked, as QEMU does with all its images, and what a volume overlays the volume names.
Who is about to start with an image touches its file.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
from functools import partial
from pathlib import Path
from typing import Final

from hyperd import clock
from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.host.strangers import Strangers
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from registry.models import CachedFile

_JUST_NOW: Final = 60.0
"""Seconds: a machine that waits with an image touches it more often."""
_FLOCK: Final = struct.Struct("hhqqi4x")
"""``struct flock``: type, whence, start, length, process."""


class Cache:
    """Evicts what nobody touched for a while, and the longest untouched while there is too much."""

    def __init__(self, context: Context, strangers: Strangers) -> None:
        self._context = context
        self._strangers = strangers
        self._untouched = clock.Seen()
        """For how long nobody touched a cached image."""
        self._whole = clock.Seen()
        """For how long an image that is or was being fetched is whole."""

    async def sweep(self) -> None:
        """Cached images that no volume overlays, no guest has open, and nobody is about to use."""
        limits, images = self._context.settings.imports, self._context.images
        aged = await self._aged()
        total = sum(cached.allocated for _, cached in aged)
        for age, cached in sorted(aged, key=lambda one: one[0], reverse=True):
            if age >= limits.cache_retention_seconds or 0 < limits.cache_bytes < total:
                await images.evict(cached.layer_digest, partial(self._unused, cached.path, age))
                if not await asyncio.to_thread(cached.path.exists):
                    total -= cached.allocated

    async def end_fetches(self) -> None:
        """Images that are read before they are whole: when all read the file, or nobody reads them any more."""
        found = await self._context.images.fetches()
        self._whole.keep_only(set(found))
        for image in found:
            whole = await asyncio.to_thread(image.exists)
            # A guest that was about to start with it as it was before is told of who serves it.
            if self._whole.age(image, whole) >= (_JUST_NOW if whole else 0.0):
                await self._context.images.end_fetch(image, partial(self._needs_no_fetch, image))

    async def _needs_no_fetch(self, image: Path) -> bool:
        if self._strangers.domains:
            return False
        if not await asyncio.to_thread(image.exists):
            return not await self._context.volumes.reads(image)
        state = await self._context.images.fetching(image)
        return state is None or not state.readers

    async def _aged(self) -> list[tuple[float, CachedFile]]:
        """Each, and for how long nobody touched it."""
        found = []
        for cached in await self._context.images.copies():
            with contextlib.suppress(FileNotFoundError):
                touched = (await asyncio.to_thread(cached.path.stat)).st_mtime
                age = self._untouched.age(cached.path, touched, hint=clock.wall() - touched)
                found.append((age, cached))
        return found

    async def _unused(self, path: Path, age: float) -> bool:
        if self._strangers.domains or (age < _JUST_NOW and self._about_to_start()):
            return False
        return not await self._context.volumes.reads(path) and not await asyncio.to_thread(_locked, path)

    def _about_to_start(self) -> bool:
        """Whether a machine that names an image waits or starts: its QEMU has not opened it yet."""
        for item in self._context.informer(VIRTUAL_MACHINE).items():
            machine = item.object()
            phase = (machine.get("status") or {}).get("phase")
            waits = phase == VirtualMachinePhase.STARTING or (
                usage.is_off(machine) and phase != VirtualMachinePhase.STOPPED
            )
            if waits and any(kind != VIRTUAL_DISK.kind for kind, _ in usage.references(machine)):
                return True
        return False


def _locked(path: Path) -> bool:
    """Whether a process has a lock on the file; one that is gone has none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        type_, *_ = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))
        return bool(type_ != fcntl.F_UNLCK)
    finally:
        os.close(descriptor)
