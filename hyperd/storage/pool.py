"""The directory pool of disks: one qcow2 file a disk, named by the disk's uid.

What exists is what the folder shows: a volume is made under a temporary name and renamed when it is whole, so
after a crash there is either the volume or a temporary file that ``clean`` removes. Backing files are read from
the qcow2 headers, which only the daemon writes the backing field of, and never opened here.
"""

from __future__ import annotations

import asyncio
import os
import re
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from hyperd import crashpoints
from hyperd.crashpoints import CrashPoint
from hyperd.errors import NotFound, PermanentError, TemporaryError
from hyperd.imagefile import files
from hyperd.imagefile.detect import ImageFormat
from hyperd.imagefile.qemuimg import QemuImg
from hyperd.resources.quantity import format_human, round_up
from hyperd.settings import Settings

_UID = re.compile(r"[a-z0-9][-a-z0-9]{0,62}")
_FILE = re.compile(_UID.pattern + r"\.qcow2")
NO_ROOM = "ProvisioningPostponed"
"""Key of the error that other disks leave no room: a reason of the reference's."""
_METADATA_BYTES = 1 << 20
"""What an empty qcow2 takes on disk, generously."""


@dataclass(frozen=True)
class Volume:
    """One disk file; sizes in bytes. ``backing`` is the cached image it overlays."""

    uid: str
    path: Path
    virtual_size: int
    allocated: int
    backing: Path | None


class VolumePool:
    """qcow2 files ``<uid>.qcow2`` in ``settings.volumes_dir``. Every operation is idempotent.

    Sizes are rounded up to whole MiB. libvirt gives a file to QEMU's user when a domain starts and takes it back.
    """

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.volumes_dir
        self._reserve = settings.storage.reserve_bytes
        self._ratio = settings.storage.overcommit_ratio
        self._promising = asyncio.Lock()
        self._promised: dict[str, int] = {}
        """uid → size of volumes that are being made or grown."""
        self._tools = QemuImg(settings)

    def path(self, uid: str) -> Path:
        """Where the volume of ``uid`` is or will be."""
        if not _UID.fullmatch(uid):
            raise ValueError(f"not a uid: {uid!r}")
        return self._folder / f"{uid}.qcow2"

    async def clean(self) -> None:
        """At start: make the folder, remove temporary files that a crash left."""
        await asyncio.to_thread(self._clean)

    async def create_blank(self, uid: str, size: int) -> Volume:
        """An empty disk. TemporaryError without space; an existing volume is returned as it is."""
        size = _aligned(size)
        return await self._create(uid, size, lambda path: self._tools.create_blank(path, size))

    async def create_overlay(self, uid: str, *, base: Path, base_format: ImageFormat, size: int) -> Volume:
        """A disk that starts with the content of ``base``, which must stay, read-only, as long as the disk does.

        ``size`` is the disk's, at least the image's virtual size; the caller checks that.
        """
        size = _aligned(size)
        return await self._create(
            uid,
            size,
            lambda path: self._tools.create_overlay(path, base=base, base_format=base_format, size=size),
        )

    async def grow(self, uid: str, size: int) -> Volume:
        """Grow a volume that no domain has open; PermanentError for a smaller size, NotFound without volume."""
        size = _aligned(size)
        volume = await self.find(uid)
        if volume is None:
            raise NotFound(f"Volume {uid} does not exist.")
        if size < volume.virtual_size:
            raise PermanentError(
                f"Volume {uid} has {volume.virtual_size} bytes and cannot shrink to {size}: its end would be lost."
            )
        if size > volume.virtual_size:
            async with self._promise(uid, size):
                await self._tools.resize(volume.path, size)
        return await asyncio.to_thread(_read, volume.path)

    async def find(self, uid: str) -> Volume | None:
        """The volume of ``uid``, or None; PermanentError when the file is damaged."""
        path = self.path(uid)
        try:
            return await asyncio.to_thread(_read, path)
        except FileNotFoundError:
            return None
        except OSError as err:
            raise PermanentError(f"Volume file {path} cannot be read: {err.strerror}.") from err

    async def delete(self, uid: str) -> None:
        """Remove the volume and what an unfinished creation left of it; nothing to do is fine."""
        path = self.path(uid)
        await asyncio.to_thread(self._remove, path)

    async def inventory(self) -> list[Volume]:
        """All volumes, whoever owns them; a damaged one has a virtual size of 0."""
        return await asyncio.to_thread(self._inventory)

    async def free_bytes(self) -> int:
        """What new volumes may still use: free space less ``settings.storage.reserve_bytes``; never negative."""
        return await asyncio.to_thread(self._free_bytes)

    async def check_room(self, uid: str, size: int) -> None:
        """Whether the volume of ``uid`` may have ``size`` bytes beside the others.

        Raises PermanentError for what could never be, TemporaryError for what others leave no room for.
        """
        async with self._promise(uid, _aligned(size)):
            return

    @asynccontextmanager
    async def _promise(self, uid: str, size: int) -> AsyncIterator[None]:
        """Count the volume at ``size`` while it is made or grown. Raises as ``check_room``."""
        async with self._promising:
            if self._ratio:
                whole, others = await asyncio.to_thread(self._measure, uid)
                others |= {name: size for name, size in self._promised.items() if name != uid}
                self._check_promise(size, int(whole * self._ratio), sum(others.values()))
            self._promised[uid] = size
        try:
            yield
        finally:
            # Not while somebody counts: the file may have come after the folder was read.
            async with self._promising:
                self._promised.pop(uid, None)

    def _measure(self, uid: str) -> tuple[int, dict[str, int]]:
        """What the pool may hold in truth, and the virtual size of each volume but that of ``uid``."""
        stat = os.statvfs(files.folder(self._folder))
        whole = max(0, stat.f_blocks * stat.f_frsize - self._reserve)
        return whole, {volume.uid: volume.virtual_size for volume in self._inventory() if volume.uid != uid}

    def _check_promise(self, size: int, limit: int, others: int) -> None:
        if others + size <= limit:
            return
        may = f"disks may have {format_human(limit)} together (setting storage.overcommit_ratio)"
        if size > limit:
            raise PermanentError(f"A disk of {format_human(size)} is too large: {may}.", key="ProvisioningFailed")
        raise TemporaryError(
            f"No room for a disk of {format_human(size)}: others have {format_human(others)}, and {may}.",
            key=NO_ROOM,
        )

    async def _create(self, uid: str, size: int, make: Callable[[Path], Awaitable[None]]) -> Volume:
        path = self.path(uid)
        if (found := await self.find(uid)) is not None:
            return found
        if await self.free_bytes() < _METADATA_BYTES:
            raise TemporaryError(
                f"No space for a new volume in {self._folder}: {format_human(self._reserve)} must stay free "
                "(setting storage.reserve_bytes)."
            )
        made = files.temporary(path)
        try:
            await asyncio.to_thread(made.unlink, missing_ok=True)
            async with self._promise(uid, size):
                await make(made)
                return await asyncio.to_thread(self._publish, made, path)
        except BaseException:
            await asyncio.to_thread(made.unlink, missing_ok=True)
            raise

    def _publish(self, made: Path, path: Path) -> Volume:
        os.chmod(made, 0o600)
        crashpoints.reached(CrashPoint.DISK_BEFORE_RENAME)
        with files.full_disk_is_temporary(f"Volume {path.stem} cannot be made"):
            files.publish(made, path)
        crashpoints.reached(CrashPoint.DISK_AFTER_FILE)
        return _read(path)

    def _remove(self, path: Path) -> None:
        files.temporary(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        if self._folder.exists():
            files.sync_folder(self._folder)

    def _clean(self) -> None:
        for path in files.folder(self._folder).iterdir():
            if files.is_temporary(path):
                files.unlink(path)

    def _inventory(self) -> list[Volume]:
        found = (_look_if_there(path) for path in files.named(self._folder, _FILE))
        return [volume for volume in found if volume is not None]

    def _free_bytes(self) -> int:
        return max(0, files.free_bytes(files.folder(self._folder)) - self._reserve)


def _look_if_there(path: Path) -> Volume | None:
    try:
        return _look(path)
    except FileNotFoundError:
        return None
    except OSError:
        return Volume(path.stem, path, 0, 0, None)


def _read(path: Path) -> Volume:
    volume = _look(path)
    if not volume.virtual_size:
        raise PermanentError(f"Volume file {path} is no qcow2 image; restore it from a backup or delete it.")
    return volume


def _look(path: Path) -> Volume:
    """What the file's header says; a damaged one has a virtual size of 0, so that it does not hide the others."""
    with files.open_regular(path) as file:
        stat = os.fstat(file.fileno())
        allocated = stat.st_blocks * 512
        header = file.read(72)
        if len(header) < 72 or not header.startswith(b"QFI\xfb"):
            return Volume(path.stem, path, 0, allocated, None)
        backing_offset, backing_length = struct.unpack_from(">QI", header, 8)
        (virtual_size,) = struct.unpack_from(">Q", header, 24)
        backing = None
        if backing_offset:
            file.seek(backing_offset)
            backing = Path(os.fsdecode(file.read(min(backing_length, 1023))))
    return Volume(path.stem, path, virtual_size, allocated, backing)


def _aligned(size: int) -> int:
    if size <= 0:
        raise PermanentError(f"A volume of {size} bytes cannot be made; its size must be positive.")
    return round_up(size)
