"""Writes a small FAT12 volume in memory: what a cloud-init seed needs and no more.

The same files give the same bytes: the dates are FAT's first day and the serial number is fixed. In memory, so
that secrets of the user data never lie in a second place. By hand, as pycdlib writes the time of day into an ISO
image, so that each start would write the seed anew, and keeps 1.6 MiB of the daemon's memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

_SECTOR = 512
_SECTORS_PER_CLUSTER = 4
_CLUSTER = _SECTOR * _SECTORS_PER_CLUSTER
_ROOT_ENTRIES = 64
_ENTRY = 32
_MAX_CLUSTERS = 4084
_SMALLEST = 1 << 20
_END_OF_CHAIN = 0xFFF
_FIRST_DAY = 0x0021
_ARCHIVE, _LABEL, _LONG_NAME = 0x20, 0x08, 0x0F
_CHARACTERS_PER_PART = 13


def volume(label: str, files: Mapping[str, bytes]) -> bytes:
    """A FAT12 image of at least 1 MiB holding ``files`` in its root; ValueError if they do not fit 8 MiB."""
    clusters = [-(-len(data) // _CLUSTER) for data in files.values()]
    size = max(_SMALLEST, -(-(sum(clusters) * _CLUSTER + (64 << 10)) // _SMALLEST) * _SMALLEST)
    sectors = size // _SECTOR
    if sectors // _SECTORS_PER_CLUSTER > _MAX_CLUSTERS:
        raise ValueError("the files do not fit a FAT12 volume")
    fat_sectors = -(-(sectors // _SECTORS_PER_CLUSTER + 2) * 3 // 2 // _SECTOR)
    chain, directory, data = _lay_out(label, files)
    fat = _pack_fat(chain).ljust(fat_sectors * _SECTOR, b"\0")
    root = directory.ljust(_ROOT_ENTRIES * _ENTRY, b"\0")
    return (_boot_sector(label, sectors, fat_sectors) + fat + fat + root + data).ljust(size, b"\0")


def _lay_out(label: str, files: Mapping[str, bytes]) -> tuple[list[int], bytes, bytes]:
    """The cluster chain, the root directory and the data area."""
    chain = [0xFF8, _END_OF_CHAIN]
    directory = struct.pack("<11sB10xHHHI", _padded(label), _LABEL, 0, _FIRST_DAY, 0, 0)
    data = b""
    for number, (name, content) in enumerate(files.items(), start=1):
        short = b"SEED~%-3d   " % number
        count = -(-len(content) // _CLUSTER)
        first = len(chain) if count else 0
        chain += [len(chain) + 1 + i for i in range(count - 1)] + [_END_OF_CHAIN] * bool(count)
        directory += b"".join(_long_name(name, short))
        directory += struct.pack(
            "<11sBBBHHHHHHHI",
            short, _ARCHIVE, 0, 0, 0, _FIRST_DAY, _FIRST_DAY, 0, 0, _FIRST_DAY, first, len(content),
        )  # fmt: skip
        data += content.ljust(count * _CLUSTER, b"\0")
    return chain, directory, data


def _long_name(name: str, short: bytes) -> Iterator[bytes]:
    """The entries before the short one, last part first, that hold the real name."""
    checksum = 0
    for byte in short:
        checksum = ((checksum >> 1) + ((checksum & 1) << 7) + byte) & 0xFF
    parts = -(-len(name) // _CHARACTERS_PER_PART)
    text = name if len(name) % _CHARACTERS_PER_PART == 0 else name + "\0"
    units = text.encode("utf-16-le").ljust(parts * _CHARACTERS_PER_PART * 2, b"\xff")
    for part in range(parts, 0, -1):
        piece = units[(part - 1) * 26 : part * 26]
        order = part | (0x40 if part == parts else 0)
        yield struct.pack(
            "<B10sBBB12sH4s", order, piece[:10], _LONG_NAME, 0, checksum, piece[10:22], 0, piece[22:]
        )


def _pack_fat(chain: list[int]) -> bytes:
    """12-bit entries, two in three bytes."""
    pairs = zip(chain[::2], [*chain[1::2], 0], strict=False)
    return b"".join(struct.pack("<I", low | high << 12)[:3] for low, high in pairs)


def _boot_sector(label: str, sectors: int, fat_sectors: int) -> bytes:
    head = struct.pack(
        "<3s8sHBHBHHBHHHII",
        b"\xeb\x3c\x90", b"MSDOS5.0", _SECTOR, _SECTORS_PER_CLUSTER, 1, 2, _ROOT_ENTRIES,
        sectors, 0xF8, fat_sectors, 32, 2, 0, 0,
    )  # fmt: skip
    head += struct.pack("<BBBI11s8s", 0x80, 0, 0x29, 0x68767365, _padded(label), b"FAT12   ")
    return head.ljust(_SECTOR - 2, b"\0") + b"\x55\xaa"


def _padded(label: str) -> bytes:
    return label.encode("ascii").ljust(11)[:11]
