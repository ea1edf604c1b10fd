"""Volumes of the directory pool over an image that is being fetched: see ``storage.lazily``.

The header names the place of the image from the first. What a guest is to go on in is a layer of its own, marked
until the guest has; then one rename makes it the top, and garbage of the layer that it replaces.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from hyperd.background import to_the_end
from hyperd.errors import NotFound, PermanentError, TemporaryError
from hyperd.imagefile import files, lazy
from hyperd.imagefile.handle import DiskFormat, FileHandle
from hyperd.imagefile.qemuimg import QemuImg
from hyperd.storage.backends.directory.folder import Folder
from hyperd.storage.backends.directory.layers import Layer, Mark, MarkKind
from hyperd.storage.backends.directory.merging import Merger
from hyperd.storage.interface import BUSY, check_uid
from hyperd.storage.lazily import FETCHING, Lazily

_BEGUN_BY: Final = "fetched"
"""Of the layer: no uid of a snapshot or clone."""


class LazyVolumes(Lazily):
    """Of one folder, over the images of the folder ``images``."""

    def __init__(self, folder: Folder, merger: Merger, tools: QemuImg, *, images: Path, socket: Path) -> None:
        """``socket`` is where images are served that are being fetched."""
        self._folder, self._merger, self._tools = folder, merger, tools
        self._images, self._socket = images, socket

    async def image(self, uid: str) -> Path | None:
        return await asyncio.to_thread(self._image, uid)

    async def prepare(self, uid: str) -> FileHandle:
        async with self._merger.changing:
            top, image = await asyncio.to_thread(self._alone, uid)
            path, mark = self._folder.file(uid, _BEGUN_BY), self._mark(uid)
            await to_the_end(self._discard, uid)
            await asyncio.to_thread(self._folder.put, mark)
            made = files.temporary(path)
            await asyncio.to_thread(made.unlink, missing_ok=True)
            await self._tools.create_overlay(
                made, base=image.path, base_format=image.format, size=top.virtual_size
            )
            await to_the_end(self._folder.publish, made, path)
            return FileHandle(path, DiskFormat.QCOW2, below=image)

    async def prepared(self, uid: str) -> FileHandle | None:
        path = self._folder.file(uid, _BEGUN_BY)
        marked = self._folder.path / self._mark(uid).file
        there = await asyncio.to_thread(lambda: marked.exists() and path.exists())
        return FileHandle(path, DiskFormat.QCOW2) if there else None

    async def commit(self, uid: str) -> None:
        async with self._merger.changing:
            if await self.prepared(uid) is None:
                return
            await to_the_end(self._commit, uid)
            self._merger.tell(uid, f"{uid}.{_BEGUN_BY}")

    async def cancel(self, uid: str) -> None:
        async with self._merger.changing:
            await to_the_end(self._discard, uid)

    async def require_whole(self, uid: str) -> None:
        """TemporaryError while nothing but a guest may read the volume."""
        if await asyncio.to_thread(self._is_partial, uid):
            raise TemporaryError(f"Volume {uid} cannot be read yet: {FETCHING}.", key=BUSY)

    async def opened(self, layer: Layer) -> FileHandle:
        """What a guest opens the layer by: one that reads a missing image reads it from who fetches it."""
        image = layer.backing
        if image is None or image.path.parent != self._images:
            return layer.handle
        if not await asyncio.to_thread(lazy.is_missing, image.path):
            return layer.handle
        return FileHandle(layer.path, DiskFormat.QCOW2, below=lazy.served(image, self._socket))

    def _image(self, uid: str) -> Path | None:
        found = self._base(uid)
        return found.path if found is not None and lazy.files_of(found.path).record.exists() else None

    def _is_partial(self, uid: str) -> bool:
        if (self._folder.path / self._mark(uid).file).exists():
            return True
        found = self._base(uid)
        return found is not None and lazy.is_missing(found.path)

    def _base(self, uid: str) -> FileHandle | None:
        """The image that the volume overlays, where that is all that lies below its top."""
        top = self._folder.top(uid)
        if top is None:
            return None
        image = top.backing
        return image if image is not None and image.path.parent == self._images else None

    def _alone(self, uid: str) -> tuple[Layer, FileHandle]:
        """The top, and the image below it, which is there."""
        top, image = self._folder.top(uid), self._base(uid)
        if top is None:
            raise NotFound(f"Volume {uid} does not exist.")
        if image is None:
            raise PermanentError(f"Volume {uid} has layers that no other can take the place of.")
        if not image.path.exists():
            raise TemporaryError(f"Volume {uid} cannot be settled: {FETCHING}.", key=BUSY)
        return top, image

    def _mark(self, uid: str) -> Mark:
        return Mark(f"{check_uid(uid)}.{_BEGUN_BY}", uid, MarkKind.SETTLING)

    def _commit(self, uid: str) -> None:
        top = self._folder.top(uid)
        if top is None:
            raise NotFound(f"Volume {uid} does not exist.")
        self._folder.replace(self._mark(uid), Mark(top.name, uid, MarkKind.GARBAGE))
        self._folder.reap(self._merger.held)

    def _discard(self, uid: str) -> None:
        mark = self._mark(uid)
        if (self._folder.path / mark.file).exists():
            self._folder.remove([self._folder.file(uid, _BEGUN_BY)])
            self._folder.drop([mark])
