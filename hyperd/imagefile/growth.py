"""How far a file may grow while a program writes it: what its image can need, and what the disk can spare.

A device has its size before, and takes no more.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from hyperd.errors import HyperdError, PermanentError, TemporaryError
from hyperd.imagefile import devices, files
from hyperd.imagefile.detect import FAILED

_AHEAD = 2
"""XFS takes up to as much again as a file has, ahead of who writes to its end, and gives it back at the close."""


def guard_reserve(folder: Path, reserve: int, more: int = 0) -> None:
    """TemporaryError unless ``more`` bytes leave ``reserve`` free where ``folder`` is. Blocks for one statvfs."""
    if reserve and files.free_bytes(folder) < reserve + more:
        raise TemporaryError(
            f"The image cannot be stored on this node: {reserve} bytes of {folder} must stay free "
            "(setting storage.reserve_bytes).",
            key=FAILED,
        )


class Target(Protocol):
    """What a program writes an image into, and how far it is. All of it blocks for a call or two."""

    is_device: bool
    """Whether it is there before, as large as it may be and full of zeros."""

    def start(self) -> int:
        """The largest size that it may have, as things stand; TemporaryError where there is no room."""
        ...

    def check(self) -> None:
        """Raises as soon as it has grown too far."""
        ...

    def written(self) -> int:
        """Bytes by now, about."""
        ...

    def refusal(self) -> HyperdError:
        """What to say of one that came to its limit."""
        ...


class Growth(Target):
    """Watches the file behind ``fd`` in ``folder``: at most ``max_bytes``, and ``reserve`` bytes stay free."""

    def __init__(self, fd: int, *, max_bytes: int, folder: Path, reserve: int, sparse: bool = False) -> None:
        """One that is ``sparse`` is as long as its image is large, and takes what is written to it."""
        self.is_device = False
        self._sparse = sparse
        self._fd, self._max, self._folder, self._reserve = fd, max_bytes, folder, reserve
        self._limit = 0

    def start(self) -> int:
        """The largest size that the file may have, as things stand; TemporaryError where there is no room."""
        guard_reserve(self._folder, self._reserve, 1)
        free = files.free_bytes(self._folder) - self._reserve
        self._limit = self._max if self._sparse else min(self._max, free)
        return self._limit

    def check(self) -> None:
        """Raises as soon as it is too large or takes what must stay free. Blocks for two calls."""
        found = os.fstat(self._fd)
        if found.st_size > self._max or found.st_blocks * 512 > _AHEAD * self._max:
            raise self.refusal()
        guard_reserve(self._folder, self._reserve)

    def written(self) -> int:
        return os.fstat(self._fd).st_blocks * 512

    def refusal(self) -> HyperdError:
        """What to say of a file that came to its limit: final if the image is at fault, not the disk."""
        if self._limit < self._max:
            return TemporaryError(
                f"The image cannot be stored on this node: {self._folder} has no room for more than "
                f"{self._limit} bytes beside what must stay free (setting storage.reserve_bytes).",
                key=FAILED,
            )
        return PermanentError(
            f"The image unpacks to more than {self._max} bytes, which one of its size should not; it is "
            "damaged, or made to fill the disk.",
            key=FAILED,
        )


class Device(Target):
    """The block device behind ``fd``, of ``size`` bytes, all of them zeros."""

    def __init__(self, fd: int, size: int) -> None:
        self.is_device = True
        self._fd, self._size, self._before = fd, size, 0

    def start(self) -> int:
        self._before = devices.written(self._fd)
        return self._size

    def check(self) -> None:
        """Its end is the end."""

    def written(self) -> int:
        return devices.written(self._fd) - self._before

    def refusal(self) -> HyperdError:
        return PermanentError(f"The image unpacks to more than the {self._size} bytes of its volume.", key=FAILED)
