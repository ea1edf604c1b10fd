"""What the kernel tells of a block device that is open: a device's inode knows neither its size nor its changes.

Blocking calls.
"""

from __future__ import annotations

import os
import stat
import uuid
from pathlib import Path
from typing import Final

_SECTORS_WRITTEN: Final = 6
"""Of the kernel's ``Documentation/block/stat``."""
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def is_device(fd: int) -> bool:
    return stat.S_ISBLK(os.fstat(fd).st_mode)


def size(fd: int) -> int:
    """Bytes."""
    return os.lseek(fd, 0, os.SEEK_END)


def written(fd: int) -> int:
    """Bytes that have been written to it, whatever was there before."""
    return int((_folder(fd) / "stat").read_text().split()[_SECTORS_WRITTEN]) * 512


def stamp(fd: int) -> str:
    """Another one once anything was written to it; each time another where the kernel does not count that."""
    folder, found = _folder(fd), os.fstat(fd)
    queue = folder / "queue" if (folder / "queue").exists() else folder.parent / "queue"
    if (queue / "iostats").read_text().strip() == "0":
        return uuid.uuid4().hex
    return f"{_BOOT.read_text().strip()}-{found.st_rdev}-{found.st_ino}-{size(fd)}-{written(fd)}"


def _folder(fd: int) -> Path:
    """Of sysfs."""
    number = os.fstat(fd).st_rdev
    return Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
