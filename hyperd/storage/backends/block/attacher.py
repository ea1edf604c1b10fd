"""Volumes of a block pool on their node: partitions that the kernel has as devices."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from hyperd.background import to_the_end
from hyperd.errors import NotFound
from hyperd.imagefile.handle import BlockHandle
from hyperd.storage.asking import Asking
from hyperd.storage.backends.block.holding import Held, held
from hyperd.storage.backends.block.pool import Pool
from hyperd.storage.backends.block.table import Part
from hyperd.storage.interface import Attacher, Usage, check_uid

_ALL_ITS_OWN: Final = 1 << 62
"""Bytes: a volume has all of its space from the begin, and nobody's writes take of it."""


class BlockAttacher(Attacher):
    """Keeps each device open that it has told of.

    Who writes to a disk's table, or asks for it to be read again, as udev does after that, would have the kernel
    drop all its partitions for a moment, which may be the one at which a guest opens one; while one is open it
    leaves them.
    """

    def __init__(self, pool: Pool, asking: Asking) -> None:
        self._pool = pool
        self._asking = asking
        self._open: dict[str, Held] = {}
        self._changing = threading.Lock()

    def is_attached(self, uid: str) -> bool:
        return uid in self._open

    async def attach(self, uid: str) -> BlockHandle:
        await self._asking.require()
        return await to_the_end(self._keep, uid)

    async def detach(self, uid: str) -> None:
        await to_the_end(self._let_go, uid)

    async def usage(self, uid: str) -> Usage:
        part = await self._find(uid)
        return Usage(part.size, part.size, _ALL_ITS_OWN)

    async def expand(self, uid: str, size: int) -> BlockHandle:
        """It has its size by now, of which QEMU is to be told."""
        async with self._held(uid) as now:
            return now.handle

    @asynccontextmanager
    async def reading(self, uid: str) -> AsyncIterator[BlockHandle]:
        """While it is read it cannot be removed: the device is open."""
        async with self._held(uid) as now:
            yield now.handle

    async def layers(self, uid: str) -> tuple[BlockHandle]:
        """One, which whoever has attached it or reads it holds."""
        async with self._held(uid) as now:
            return (now.handle,)

    @asynccontextmanager
    async def _held(self, uid: str) -> AsyncIterator[Held]:
        await self._asking.require()
        async with held(lambda: self._pool.open(uid)) as now:
            yield now

    async def _find(self, uid: str) -> Part:
        check_uid(uid)
        await self._asking.require()
        found = await asyncio.to_thread(self._pool.find, uid)
        if found is None:
            raise NotFound(f"Volume {uid} does not exist.")
        return found

    def _keep(self, uid: str) -> BlockHandle:
        with self._changing:
            former, now = self._open.get(uid), self._pool.open(uid)
            self._open[uid] = now
            if former is not None:
                former.close()
            return now.handle

    def _let_go(self, uid: str) -> None:
        with self._changing:
            if (former := self._open.pop(uid, None)) is not None:
                former.close()
