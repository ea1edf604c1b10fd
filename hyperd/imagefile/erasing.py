"""Zeros all over a block device: what was there is nobody's who has it next."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from hyperd.background import to_the_end
from hyperd.errors import TemporaryError
from hyperd.imagefile import devices, sandbox

_PIECE_BYTES: Final = 1 << 30
_PIECE_SECONDS: Final = 600.0
"""Where each zero is written, at 2 MB/s."""
_PUNCH: Final = ("--punch-hole",)
_ZERO: Final = ("--zero-range", "--keep-size")


async def erase(device: Path) -> None:
    """On the disk once it returns: as unused space where the device knows that, else written.

    Raises TemporaryError, OSError.
    """
    descriptor = await to_the_end(os.open, device, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = devices.size(descriptor)
        for offset in range(0, size, _PIECE_BYTES):
            length = min(_PIECE_BYTES, size - offset)
            if await _fallocate(device, offset, length, *_PUNCH):
                continue
            if not await _fallocate(device, offset, length, *_ZERO):
                raise TemporaryError(f"{device} cannot be erased: the disk takes no zeros.")
        await to_the_end(os.fsync, descriptor)
    finally:
        os.close(descriptor)


async def discard(device: Path, size: int) -> None:
    """Have the device know that its first ``size`` bytes are unused, if it has a command for that."""
    for offset in range(0, size, _PIECE_BYTES):
        if not await _fallocate(device, offset, min(_PIECE_BYTES, size - offset), *_PUNCH):
            return


async def _fallocate(device: Path, offset: int, length: int, *how: str) -> bool:
    """Whether the disk could."""
    place = ["--offset", str(offset), "--length", str(length)]
    argv = [*sandbox.DIE_WITH_PARENT, "fallocate", *how, *place, "--", str(device)]
    return not (await sandbox.run(argv, timeout=_PIECE_SECONDS, what="fallocate")).returncode
