"""A disk as the kernel has it: its size, and its partitions as devices, which follow its table. Blocking calls."""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hyperd import clock
from hyperd.errors import TemporaryError
from hyperd.storage.backends.block.holding import Held
from hyperd.storage.backends.block.table import MIB, Part, tool

_HEAD_BYTES = 8192
"""The table's header is in them, whose checksum is that of the whole table."""
_BLKFLSBUF = 0x1261
_EDGE_BYTES = 4 * MIB
_SAMPLES, _SAMPLE_BYTES = 64, 4096
_LOCK_SECONDS = 30.0
_LOOK_SECONDS = 0.05
_GLANCE_SECONDS = 1.0
"""For which whoever lists block devices, as ``lsblk`` does, may have one open."""


@dataclass(frozen=True, slots=True)
class Disk:
    """The whole disk at ``path``; ``folder`` is what sysfs has of it."""

    path: Path
    folder: Path

    @classmethod
    def at(cls, path: Path) -> Self:
        """Raises TemporaryError, the end of a sentence, for what no partitions can be made on."""
        try:
            found = path.stat()
        except OSError as err:
            raise TemporaryError(f"{path} cannot be looked at: {err.strerror}") from err
        if not stat.S_ISBLK(found.st_mode):
            raise TemporaryError(f"{path} is no disk, but a file or a folder")
        folder = _sysfs(found.st_rdev)
        if (folder / "partition").exists():
            raise TemporaryError(f"{path} is a partition; volumes are partitions of a whole disk")
        if (folder / "dm").exists():
            raise TemporaryError(f"{path} is of the device mapper, which has no partitions; give a disk or a RAID")
        return cls(path, folder)

    @property
    def size(self) -> int:
        return _sectors(self.folder / "size")

    @property
    def sector(self) -> int:
        """Bytes of the unit in which its table counts."""
        return int((self.folder / "queue/logical_block_size").read_text())

    def head(self) -> bytes:
        """What changes with the table, of the disk itself: another host may have written it. Raises OSError."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
        try:
            with mmap.mmap(-1, _HEAD_BYTES) as aligned:
                os.preadv(descriptor, [aligned], 0)
                return aligned[:]
        finally:
            os.close(descriptor)

    def reread(self) -> None:
        """Forget what the kernel keeps in memory of the disk. Raises OSError."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, _BLKFLSBUF)
        finally:
            os.close(descriptor)

    def require_zeros(self) -> None:
        """TemporaryError where there is something in its beginning, its end, or samples of what lies between.

        Not all that somebody may need has a signature: an encrypted disk whose header is elsewhere, a database.
        """
        size = self.size
        step = max(MIB, size // _SAMPLES // MIB * MIB)
        places = [(0, _EDGE_BYTES), *((offset, _SAMPLE_BYTES) for offset in range(0, size, step))]
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for offset, length in (*places, (max(0, size - _EDGE_BYTES), _EDGE_BYTES)):
                if any(os.pread(descriptor, length, offset)):
                    raise TemporaryError(
                        f"the disk holds something of no known kind, at {offset} bytes or behind, which may be "
                        f"encrypted; {self.emptied()} empties it if nothing of that is needed"
                    )
        finally:
            os.close(descriptor)

    def emptied(self) -> str:
        """What an administrator empties it with."""
        return f"`wipefs --all {self.path} && blkdiscard --force --zeroout {self.path}`"

    def require_unused(self) -> None:
        """TemporaryError where something else of this host has it: it is mounted, or part of a RAID."""
        try:
            os.close(os.open(self.path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
        except OSError as err:
            raise TemporaryError(f"{self.path} is in use: {err.strerror}") from err

    @contextmanager
    def locked(self) -> Iterator[int]:
        """A lock of the whole disk, which udev keeps to and each hyperd; what inherits its descriptor has it too.

        TemporaryError where somebody has it for long.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as err:
            raise TemporaryError(f"{self.path} cannot be opened: {err.strerror}") from err
        try:
            began = clock.elapsed()
            while not _lock(descriptor):
                if clock.elapsed() - began > _LOCK_SECONDS:
                    raise TemporaryError(f"another program has had {self.path} locked for {_LOCK_SECONDS:.0f} s")
                time.sleep(_LOOK_SECONDS)
            yield descriptor
        finally:
            os.close(descriptor)

    def hold(self, part: Part) -> Held:
        """Open the partition, made to be what the table says. TemporaryError where it cannot be."""
        path = self._device(part)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as err:
            raise TemporaryError(f"{path} cannot be opened: {err.strerror}") from err
        found = os.fstat(descriptor).st_rdev
        if self._folder(part.number) != _sysfs(found) or not self._is(part):
            os.close(descriptor)
            raise TemporaryError(f"{path} is not partition {part.number} of {self.path}")
        return Held(part, path, descriptor)

    def follow(self, part: Part) -> None:
        """Have the partition's device be what the table says. TemporaryError where it cannot be."""
        self._device(part)

    def forget(self, number: int) -> None:
        """The device of a partition goes. TemporaryError where it is open."""
        began = clock.elapsed()
        while self._folder(number) is not None:
            try:
                tool("partx", "--delete", "--nr", str(number), str(self.path))
            except TemporaryError as err:
                if clock.elapsed() - began > _GLANCE_SECONDS:
                    raise TemporaryError(f"partition {number} of {self.path} is open") from err
                time.sleep(_LOOK_SECONDS)

    def _device(self, part: Part) -> Path:
        if not self._is(part):
            tool("partx", "--update", "--nr", str(part.number), str(self.path))
        folder = self._folder(part.number)
        if folder is None or not self._is(part):
            raise TemporaryError(f"the kernel has another partition {part.number} of {self.path}, which is open")
        return self.path.resolve().with_name(folder.name)

    def _is(self, part: Part) -> bool:
        folder = self._folder(part.number)
        if folder is None:
            return False
        return (_sectors(folder / "start"), _sectors(folder / "size")) == (part.start, part.size)

    def _folder(self, number: int) -> Path | None:
        for found in self.folder.glob("*/partition"):
            if found.read_text().strip() == str(number):
                return found.parent
        return None


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sysfs(device: int) -> Path:
    return Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()


def _sectors(file: Path) -> int:
    """sysfs counts in units of 512 bytes, whatever the disk has."""
    return int(file.read_text()) * 512
