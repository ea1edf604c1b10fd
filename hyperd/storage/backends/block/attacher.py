"""Volumes of a block pool on their node: partitions that the kernel has as devices."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from hyperd.background import to_the_end
from hyperd.errors import NotFound, TemporaryError
from hyperd.imagefile.handle import BlockHandle, DiskFormat
from hyperd.storage.asking import Asking
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
        self._open: dict[str, int] = {}

    def is_attached(self, uid: str) -> bool:
        return uid in self._open

    async def attach(self, uid: str) -> BlockHandle:
        handle = await self._handle(uid)
        await to_the_end(self._keep, uid, handle)
        return handle

    async def detach(self, uid: str) -> None:
        await to_the_end(self._let_go, uid)

    async def usage(self, uid: str) -> Usage:
        part = await self._find(uid)
        return Usage(part.size, part.size, _ALL_ITS_OWN)

    async def expand(self, uid: str, size: int) -> BlockHandle:
        """It has its size by now, of which QEMU is to be told."""
        return await self._handle(uid)

    @asynccontextmanager
    async def reading(self, uid: str) -> AsyncIterator[BlockHandle]:
        """While it is read it cannot be removed: the device is open."""
        handle = await self._handle(uid)
        descriptor = await to_the_end(_opened, handle)
        try:
            yield handle
        finally:
            await asyncio.to_thread(os.close, descriptor)

    async def layers(self, uid: str) -> tuple[BlockHandle]:
        """One."""
        return (await self._handle(uid),)

    async def _handle(self, uid: str) -> BlockHandle:
        part = await self._find(uid)
        return BlockHandle(await to_the_end(self._pool.device, part), DiskFormat.RAW)

    async def _find(self, uid: str) -> Part:
        check_uid(uid)
        await self._asking.require()
        found = await asyncio.to_thread(self._pool.find, uid)
        if found is None:
            raise NotFound(f"Volume {uid} does not exist.")
        return found

    def _keep(self, uid: str, handle: BlockHandle) -> None:
        former = self._open.get(uid)
        self._open[uid] = _opened(handle)
        if former is not None:
            os.close(former)

    def _let_go(self, uid: str) -> None:
        if (former := self._open.pop(uid, None)) is not None:
            os.close(former)


def _opened(handle: BlockHandle) -> int:
    """A descriptor."""
    try:
        return os.open(handle.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as err:
        raise TemporaryError(f"{handle} cannot be opened: {err.strerror}.") from err
