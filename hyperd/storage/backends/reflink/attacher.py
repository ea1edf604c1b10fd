"""Volumes of a reflink pool on their node: a file needs nothing to be opened."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from hyperd.errors import NotFound
from hyperd.imagefile import files
from hyperd.imagefile.handle import DiskFormat, FileHandle
from hyperd.storage.asking import Asking
from hyperd.storage.backends.reflink.pool import File, Pool
from hyperd.storage.interface import Attacher, Usage, check_uid


class ReflinkAttacher(Attacher):
    """Tells where the files are, and remembers whom it told."""

    def __init__(self, pool: Pool, asking: Asking) -> None:
        self._pool = pool
        self._asking = asking
        self._readers = itertools.count()

    async def attach(self, uid: str) -> FileHandle:
        handle = _handle(await self._find(uid))
        self._pool.attached.add(uid)
        return handle

    async def detach(self, uid: str) -> None:
        self._pool.attached.discard(uid)

    async def usage(self, uid: str) -> Usage:
        file = await self._find(uid)
        _, free = await asyncio.to_thread(self._pool.space)
        return Usage(file.size, file.allocated, free)

    async def expand(self, uid: str, size: int) -> FileHandle:
        """QEMU grows the file itself."""
        return _handle(await self._find(uid))

    @asynccontextmanager
    async def reading(self, uid: str) -> AsyncIterator[FileHandle]:
        file = await self._find(uid, self._readable)
        link = await asyncio.to_thread(self._pool.link, file.path, next(self._readers))
        try:
            yield FileHandle(link, DiskFormat.RAW)
        finally:
            await asyncio.to_thread(files.unlink, link)

    async def layers(self, uid: str) -> Sequence[FileHandle]:
        """One."""
        return [_handle(await self._find(uid, self._either))]

    async def _find(self, uid: str, find: Callable[[str], File | None] | None = None) -> File:
        check_uid(uid)
        await self._asking.require()
        found = await asyncio.to_thread(find or self._pool.find, uid)
        if found is None:
            raise NotFound(f"Volume {uid} does not exist.")
        return found

    def _either(self, uid: str) -> File | None:
        return self._pool.find(uid) or self._pool.find_snapshot(uid)

    def _readable(self, uid: str) -> File | None:
        found = self._either(uid)
        return None if found is None or found.pending else found


def _handle(file: File) -> FileHandle:
    return FileHandle(file.path, DiskFormat.RAW)
