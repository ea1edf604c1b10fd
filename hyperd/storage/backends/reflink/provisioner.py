"""Makes volumes of a reflink pool: blank ones, and clones of images, volumes and snapshots of any size."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from hyperd.background import to_the_end
from hyperd.errors import NotFound, PermanentError, TemporaryError
from hyperd.imagefile import copying, files
from hyperd.imagefile.growth import Growth
from hyperd.imagefile.handle import DiskFormat, FileHandle, Handle
from hyperd.imagefile.qemuimg import Layer, QemuImg
from hyperd.progress import Report
from hyperd.resources.values.quantity import format_human, round_up
from hyperd.settings import Settings
from hyperd.storage.asking import Asking
from hyperd.storage.backends.reflink.pool import File, Kind, Pool
from hyperd.storage.interface import BUSY, Capability, Capacity, Provisioner, Snapshot, Volume, check_uid
from hyperd.storage.overcommit import Overcommit

_LEAST_BYTES = 1 << 20
"""Of free space, for a new volume."""


class ReflinkProvisioner(Provisioner):
    """Sizes are rounded up to whole MiB. Nothing that is made depends on what it was made from.

    The first volume of an image takes as long as its copy; that is kept beside the volumes for as long as the node
    caches the image, and the next volumes share its blocks.
    """

    capabilities: ClassVar = frozenset(
        {Capability.CLONE, Capability.GROW_IN_USE, Capability.RECEIVE, Capability.SNAPSHOT, Capability.THIN}
    )

    def __init__(self, settings: Settings, pool: Pool, asking: Asking, *, name: str) -> None:
        self._name = name
        self._asking = asking
        self._pool = pool
        self._images = settings.images_dir
        self._reserve = settings.storage.reserve_bytes
        self._overcommit = Overcommit(settings.storage.overcommit_ratio, self._measure)
        self._tools = QemuImg(settings)
        self._basing = asyncio.Lock()
        """One image at a time: the next one may be the same."""

    @property
    def name(self) -> str:
        return self._name

    async def create_blank(self, uid: str, size: int) -> Volume:
        size = _aligned(size)
        return await self._create(uid, size, lambda made: asyncio.to_thread(_blank, made, size))

    async def create_from_image(self, uid: str, size: int, *, image: Handle) -> Volume:
        size = _aligned(size)
        if not isinstance(image, FileHandle):
            raise PermanentError(f"Volume {uid} cannot be made of {image}: the image must be a file of the node.")

        async def make(made: Path) -> None:
            async with self._basing:
                base = await self._base(image)
                await to_the_end(self._pool.clone, base, made, size)

        return await self._create(uid, size, make)

    async def clone(self, uid: str, *, source: str, op_uid: str) -> Volume:
        origin = await self._require(source)
        return await self._create(uid, origin.size, lambda made: to_the_end(self._pool.clone, origin.path, made))

    async def receive(
        self, uid: str, size: int, *, layers: Sequence[Handle], op_uid: str, report: Report
    ) -> Volume:
        async def make(made: Path) -> None:
            if not layers:
                await asyncio.to_thread(_blank, made, _aligned(size))
                return
            had = await copying.copy(
                self._tools, layers, made, output=DiskFormat.RAW, reserve=self._reserve, report=report
            )
            if had < _aligned(size):
                await to_the_end(os.truncate, made, _aligned(size))

        return await self._create(uid, _aligned(size), make)

    async def prepare_snapshot(self, uid: str, *, snapshot: str, op_uid: str, in_use: bool) -> None:
        """The guest may go on as soon as this has returned."""
        origin = await self._require(uid)
        if not in_use and uid in self._pool.attached:
            raise TemporaryError(f"Volume {uid} is being attached to a guest.", key=BUSY)
        if await asyncio.to_thread(self._pool.find_snapshot, snapshot) is None:
            path = self._pool.snapshot_file(uid, snapshot, Kind.PREPARING)
            await self._make(path, lambda made: to_the_end(self._pool.clone, origin.path, made))

    async def commit_snapshot(self, uid: str, *, snapshot: str, op_uid: str) -> Snapshot:
        await self._usable()
        found = await asyncio.to_thread(self._pool.find_snapshot, snapshot)
        if found is None or found.volume != uid:
            raise NotFound(f"Snapshot {snapshot} of volume {uid} was not prepared.")
        if found.pending:
            path = self._pool.snapshot_file(uid, snapshot, Kind.SNAPSHOT)
            found = await to_the_end(self._pool.publish, found.path, path)
        return self._snapshot(found)

    async def cancel_snapshot(self, uid: str, *, snapshot: str) -> None:
        await self._usable()
        await to_the_end(self._pool.remove, self._pool.snapshot_file(uid, snapshot, Kind.PREPARING))

    async def create_from_snapshot(self, uid: str, size: int, *, snapshot: str) -> Volume:
        size = _aligned(size)
        await self._usable()
        origin = await asyncio.to_thread(self._pool.find_snapshot, snapshot)
        if origin is None or origin.pending:
            raise NotFound(f"Snapshot {snapshot} does not exist.")
        return await self._create(uid, size, lambda made: to_the_end(self._pool.clone, origin.path, made, size))

    async def delete_snapshot(self, snapshot: str) -> None:
        await self._usable()
        found = await asyncio.to_thread(self._pool.find_snapshot, snapshot)
        if found is not None:
            await to_the_end(self._pool.remove, found.path)

    async def find_snapshot(self, snapshot: str) -> Snapshot | None:
        check_uid(snapshot)
        await self._usable()
        found = await asyncio.to_thread(self._pool.find_snapshot, snapshot)
        if found is not None and not found.size:
            raise PermanentError(f"The file of snapshot {snapshot} is damaged; delete the snapshot.")
        return None if found is None else self._snapshot(found)

    async def snapshots(self) -> list[Snapshot]:
        if not await self._asking.usable():
            return []
        return [self._snapshot(found) for found in await asyncio.to_thread(self._pool.snapshots)]

    async def grow(self, uid: str, size: int, *, in_use: bool) -> Volume:
        """QEMU grows a file that it has open."""
        size, file = _aligned(size), await self._require(uid)
        if size < file.size:
            raise PermanentError(
                f"Volume {uid} has {file.size} bytes and cannot shrink to {size}: its end would be lost."
            )
        if size > file.size:
            async with self._overcommit.promise(uid, size):
                if not in_use:
                    await to_the_end(self._pool.grow, file.path, size)
                    file = await self._require(uid)
        return self._volume(file)

    async def delete(self, uid: str) -> None:
        path = self._pool.file(uid)
        await self._usable()
        await to_the_end(self._pool.remove, path)

    async def find(self, uid: str) -> Volume | None:
        path = self._pool.file(uid)
        await self._usable()
        file = await asyncio.to_thread(File.of, path)
        if file is not None and not file.size:
            raise PermanentError(f"Volume file {path} is empty; restore it from a backup or delete it.")
        return None if file is None else self._volume(file)

    async def inventory(self) -> list[Volume]:
        """None while the pool cannot be used; ``find`` raises then, so that nothing is taken as lost."""
        if not await self._asking.usable():
            return []
        return [self._volume(file) for file in await asyncio.to_thread(self._pool.volumes)]

    async def reads(self, image: Path) -> bool:
        """A clone needs nothing of what it was made from."""
        return False

    async def capacity(self) -> Capacity:
        """Less ``settings.storage.reserve_bytes``, which volumes have to leave."""
        await self._usable()
        total, free = await asyncio.to_thread(self._pool.space)
        return Capacity(max(0, total - self._reserve), max(0, free - self._reserve))

    async def _usable(self) -> None:
        await self._asking.require()

    async def _require(self, uid: str) -> File:
        path = self._pool.file(uid)
        await self._usable()
        file = await asyncio.to_thread(File.of, path)
        if file is None:
            raise NotFound(f"Volume {uid} does not exist.")
        return file

    async def _base(self, image: FileHandle) -> Path:
        """The image in the form of a volume, made if need be. Others that no image is left of go."""
        await asyncio.to_thread(self._pool.forget_bases, self._images)
        path = self._pool.base(image.path)
        if not await asyncio.to_thread(path.exists):
            await self._make(path, lambda made: self._unpack(image, made))
        return path

    async def _unpack(self, image: FileHandle, made: Path) -> None:
        source = await to_the_end(os.open, image.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            target = await to_the_end(os.open, made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                _, free = await asyncio.to_thread(self._pool.space)
                growth = Growth(target, max_bytes=max(free, 1), folder=self._pool.path, reserve=self._reserve)
                layer = Layer(source, image.format)
                await self._tools.flatten([layer], target, output=DiskFormat.RAW, growth=growth)
            finally:
                os.close(target)
        finally:
            os.close(source)

    async def _create(self, uid: str, size: int, make: Callable[[Path], Awaitable[None]]) -> Volume:
        if (found := await self.find(uid)) is not None:
            return found
        if (await self.capacity()).available < _LEAST_BYTES:
            raise TemporaryError(
                f"No space for a new volume in {self._pool.path}: {format_human(self._reserve)} must stay free "
                "(setting storage.reserve_bytes)."
            )
        async with self._overcommit.promise(uid, size):
            return self._volume(await self._make(self._pool.file(uid), make))

    async def _make(self, path: Path, make: Callable[[Path], Awaitable[None]]) -> File:
        made = files.temporary(path)
        try:
            await asyncio.to_thread(made.unlink, missing_ok=True)
            with files.full_disk_is_temporary(f"{path.name} cannot be made"):
                await make(made)
            return await to_the_end(self._pool.publish, made, path)
        except BaseException:
            await asyncio.to_thread(made.unlink, missing_ok=True)
            raise

    async def _measure(self) -> tuple[int, Mapping[str, int]]:
        return await asyncio.to_thread(self._measured)

    def _measured(self) -> tuple[int, Mapping[str, int]]:
        """A volume may grow to its size; a snapshot keeps what it has."""
        whole, _ = self._pool.space()
        snapshots = {file.path.name: file.allocated for file in self._pool.snapshots()}
        return max(0, whole - self._reserve), snapshots | {file.volume: file.size for file in self._pool.volumes()}

    def _volume(self, file: File) -> Volume:
        return Volume(file.volume, self.name, file.size, file.allocated)

    def _snapshot(self, file: File) -> Snapshot:
        return Snapshot(file.snapshot, file.volume, self.name, file.size, file.allocated, file.pending)


def _blank(made: Path, size: int) -> None:
    with made.open("xb") as file:
        file.truncate(size)


def _aligned(size: int) -> int:
    if size <= 0:
        raise PermanentError(f"A volume of {size} bytes cannot be made; its size must be positive.")
    return round_up(size)
