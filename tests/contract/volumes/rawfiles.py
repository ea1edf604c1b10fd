"""A second backend, as unlike the directory pool as files allow: raw, copied from images, mapped when attached.

It grows a volume itself while a guest has it open, as one of block devices does, has clones, and snapshots
that are copies made while the guest holds its writes back.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

from hyperd.errors import NotFound, PermanentError, TemporaryError
from hyperd.imagefile import copying
from hyperd.imagefile.handle import DiskFormat, FileHandle, Handle
from hyperd.imagefile.qemuimg import QemuImg
from hyperd.progress import Report
from hyperd.resources.values.quantity import round_up
from hyperd.settings import Settings
from hyperd.storage.interface import (
    BUSY,
    Attacher,
    Capability,
    Capacity,
    Provisioner,
    Snapshot,
    Usage,
    Volume,
    check_uid,
)

NAME = "tests.example/raw"


class RawFiles:
    """``<uid>.raw``; attached is what has a link in ``attached/``."""

    name: ClassVar = NAME

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.state_dir / "raw"
        self.provisioner = RawProvisioner(self.folder, QemuImg(settings))
        self.attacher = RawAttacher(self.folder)

    async def start(self) -> None:
        for name in ("attached", "snapshots"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob("*.part"):
            path.unlink()


class RawProvisioner(Provisioner):
    name: ClassVar = NAME
    capabilities: ClassVar = frozenset(
        {Capability.CLONE, Capability.GROW_IN_USE, Capability.RECEIVE, Capability.SNAPSHOT, Capability.THIN}
    )

    def __init__(self, folder: Path, tools: QemuImg) -> None:
        self._folder = folder
        self._tools = tools

    async def create_blank(self, uid: str, size: int) -> Volume:
        return await self._create(uid, size, lambda path: path.touch())

    async def create_from_image(self, uid: str, size: int, *, image: Handle) -> Volume:
        if not isinstance(image, FileHandle):
            raise PermanentError("Images are files here.")
        argv = ["qemu-img", "convert", "-f", image.format, "-O", "raw", str(image.path)]
        return await self._create(uid, size, lambda path: subprocess.run([*argv, path], check=True))

    async def clone(self, uid: str, *, source: str, op_uid: str) -> Volume:
        there = await self.find(source)
        if there is None:
            raise NotFound(f"Volume {source} does not exist.")
        origin = volume_path(self._folder, source)
        return await self._create(uid, there.virtual_size, lambda path: shutil.copyfile(origin, path))

    async def receive(
        self, uid: str, size: int, *, layers: Sequence[Handle], op_uid: str, report: Report
    ) -> Volume:
        path = volume_path(self._folder, uid)
        if not path.exists():
            made = path.with_suffix(".part")
            made.unlink(missing_ok=True)
            if not layers:
                made.touch()
            else:
                await copying.copy(self._tools, layers, made, output=DiskFormat.RAW, reserve=0, report=report)
            os.truncate(made, round_up(size))
            made.rename(path)
        return await self._there(uid)

    async def prepare_snapshot(self, uid: str, *, snapshot: str, op_uid: str, in_use: bool) -> None:
        if not in_use and link_path(self._folder, uid).is_symlink():
            raise TemporaryError(f"Volume {uid} is attached.", key=BUSY)
        await self._there(uid)

    async def commit_snapshot(self, uid: str, *, snapshot: str, op_uid: str) -> Snapshot:
        path = snapshot_path(self._folder, snapshot, uid)
        if not path.exists():
            made = path.with_suffix(".part")
            await asyncio.to_thread(shutil.copyfile, volume_path(self._folder, uid), made)
            made.rename(path)
        return _snapshot(path)

    async def create_from_snapshot(self, uid: str, size: int, *, snapshot: str) -> Volume:
        path = find_path(self._folder, snapshot)
        if path is None:
            raise NotFound(f"Snapshot {snapshot} does not exist.")
        return await self._create(uid, size, lambda made: shutil.copyfile(path, made))

    async def delete_snapshot(self, snapshot: str) -> None:
        path = find_path(self._folder, snapshot)
        if path is not None:
            path.unlink()

    async def find_snapshot(self, snapshot: str) -> Snapshot | None:
        path = find_path(self._folder, snapshot)
        return None if path is None else _snapshot(path)

    async def snapshots(self) -> list[Snapshot]:
        return [_snapshot(path) for path in sorted((self._folder / "snapshots").glob("*.raw"))]

    async def grow(self, uid: str, size: int, *, in_use: bool) -> Volume:
        volume = await self.find(uid)
        if volume is None:
            raise NotFound(f"Volume {uid} does not exist.")
        if round_up(size) < volume.virtual_size:
            raise PermanentError(f"Volume {uid} cannot shrink.")
        os.truncate(volume_path(self._folder, uid), round_up(size))
        return await self._there(uid)

    async def delete(self, uid: str) -> None:
        if link_path(self._folder, uid).is_symlink():
            raise PermanentError(f"Volume {uid} is attached.")
        volume_path(self._folder, uid).unlink(missing_ok=True)

    async def find(self, uid: str) -> Volume | None:
        path = volume_path(self._folder, uid)
        if not path.exists():
            return None
        return Volume(uid, NAME, path.stat().st_size, path.stat().st_blocks * 512)

    async def inventory(self) -> list[Volume]:
        return [await self._there(path.stem) for path in sorted(self._folder.glob("*.raw"))]

    async def reads(self, image: Path) -> bool:
        return False

    async def capacity(self) -> Capacity:
        usage = shutil.disk_usage(self._folder)
        return Capacity(usage.total, usage.free)

    async def _create(self, uid: str, size: int, fill: Callable[[Path], object]) -> Volume:
        if size <= 0:
            raise PermanentError("A volume must be positive.")
        path = volume_path(self._folder, uid)
        if not path.exists():
            made = path.with_suffix(".part")
            await asyncio.to_thread(fill, made)
            os.truncate(made, round_up(size))
            made.rename(path)
        return await self._there(uid)

    async def _there(self, uid: str) -> Volume:
        found = await self.find(uid)
        if found is None:
            raise NotFound(f"Volume {uid} does not exist.")
        return found


class RawAttacher(Attacher):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def attach(self, uid: str) -> FileHandle:
        self._require(uid)
        link = link_path(self._folder, uid)
        if not link.is_symlink():
            link.symlink_to(volume_path(self._folder, uid))
        return FileHandle(link, DiskFormat.RAW)

    async def detach(self, uid: str) -> None:
        link_path(self._folder, uid).unlink(missing_ok=True)

    async def usage(self, uid: str) -> Usage:
        found = self._require(uid).stat()
        return Usage(found.st_size, found.st_blocks * 512, shutil.disk_usage(self._folder).free)

    async def expand(self, uid: str, size: int) -> FileHandle:
        return await self.attach(uid)

    @asynccontextmanager
    async def reading(self, uid: str) -> AsyncIterator[FileHandle]:
        path = find_path(self._folder, uid) or self._require(uid)
        yield FileHandle(path, DiskFormat.RAW)

    def _require(self, uid: str) -> Path:
        path = volume_path(self._folder, uid)
        if not path.exists():
            raise NotFound(f"Volume {uid} does not exist.")
        return path


def volume_path(folder: Path, uid: str) -> Path:
    return folder / f"{check_uid(uid)}.raw"


def link_path(folder: Path, uid: str) -> Path:
    return folder / "attached" / check_uid(uid)


def snapshot_path(folder: Path, snapshot: str, uid: str) -> Path:
    return folder / "snapshots" / f"{check_uid(snapshot)}.{check_uid(uid)}.raw"


def find_path(folder: Path, snapshot: str) -> Path | None:
    return next((folder / "snapshots").glob(f"{check_uid(snapshot)}.*.raw"), None)


def _snapshot(path: Path) -> Snapshot:
    uid, volume, _ = path.name.split(".")
    found = path.stat()
    return Snapshot(uid, volume, NAME, found.st_size, found.st_blocks * 512)
