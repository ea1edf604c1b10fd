"""Disks of claims on the node whose Pods have their volumes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from hyperd.imagefile.handle import BlockHandle, FileHandle
from hyperd.storage.backends.claims import volume
from hyperd.storage.backends.claims.holding import Holding
from hyperd.storage.interface import Attacher, Usage

_ALL_ITS_OWN: Final = 1 << 62
"""A device has its space; no write finds none."""


class ClaimAttacher(Attacher):
    """Raises TemporaryError where a disk has to be reached and no Pod of this node has its volume."""

    def __init__(self, holding: Holding) -> None:
        self._holding = holding

    async def attach(self, uid: str) -> FileHandle | BlockHandle:
        return await self._holding.attach(uid)

    async def detach(self, uid: str) -> None:
        await self._holding.detach(uid)

    async def usage(self, uid: str) -> Usage:
        """Of one that is nowhere what its claim says."""
        claim, target = await self._holding.require(uid), self._holding.target(uid)
        if claim.block:
            return Usage(claim.made, claim.made, _ALL_ITS_OWN)
        found = await asyncio.to_thread(volume.shown, target)
        if found is None:
            return Usage(claim.made, 0, claim.capacity)
        return Usage(found.st_size, found.st_blocks * 512, await asyncio.to_thread(volume.space, target))

    async def expand(self, uid: str, size: int) -> FileHandle | BlockHandle:
        """QEMU grows a file itself; a device has its size by now."""
        return await self._holding.handle(uid)

    @asynccontextmanager
    async def reading(self, uid: str) -> AsyncIterator[FileHandle | BlockHandle]:
        had = await self._holding.begin_reading(uid)
        try:
            yield await self._holding.handle(uid)
        finally:
            await self._holding.end_reading(uid, had)

    async def layers(self, uid: str) -> Sequence[FileHandle | BlockHandle]:
        """One."""
        return [await self._holding.handle(uid)]
