"""The guard on VMDK and VDI: what they refer to and how far they expand, before QEMU touches them.

Both map guest blocks to places in the file by a table. A table that names more blocks than the file has room for
is damaged or a bomb: it says the same place many times, and a converter would write it as often.
"""

from __future__ import annotations

import os
import re
import struct
import sys
from array import array
from dataclasses import dataclass

from hyperd.errors import PermanentError
from hyperd.imagefile.detect import FAILED, ForeignFormat

_SECTOR = 512
_CLUSTER = 64 << 10
"""Of the qcow2 that is made: a smaller grain takes a whole one."""
_METADATA_BYTES = 16 << 20
_TEXT_BYTES = 20 * _SECTOR
_TEXT_OFFSET = 0x200
"""Where QEMU looks for the name of a parent, whatever the header says."""
_READ = 4 << 20
_AT_END = 0xFFFF_FFFF_FFFF_FFFF
_FOOTER_BYTES = 2 * _SECTOR
_COMPRESSED = 1 << 16
_EXTENT = re.compile(rb"^\s*(?:RW|RDONLY|NOACCESS)\s+\d+\s+(\w+)", re.MULTILINE)
_PARENT = re.compile(rb'parentFileNameHint|parentCID\s*=\s*"?(?!f{8})[0-9a-f]', re.IGNORECASE)
_VDI_BLOCK = 1 << 20
_VDI_FREE = (0xFFFF_FFFF, 0xFFFF_FFFE)


@dataclass(frozen=True)
class Expansion:
    """What the image unpacks to: its disk's size, and at most so many bytes of a qcow2."""

    virtual_size: int
    max_bytes: int


def guard(fd: int, kind: ForeignFormat, *, max_virtual_size: int) -> Expansion:
    """Judge the whole image behind ``fd``; PermanentError unless it is one standalone image of sane size.

    Reads the tables, at most once each: blocks for as long as the disk takes.
    """
    size = os.fstat(fd).st_size
    if kind is ForeignFormat.VMDK:
        return _guard_vmdk(fd, size, max_virtual_size)
    return _guard_vdi(fd, size, max_virtual_size)


def _guard_vmdk(fd: int, size: int, limit: int) -> Expansion:
    flags, capacity, grain, text_at, text_sectors, entries, tables_at = _sparse_header(fd, 0)
    if not capacity:
        raise _references(ForeignFormat.VMDK)
    if tables_at == _AT_END:
        flags, capacity, grain, *_, entries, tables_at = _sparse_header(fd, size - _FOOTER_BYTES)
    for offset, length in ((_TEXT_OFFSET, _TEXT_BYTES), (text_at * _SECTOR, text_sectors * _SECTOR)):
        _guard_descriptor(os.pread(fd, min(length, _TEXT_BYTES), min(offset, size)))
    _guard_size(ForeignFormat.VMDK, capacity * _SECTOR, limit)
    if entries != 512 or grain < 8 or grain & (grain - 1) or grain > 1 << 20:
        raise _refusal(ForeignFormat.VMDK, "has a damaged header")
    used = _used_grains(fd, size, tables_at * _SECTOR, count=-(-capacity // (grain * entries)), entries=entries)
    # Compressed or not, each takes at least a sector of its own.
    least = _SECTOR if flags & _COMPRESSED else grain * _SECTOR
    return _expansion(ForeignFormat.VMDK, size, capacity * _SECTOR, used=used, least=least, block=grain * _SECTOR)


def _sparse_header(fd: int, offset: int) -> tuple[int, int, int, int, int, int, int]:
    """Flags, capacity, grain size, descriptor's offset and length, entries in a table, offset of the directory."""
    head = os.pread(fd, 72, max(offset, 0))
    if len(head) < 72 or not head.startswith(b"KDMV"):
        raise _refusal(ForeignFormat.VMDK, "is cut short")
    _, _, flags, capacity, grain, text_at, text_sectors, entries, _, tables_at = struct.unpack_from(
        "<4sIIQQQQIQQ", head
    )
    return flags, capacity, grain, text_at, text_sectors, entries, tables_at


def _guard_descriptor(text: bytes) -> None:
    extents = _EXTENT.findall(text)
    if _PARENT.search(text) or len(extents) > 1 or any(kind.upper() != b"SPARSE" for kind in extents):
        raise _references(ForeignFormat.VMDK)


def _used_grains(fd: int, size: int, directory_at: int, *, count: int, entries: int) -> int:
    """How many grains the ``count`` tables map; a table that is named twice counts twice."""
    known: dict[int, int] = {0: 0}
    used = 0
    for start in range(0, count * 4, _READ):
        for table in _table(fd, directory_at + start, min(_READ, count * 4 - start), size):
            if table not in known:
                found = _table(fd, table * _SECTOR, entries * 4, size)
                known[table] = len(found) - found.count(0) - found.count(1)
            used += known[table]
    return used


def _guard_vdi(fd: int, size: int, limit: int) -> Expansion:
    head = os.pread(fd, 0x1C8, 0)
    if len(head) < 0x1C8:
        raise _refusal(ForeignFormat.VDI, "is cut short")
    (version,) = struct.unpack_from("<I", head, 0x44)
    (type_,) = struct.unpack_from("<I", head, 0x4C)
    (map_at,) = struct.unpack_from("<I", head, 0x154)
    virtual_size, block, _, blocks = struct.unpack_from("<QIII", head, 0x170)
    if version != 0x10001 or type_ not in (1, 2, 4):
        raise _refusal(ForeignFormat.VDI, "is of a version or type that is not understood; convert it to qcow2")
    if type_ == 4 or any(head[0x1A8:0x1C8]):
        raise _references(ForeignFormat.VDI)
    _guard_size(ForeignFormat.VDI, virtual_size, limit)
    if block != _VDI_BLOCK or blocks != -(-virtual_size // block):
        raise _refusal(ForeignFormat.VDI, "has a damaged header")
    used = 0
    for start in range(0, blocks * 4, _READ):
        found = _table(fd, map_at + start, min(_READ, blocks * 4 - start), size)
        used += len(found) - sum(found.count(free) for free in _VDI_FREE)
    return _expansion(ForeignFormat.VDI, size, virtual_size, used=used, least=block, block=block)


def _expansion(
    kind: ForeignFormat, size: int, virtual_size: int, *, used: int, least: int, block: int
) -> Expansion:
    """``used`` blocks of ``block`` bytes, each of which takes at least ``least`` bytes of the file."""
    # The last one may be shorter.
    if (used - 1) * least > size:
        raise _refusal(
            kind,
            f"names {used} blocks of {block} bytes, for which its {size} bytes have no room: it is damaged, or "
            "made to fill the disk",
        )
    return Expansion(virtual_size, used * max(block, _CLUSTER) + virtual_size // 1024 + _METADATA_BYTES)


def _table(fd: int, offset: int, length: int, size: int) -> array[int]:
    """A table of 32-bit little-endian numbers that lies wholly in the file."""
    if offset + length > size:
        raise PermanentError("The image is cut short: a table lies beyond its end.", key=FAILED)
    found = array("I")
    found.frombytes(os.pread(fd, length, offset))
    if sys.byteorder == "big":
        found.byteswap()
    return found


def _guard_size(kind: ForeignFormat, size: int, limit: int) -> None:
    if not size:
        raise _refusal(kind, "has a virtual size of zero")
    if size > limit:
        raise _refusal(
            kind,
            f"has a virtual size of {size} bytes, beyond the limit of {limit} "
            "(setting imports.max_virtual_size_bytes)",
        )


def _references(kind: ForeignFormat) -> PermanentError:
    return _refusal(kind, "refers to other files; export it as one standalone image, or as qcow2")


def _refusal(kind: ForeignFormat, fault: str) -> PermanentError:
    return PermanentError(f"The {kind} image {fault}.", key=FAILED)
