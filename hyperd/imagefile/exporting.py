"""What a disk holds as one image file, any part of which can be made alone: raw, or a qcow2 without its holes.

Holes are not read. Memory is bounded by some pieces, and for qcow2 by a bit for each cluster.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from hyperd.imagefile.handle import DiskFormat
from hyperd.imagefile.layout import Qcow2Layout
from hyperd.imagefile.maps import ASKED_BYTES, Maps
from hyperd.imagefile.qemuimg import Layer
from hyperd.imagefile.reading import VolumeReader, reading
from hyperd.settings import Settings

PIECE_BYTES: Final = 1 << 20
_ZEROS: Final = bytes(PIECE_BYTES)

Piece = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Content:
    """What is read: ``title`` is for sentences, ``name`` for a file; by the same ``tag`` it has the same bytes."""

    title: str
    name: str
    uid: str
    tag: str
    layers: Sequence[Layer]
    iso: bool = False


class Image(Protocol):
    """One file, of ``size`` bytes; ``tag`` tells them from all others."""

    @property
    def size(self) -> int: ...

    @property
    def tag(self) -> str: ...

    def pieces(self, start: int, stop: int) -> AsyncGenerator[Piece, None]:
        """The bytes from ``start`` to ``stop``, at most ``PIECE_BYTES`` at a time. Raises as ``VolumeReader``."""
        ...


@asynccontextmanager
async def image_of(
    content: Content, format_: DiskFormat, settings: Settings, maps: Maps, *, user: str
) -> AsyncIterator[Image]:
    """The image, to be read until the block ends. PermanentError where the files of ``content`` are damaged.

    Raises as ``Maps.of`` as well, which makes the map of a qcow2 for ``user``.
    """
    async with reading(content.layers, settings) as volume:
        if format_ is DiskFormat.RAW:
            yield _Raw(volume, content.tag)
        else:
            layout, digest = await maps.of(volume, content.tag, title=content.title, user=user)
            # Where deleted snapshots are merged meanwhile the same content may lie otherwise.
            yield _Qcow2(volume, layout, _tag(content.tag, DiskFormat.QCOW2, digest))


class _Raw:
    """The disk itself."""

    def __init__(self, volume: VolumeReader, tag: str) -> None:
        self._volume = volume
        self.size = volume.size
        self.tag = _tag(tag, DiskFormat.RAW)

    async def pieces(self, start: int, stop: int) -> AsyncGenerator[Piece, None]:
        while start < stop:
            for length, zero in await self._volume.extents(start, min(stop - start, ASKED_BYTES)):
                async for piece in _zeros(length) if zero else _read(self._volume, start, length):
                    yield piece
                start += length


class _Qcow2:
    """What the disk holds, behind tables."""

    def __init__(self, volume: VolumeReader, layout: Qcow2Layout, tag: str) -> None:
        self._volume = volume
        self._layout = layout
        self.size = layout.size
        self.tag = tag

    async def pieces(self, start: int, stop: int) -> AsyncGenerator[Piece, None]:
        for run in self._layout.runs(start, stop):
            if run.data:
                yield run.data
            else:
                async for piece in _read(self._volume, run.offset, run.length):
                    yield piece


async def _read(volume: VolumeReader, start: int, length: int) -> AsyncIterator[Piece]:
    for at in range(start, start + length, PIECE_BYTES):
        yield await volume.read(at, min(PIECE_BYTES, start + length - at))


async def _zeros(length: int) -> AsyncIterator[Piece]:
    for at in range(0, length, PIECE_BYTES):
        yield memoryview(_ZEROS)[: min(PIECE_BYTES, length - at)]


def _tag(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
