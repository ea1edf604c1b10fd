"""Makes volumes of the directory pool: blank ones, and overlays of cached images."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import ClassVar

from hyperd.background import to_the_end
from hyperd.errors import NotFound, PermanentError, TemporaryError
from hyperd.imagefile import files
from hyperd.imagefile.handle import FileHandle, Handle
from hyperd.imagefile.qemuimg import QemuImg
from hyperd.resources.core import storage_class
from hyperd.resources.values.quantity import format_human, round_up
from hyperd.settings import Settings
from hyperd.storage.backends.directory.folder import Folder, VolumeFile
from hyperd.storage.interface import Capability, Capacity, Provisioner, Volume
from hyperd.storage.overcommit import Overcommit

_METADATA_BYTES = 1 << 20
"""What an empty qcow2 takes on disk, generously."""


class DirectoryProvisioner(Provisioner):
    """Sizes are rounded up to whole MiB. libvirt gives a file to QEMU's user for as long as a domain runs.

    A volume from an image is an overlay of it, made at once, and reads it as long as it exists.
    """

    name: ClassVar = storage_class.PROVISIONER
    capabilities: ClassVar = frozenset({Capability.GROW_IN_USE})

    def __init__(self, settings: Settings, folder: Folder) -> None:
        self._folder = folder
        self._reserve = settings.storage.reserve_bytes
        self._overcommit = Overcommit(settings.storage.overcommit_ratio, self._measure)
        self._tools = QemuImg(settings)

    async def create_blank(self, uid: str, size: int) -> Volume:
        size = _aligned(size)
        return await self._create(uid, size, lambda path: self._tools.create_blank(path, size))

    async def create_from_image(self, uid: str, size: int, *, image: Handle) -> Volume:
        if not isinstance(image, FileHandle):
            raise PermanentError(
                f"Volume {uid} cannot be made over {image}: the image must be a file of the node."
            )
        size = _aligned(size)
        return await self._create(
            uid,
            size,
            lambda path: self._tools.create_overlay(path, base=image.path, base_format=image.format, size=size),
        )

    async def grow(self, uid: str, size: int, *, in_use: bool) -> Volume:
        """QEMU alone may write to a file that it has open, so that it grows that one."""
        size = _aligned(size)
        file = await asyncio.to_thread(self._folder.read, uid)
        if file is None:
            raise NotFound(f"Volume {uid} does not exist.")
        if size < file.virtual_size:
            raise PermanentError(
                f"Volume {uid} has {file.virtual_size} bytes and cannot shrink to {size}: its end would be lost."
            )
        if size > file.virtual_size:
            async with self._overcommit.promise(uid, size):
                if not in_use:
                    await self._tools.resize(file.path, size)
                    file = await asyncio.to_thread(self._folder.read, uid) or file
        return self._volume(file)

    async def delete(self, uid: str) -> None:
        await asyncio.to_thread(self._folder.remove, uid)

    async def find(self, uid: str) -> Volume | None:
        file = await asyncio.to_thread(self._folder.read, uid)
        return None if file is None else self._volume(file)

    async def inventory(self) -> list[Volume]:
        return [self._volume(file) for file in await asyncio.to_thread(self._folder.list)]

    async def reads(self, image: Path) -> bool:
        """A damaged file may overlay anything."""
        found = await asyncio.to_thread(self._folder.list)
        return any(file.backing == image or not file.virtual_size for file in found)

    async def capacity(self) -> Capacity:
        """Less ``settings.storage.reserve_bytes``, which volumes have to leave."""
        total, free = await asyncio.to_thread(self._folder.space)
        return Capacity(max(0, total - self._reserve), max(0, free - self._reserve))

    async def _create(self, uid: str, size: int, make: Callable[[Path], Awaitable[None]]) -> Volume:
        if (found := await self.find(uid)) is not None:
            return found
        if (await self.capacity()).available < _METADATA_BYTES:
            raise TemporaryError(
                f"No space for a new volume in {self._folder.path}: {format_human(self._reserve)} must stay free "
                "(setting storage.reserve_bytes)."
            )
        made = files.temporary(self._folder.file(uid))
        try:
            await asyncio.to_thread(made.unlink, missing_ok=True)
            async with self._overcommit.promise(uid, size):
                await make(made)
                return self._volume(await to_the_end(self._folder.publish, made, uid))
        except BaseException:
            await asyncio.to_thread(made.unlink, missing_ok=True)
            raise

    async def _measure(self) -> tuple[int, Mapping[str, int]]:
        return await asyncio.to_thread(self._measured)

    def _measured(self) -> tuple[int, Mapping[str, int]]:
        whole, _ = self._folder.space()
        return max(0, whole - self._reserve), {file.uid: file.virtual_size for file in self._folder.list()}

    def _volume(self, file: VolumeFile) -> Volume:
        return Volume(file.uid, self.name, file.virtual_size, file.allocated)


def _aligned(size: int) -> int:
    if size <= 0:
        raise PermanentError(f"A volume of {size} bytes cannot be made; its size must be positive.")
    return round_up(size)
