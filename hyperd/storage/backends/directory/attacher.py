"""Volumes of the directory pool on their node: a file needs nothing to be opened."""

from __future__ import annotations

import asyncio

from hyperd.errors import NotFound
from hyperd.imagefile.handle import DiskFormat, FileHandle
from hyperd.storage.backends.directory.folder import Folder, VolumeFile
from hyperd.storage.interface import Attacher, Usage


class DirectoryAttacher(Attacher):
    """Tells where the files are."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    async def attach(self, uid: str) -> FileHandle:
        return FileHandle((await self._find(uid)).path, DiskFormat.QCOW2)

    async def detach(self, uid: str) -> None:
        """Nothing was done."""

    async def usage(self, uid: str) -> Usage:
        file = await self._find(uid)
        _, free = await asyncio.to_thread(self._folder.space)
        return Usage(file.virtual_size, file.allocated, free)

    async def expand(self, uid: str, size: int) -> FileHandle:
        """QEMU grows the file itself."""
        return await self.attach(uid)

    async def _find(self, uid: str) -> VolumeFile:
        found = await asyncio.to_thread(self._folder.read, uid)
        if found is None:
            raise NotFound(f"Volume {uid} does not exist.")
        return found
