"""A qcow2 image that is written nowhere: each of its bytes follows from which clusters of a disk hold something.

Header, refcounts and tables come first, then the clusters with data in the disk's order. So its length is known
before anything is read, any part of it can be made alone, and the same map gives the same bytes. One bit a cluster
is kept in memory: 4 MiB for 2 TiB.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

CLUSTER: Final = 64 << 10
_CLUSTER_BITS: Final = 16
_ENTRIES: Final = CLUSTER // 8
"""Of one table's cluster: of level 1, of level 2, of refcounts."""
_COUNTED: Final = CLUSTER // 2
"""Clusters that one cluster of refcounts has, at 16 bits each."""
_COPIED: Final = 1 << 63
_HEADER: Final = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_HEADER_BYTES: Final = 104
_TABLE_BYTES: Final = _ENTRIES // 8
"""Of the map, for one table of level 2."""


class ClusterMap:
    """Which clusters of a disk of ``size`` bytes hold something; all others read as zeros."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.clusters = -(-size // CLUSTER)
        self._bits = bytearray(-(-self.clusters // 8))
        self.bytes = len(self._bits)
        """That it takes."""

    def add(self, start: int, length: int) -> None:
        """There is something somewhere in these bytes."""
        first, last = start // CLUSTER, (start + length - 1) // CLUSTER
        while first <= last and first % 8:
            self._bits[first // 8] |= 1 << first % 8
            first += 1
        whole = max(0, last + 1 - first) // 8
        self._bits[first // 8 : first // 8 + whole] = b"\xff" * whole
        for cluster in range(first + 8 * whole, last + 1):
            self._bits[cluster // 8] |= 1 << cluster % 8

    def tables(self) -> Iterator[int]:
        """How many clusters each table of level 2 has."""
        for start in range(0, len(self._bits), _TABLE_BYTES):
            yield int.from_bytes(self._bits[start : start + _TABLE_BYTES], "little").bit_count()

    def of_table(self, table: int) -> Iterator[int]:
        """The clusters of the table of that number, in order."""
        start = table * _TABLE_BYTES
        for number, byte in enumerate(self._bits[start : start + _TABLE_BYTES], start):
            for bit in range(8) if byte else ():
                if byte >> bit & 1:
                    yield 8 * number + bit

    def digest(self) -> str:
        """Of all that the image's bytes before its data follow from."""
        return hashlib.sha256(self.size.to_bytes(8, "big") + self._bits).hexdigest()


@dataclass(frozen=True)
class Run:
    """Bytes that come one after the other: made here (``data``), or ``length`` of the disk's at ``offset``."""

    data: bytes = b""
    offset: int = 0
    length: int = 0


class Qcow2Layout:
    """Version 3, clusters of 64 KiB, no backing file."""

    def __init__(self, found: ClusterMap) -> None:
        """``found`` must not change any more."""
        self._map = found
        counts = list(found.tables())
        self._tables = [number for number, count in enumerate(counts) if count]
        """Those that there are."""
        self._before = [0, *accumulate(counts[number] for number in self._tables)]
        """Clusters with data before each of them, and in all."""
        self._l1_entries = max(1, len(counts))
        l1 = -(-self._l1_entries // _ENTRIES)
        content = 1 + l1 + len(self._tables) + self._before[-1]
        # Refcounts count themselves as well.
        self._blocks = self._block_table = 0
        while (needed := self._needed(content)) != (self._blocks, self._block_table):
            self._blocks, self._block_table = needed
        self._l1_at = 1 + self._block_table + self._blocks
        self._l2_at = self._l1_at + l1
        self._data_at = self._l2_at + len(self._tables)
        self._clusters = self._data_at + self._before[-1]
        self.size = self._clusters * CLUSTER
        """Bytes of the image."""

    def runs(self, start: int, stop: int) -> Iterator[Run]:
        """The image's bytes from ``start`` to ``stop``."""
        at = start
        while at < min(stop, self._data_at * CLUSTER):
            cluster, within = divmod(at, CLUSTER)
            data = self._metadata(cluster)[within : within + stop - at]
            yield Run(data=data)
            at += len(data)
        if at < stop:
            yield from self._data(at, stop)

    def _needed(self, content: int) -> tuple[int, int]:
        blocks = -(-(content + self._blocks + self._block_table) // _COUNTED)
        return blocks, -(-blocks // _ENTRIES)

    def _metadata(self, cluster: int) -> bytes:
        if cluster == 0:
            return self._header()
        if cluster <= self._block_table:
            first = (cluster - 1) * _ENTRIES
            numbers = range(first, min(first + _ENTRIES, self._blocks))
            return _packed((1 + self._block_table + number) * CLUSTER for number in numbers)
        if cluster < self._l1_at:
            first = (cluster - 1 - self._block_table) * _COUNTED
            return (b"\x00\x01" * max(0, min(_COUNTED, self._clusters - first))).ljust(CLUSTER, b"\x00")
        if cluster < self._l2_at:
            return self._level_1((cluster - self._l1_at) * _ENTRIES)
        return self._level_2(cluster - self._l2_at)

    def _header(self) -> bytes:
        return _HEADER.pack(
            b"QFI\xfb", 3, 0, 0, _CLUSTER_BITS, self._map.size, 0,
            self._l1_entries, self._l1_at * CLUSTER, CLUSTER, self._block_table, 0, 0,
            0, 0, 0, 4, _HEADER_BYTES,
        ).ljust(CLUSTER, b"\x00")  # fmt: skip

    def _level_1(self, first: int) -> bytes:
        entries = [0] * _ENTRIES
        for place, number in enumerate(self._tables):
            if first <= number < first + _ENTRIES:
                entries[number - first] = (self._l2_at + place) * CLUSTER | _COPIED
        return _packed(entries)

    def _level_2(self, place: int) -> bytes:
        entries, number = [0] * _ENTRIES, self._tables[place]
        first = self._data_at + self._before[place]
        for rank, cluster in enumerate(self._map.of_table(number)):
            entries[cluster - number * _ENTRIES] = (first + rank) * CLUSTER | _COPIED
        return _packed(entries)

    def _data(self, start: int, stop: int) -> Iterator[Run]:
        """Clusters that are neighbours on the disk come as one run, within a table."""
        at = start
        for place, number in enumerate(self._tables):
            begin = (self._data_at + self._before[place]) * CLUSTER
            end = (self._data_at + self._before[place + 1]) * CLUSTER
            if end <= at or begin >= stop:
                continue
            for first, count in _joined(self._map.of_table(number)):
                length = count * CLUSTER
                low, high = max(at, begin), min(stop, begin + length)
                if low < high:
                    yield from self._clipped(first * CLUSTER + low - begin, high - low)
                begin += length

    def _clipped(self, offset: int, length: int) -> Iterator[Run]:
        """The last cluster may reach beyond the disk's end: zeros follow there."""
        inside = max(0, min(length, self._map.size - offset))
        if inside:
            yield Run(offset=offset, length=inside)
        if inside < length:
            yield Run(data=bytes(length - inside))


def _joined(clusters: Iterator[int]) -> Iterator[tuple[int, int]]:
    """The first of those that follow each other, and how many."""
    first = count = 0
    for cluster in clusters:
        if count and cluster == first + count:
            count += 1
            continue
        if count:
            yield first, count
        first, count = cluster, 1
    if count:
        yield first, count


def _packed(entries: Iterable[int]) -> bytes:
    values = list(entries)
    return struct.pack(f">{len(values)}Q", *values).ljust(CLUSTER, b"\x00")
