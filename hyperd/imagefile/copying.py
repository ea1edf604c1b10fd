"""What a volume of this node holds, as one plain image in a file: whatever the volume is made of.

The files are read by a converter that sees them and nothing else. Their formats and their order are said to it:
what a guest's QEMU wrote into a header names no file that is then opened.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hyperd import clock
from hyperd.background import to_the_end
from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile import devices, files, qcow2
from hyperd.imagefile.detect import FAILED
from hyperd.imagefile.growth import Device, Growth
from hyperd.imagefile.handle import DiskFormat, Handle
from hyperd.imagefile.layers import opened
from hyperd.imagefile.qemuimg import Layer, QemuImg, allocated, unwritten
from hyperd.progress import Progress, Report

_METADATA_BYTES: Final = 16 << 20
_METADATA_SHARE: Final = 1024
_COPIED: Final = 0.7
"""How much of the work is done once all is copied; the rest is the comparison."""


def largest(size: int) -> int:
    """Bytes that a qcow2 of ``size`` may have."""
    return size + size // _METADATA_SHARE + _METADATA_BYTES


async def copy(
    tools: QemuImg, handles: Sequence[Handle], made: Path, *, output: DiskFormat, reserve: int, report: Report
) -> int:
    """What ``handles`` hold, the top first, in the new file ``made``, compared with it; returns its virtual size.

    Nobody may write to them meanwhile: TemporaryError where a guest does. ``reserve`` bytes stay free.
    """
    target = await to_the_end(os.open, made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with opened(handles) as layers:
            size = await asyncio.to_thread(virtual_size, layers[0])
            most = size if output is DiskFormat.RAW else largest(size)
            growth = Growth(
                target, max_bytes=most, folder=made.parent, reserve=reserve, sparse=output is DiskFormat.RAW
            )
            total = min(size, allocated(layer.fd for layer in layers))
            await asyncio.to_thread(_require_room, made.parent, reserve, total)
            meter = _Meter(total, report)
            with unwritten(layers):
                await tools.flatten(layers, target, output=output, growth=growth, written=meter.copied)
                meter.compares()
                await tools.compare(layers, Layer(target, output))
            return size
    finally:
        os.close(target)


async def copy_into(tools: QemuImg, handles: Sequence[Handle], device: Path, *, report: Report) -> None:
    """Likewise, into a block device that is full of zeros, at least as large, and open to nobody else."""
    target = await to_the_end(os.open, device, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    try:
        with opened(handles) as layers:
            place = Device(target, devices.size(target))
            meter = _Meter(allocated(layer.fd for layer in layers), report)
            with unwritten(layers):
                await tools.flatten(layers, target, output=DiskFormat.RAW, growth=place, written=meter.copied)
                await to_the_end(os.fsync, target)
                meter.compares()
                await tools.compare(layers, Layer(target, DiskFormat.RAW, device=True))
    finally:
        os.close(target)


def _require_room(folder: Path, reserve: int, total: int) -> None:
    free = files.free_bytes(folder) - reserve
    if free < total:
        raise TemporaryError(
            f"No room in {folder} for a volume that takes {total} bytes: it may take {max(0, free)}, as {reserve} "
            "must stay free (setting storage.reserve_bytes).",
            key=FAILED,
        )


class _Meter:
    """Tells how far a copy is, of about ``total`` bytes."""

    def __init__(self, total: int, report: Report) -> None:
        self._total, self._report = max(total, 1), report
        self._began = self._last = clock.elapsed()
        self._had = 0

    def copied(self, count: int) -> None:
        """So many bytes by now."""
        now = clock.elapsed()
        current = max(0, count - self._had) / max(now - self._last, 0.001)
        self._had, self._last = max(count, self._had), now
        self._tell(_COPIED * min(1.0, self._had / self._total), int(current))

    def compares(self) -> None:
        """All is copied."""
        self._tell(_COPIED, 0)

    def _tell(self, fraction: float, current: int) -> None:
        average = int(self._had / max(clock.elapsed() - self._began, 0.001))
        self._report(Progress(fraction, self._had, average, current))


def virtual_size(layer: Layer) -> int:
    """Bytes of the disk that the layer is; blocks for a read."""
    if layer.format is DiskFormat.RAW:
        return os.lseek(layer.fd, 0, os.SEEK_END)
    with os.fdopen(os.dup(layer.fd), "rb") as file:
        file.seek(0)
        header = qcow2.read_own(file)
    if header is None:
        raise PermanentError("The volume is damaged: it is no qcow2 image.", key=FAILED)
    return header.virtual_size
