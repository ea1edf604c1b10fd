"""SQLite's write-ahead log, read as bytes: whether commits lie behind the place where SQLite stops reading.

SQLite takes the first frame whose checksum is wrong for the torn end of the log. After a power cut it is. Where a
byte has flipped in the middle it is not, and commits that were acknowledged would vanish without a word. A torn
commit is always the last one, since each is synced before the next begins; so a frame that continues behind a
later commit mark tells the two apart. https://sqlite.org/walformat.html
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_MAGIC = 0x377F0682
"""The lowest bit says that checksums are over big-endian words."""
_USUAL_PAGE = 4096

Sum = tuple[int, int]


@dataclass(frozen=True)
class _Frame:
    page: int
    commit: int
    """Pages of the database after the commit; 0 on a frame that ends none."""
    salts: Sum
    sum: Sum
    body: bytes
    """What the checksum covers: the first eight bytes of the head, and the page."""


def lost_commits(path: Path, known: int) -> bool:
    """Whether the log at ``path`` holds commits behind its first ``known`` frames, which SQLite takes for all."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            return False
        magic, _, page_size, _, *rest = _HEADER.unpack(head)
        salts, written = (rest[0], rest[1]), (rest[2], rest[3])
        big = bool(magic & 1) if magic | 1 == _MAGIC | 1 else sys.byteorder == "big"
        if not known and _checksum(head[:24], (0, 0), big) != written:
            # The head is synced before the first frame: with frames behind it, it was good once.
            first = _read(file, 0, _USUAL_PAGE)
            return first is not None and first.page > 0
        return _continues(file, known, page_size, salts, written, big)


def _continues(file: BinaryIO, known: int, page_size: int, salts: Sum, start: Sum, big: bool) -> bool:
    """Whether a frame follows a commit behind the first ``known`` ones."""
    last = _read(file, known - 1, page_size) if known else None
    written = last.sum if last is not None else start
    ends: set[Sum] = set()
    number = known
    while (frame := _read(file, number, page_size)) is not None:
        if frame.salts == salts and any(_checksum(frame.body, end, big) == frame.sum for end in ends):
            return True
        # What a frame behind this commit continues: its checksum as written, or as it should have been written.
        ends = {frame.sum, _checksum(frame.body, written, big)} if frame.commit else set()
        written = frame.sum
        number += 1
    return False


def _read(file: BinaryIO, number: int, page_size: int) -> _Frame | None:
    size = _FRAME.size + page_size
    file.seek(_HEADER.size + number * size)
    data = file.read(size)
    if len(data) < size:
        return None
    page, commit, salt1, salt2, sum1, sum2 = _FRAME.unpack_from(data)
    return _Frame(page, commit, (salt1, salt2), (sum1, sum2), data[:8] + data[_FRAME.size :])


def _checksum(data: bytes, start: Sum, big: bool) -> Sum:
    low, high = start
    words = struct.unpack(f"{'>' if big else '<'}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        low = (low + even + high) & 0xFFFFFFFF
        high = (high + odd + low) & 0xFFFFFFFF
    return low, high
