"""An image file in the making, on its way into the node's cache.

It has a temporary name until it is whole, durable and verified; then it is renamed. Blocks of zeros become holes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

from hyperd import crashpoints, durable
from hyperd.background import to_the_end
from hyperd.crashpoints import CrashPoint
from hyperd.errors import TemporaryError
from hyperd.imagefile import files
from hyperd.imagefile.detect import FAILED, ImageFormat
from hyperd.imagefile.growth import guard_reserve
from registry.answers import BLOCK_BYTES

PART_SUFFIX = ".part"
_HOLE_BYTES = 256 << 10
_ZEROS = bytes(_HOLE_BYTES)
_PUBLISHED_MODE = 0o444


class Spool:
    """A temporary file ``.<name>.part`` in ``folder``, gone at the end of the context unless published.

    It leaves ``reserve`` bytes of the disk free: guests and the store live there, too.
    """

    def __init__(self, folder: Path, name: str, *, reserve: int) -> None:
        self._path = folder / f".{name}{PART_SUFFIX}"
        self._reserve = reserve
        self.fd = -1
        self.size = 0

    async def __aenter__(self) -> Self:
        try:
            await to_the_end(self._open)
        except asyncio.CancelledError:
            if self.fd >= 0:
                await to_the_end(self._close)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await to_the_end(self._close)

    async def append(self, block: bytes) -> None:
        """Write ``block`` at the end; TemporaryError without space."""
        await to_the_end(self._write, block, self.size)
        self.size += len(block)

    async def finish(self) -> None:
        """No more blocks will come."""
        await to_the_end(os.ftruncate, self.fd, self.size)

    def measure(self) -> None:
        """Another program has written the content."""
        self.size = os.fstat(self.fd).st_size

    async def take(self, other: Spool) -> None:
        """Have what another program wrote into ``other`` as content; the former content is lost."""
        await to_the_end(os.replace, other._path, self._path)
        self.fd, other.fd = other.fd, self.fd
        self.measure()

    async def blocks(self) -> AsyncIterator[bytes]:
        """All of the content."""
        for offset in range(0, self.size, BLOCK_BYTES):
            yield await to_the_end(os.pread, self.fd, min(BLOCK_BYTES, self.size - offset), offset)

    async def publish(self, layer_digest: str, format_: ImageFormat) -> Path:
        """Make it the cached file of its layer: durable, read-only, under its digest's name."""
        path = cached_path(self._path.parent, layer_digest, format_)
        await to_the_end(self._publish, path)
        return path

    def _open(self) -> None:
        files.folder(self._path.parent)
        self._path.unlink(missing_ok=True)
        with files.full_disk_is_temporary("The image cannot be stored on this node"):
            self.fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)

    def _write(self, block: bytes, offset: int) -> None:
        guard_reserve(self._path.parent, self._reserve, len(block))
        with files.full_disk_is_temporary("The image cannot be stored on this node"):
            for start in range(0, len(block), _HOLE_BYTES):
                piece = block[start : start + _HOLE_BYTES]
                if piece != _ZEROS[: len(piece)]:
                    written = os.pwrite(self.fd, piece, offset + start)
                    if written < len(piece):
                        raise TemporaryError(
                            "The image cannot be stored on this node: the disk is full.", key=FAILED
                        )

    def _publish(self, path: Path) -> None:
        if os.geteuid() == 0:
            os.fchown(self.fd, 0, 0)
        os.fchmod(self.fd, _PUBLISHED_MODE)
        with files.full_disk_is_temporary("The image cannot be stored on this node"):
            os.fsync(self.fd)
        crashpoints.reached(CrashPoint.CACHE_BEFORE_RENAME)
        os.replace(self._path, path)
        durable.sync(path.parent)

    def _close(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        finally:
            os.close(self.fd)


def cached_path(folder: Path, layer_digest: str, format_: ImageFormat) -> Path:
    """Where the cached file of a layer is."""
    return folder / f"{layer_digest.removeprefix('sha256:')}.{format_.suffix}"
