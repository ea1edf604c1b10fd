"""Which clusters of disks hold something, remembered: who goes on with a transfer does not have it found anew.

What is found is worked on in threads, as a disk may be in a hundred thousand pieces in each GiB.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from hyperd.errors import BadRequest
from hyperd.imagefile.layout import ClusterMap, Qcow2Layout
from hyperd.imagefile.nbd import Extent
from hyperd.imagefile.reading import VolumeReader
from hyperd.shares import Shares

ASKED_BYTES: Final = 1 << 30
"""Of one question where holes are: what is told of it is worked on at once."""
MOST_DISK_BYTES: Final = 16 << 40
"""Of a disk that is exported as qcow2. A map has a bit for 64 KiB: 32 MiB for this."""
_REMEMBERED_BYTES: Final = 64 << 20
"""Of all maps."""
_AT_ONCE: Final = 2


class Maps:
    """Those of the last disks, by the tags of their contents."""

    def __init__(self) -> None:
        self._known = OrderedDict[str, tuple[Qcow2Layout, str, int]]()
        self._making: Shares[str] = Shares("maps of disks", _AT_ONCE, most=1, retry_after_seconds=10)

    async def of(self, volume: VolumeReader, tag: str, *, title: str, user: str) -> tuple[Qcow2Layout, str]:
        """The image, and a digest of its map; one at a time is made for each user. Raises BadRequest.

        ``tag`` is that of the volume's content, and ``title`` its name in sentences.
        """
        if volume.size > MOST_DISK_BYTES:
            raise BadRequest(
                f"{title} has {volume.size / (1 << 40):.1f} TiB, and disks of up to {MOST_DISK_BYTES >> 40} TiB "
                "are exported as qcow2. Export it as raw."
            )
        if tag not in self._known:
            with await self._making.acquire(user):
                if tag not in self._known:
                    self._remember(tag, *await _made(volume))
        self._known.move_to_end(tag)
        return self._known[tag][:2]

    def _remember(self, tag: str, layout: Qcow2Layout, digest: str, size: int) -> None:
        self._known[tag] = layout, digest, size
        while len(self._known) > 1 and sum(entry[2] for entry in self._known.values()) > _REMEMBERED_BYTES:
            self._known.popitem(last=False)


async def _made(volume: VolumeReader) -> tuple[Qcow2Layout, str, int]:
    found, at = ClusterMap(volume.size), 0
    while at < volume.size:
        told = await volume.extents(at, min(volume.size - at, ASKED_BYTES))
        at = await asyncio.to_thread(_marked, found, at, told)
    return await asyncio.to_thread(lambda: (Qcow2Layout(found), found.digest(), found.bytes))


def _marked(found: ClusterMap, at: int, told: Sequence[Extent]) -> int:
    """Where ``told`` ends, once it is in ``found``."""
    for length, zero in told:
        if not zero:
            found.add(at, length)
        at += length
    return at
