"""The guard on qcow2 headers: the first line of defence, before QEMU touches an untrusted file.

A qcow2 may name other files (a backing file, an external data file) that QEMU would then open with the daemon's
rights. Nothing from outside may name a file: whatever refers beyond itself is refused here, by our own parser.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hyperd.errors import PermanentError
from hyperd.imagefile.detect import FAILED, QCOW2_MAGIC
from hyperd.imagefile.handle import DiskFormat, FileHandle

_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_V2_LENGTH = _HEADER.size
_V3_LENGTH = 104
_MAX_L1_BYTES = 32 << 20
_MAX_BACKING_BYTES = 1023
_OWN_HEAD_BYTES = 4096
"""More than QEMU's headers with their extensions take."""
_COMPRESSION_TYPE = 1 << 3
_EXTENDED_L2 = 1 << 4
_INCOMPATIBLE = {
    1 << 0: "was not closed cleanly (its dirty bit is set); run qemu-img check -r all on it",
    1 << 1: "is marked corrupt; run qemu-img check -r all on it",
    1 << 2: "keeps its data in an external file; convert it to a standalone qcow2",
}
_RAW_EXTERNAL_DATA = 1 << 1
_EXTENSION_BACKING_FORMAT = 0xE2792ACA
_EXTENSION_DATA_FILE = 0x44415441
_EXTENSION_ENCRYPTION = 0x0537BE77
_EXTENSION_BITMAPS = 0x23852875


@dataclass(frozen=True)
class Header:
    """What a sound header says. No file shorter than ``minimum_size`` can be whole."""

    virtual_size: int
    minimum_size: int


@dataclass(frozen=True)
class OwnHeader:
    """Of an image that only this host's QEMU has written; ``backing`` is the image that it overlays."""

    virtual_size: int
    backing: FileHandle | None


def read_own(file: BinaryIO) -> OwnHeader | None:
    """Of one of our own images, from its begin; None for what is no qcow2, or lacks its size or its base."""
    head = file.read(_OWN_HEAD_BYTES)
    if len(head) < _V2_LENGTH or not head.startswith(QCOW2_MAGIC):
        return None
    _, version, backing_offset, backing_length, cluster_bits, size, *_ = _HEADER.unpack_from(head)
    if not size or not 9 <= cluster_bits <= 21 or backing_offset >= 1 << cluster_bits:
        return None
    if not backing_offset:
        return OwnHeader(size, None)
    file.seek(backing_offset)
    backing = Path(os.fsdecode(file.read(min(backing_length, _MAX_BACKING_BYTES))))
    start = _V2_LENGTH if version == 2 or len(head) < _V3_LENGTH else int.from_bytes(head[100:104], "big")
    try:
        found = dict(_extensions(head, start, 1 << cluster_bits))
        format_ = DiskFormat(found.get(_EXTENSION_BACKING_FORMAT, b"").decode("ascii", "replace"))
    except (PermanentError, ValueError):
        return None
    return OwnHeader(size, FileHandle(backing, format_))


def guard(head: bytes, *, max_virtual_size: int) -> Header:
    """Parse the header at the start of ``head``; PermanentError unless it describes one standalone plain image."""
    if len(head) < _V2_LENGTH:
        raise _refusal("is cut short inside its header")
    (
        _, version, backing_offset, backing_length, cluster_bits, size, encryption, l1_entries, l1_offset,
        refcount_offset, refcount_clusters, snapshots, _,
    ) = _HEADER.unpack_from(head)  # fmt: skip
    if version not in (2, 3):
        raise _refusal(f"has version {version}; versions 2 and 3 are understood")
    if backing_offset or backing_length:
        raise _refusal("has a backing file; flatten it with qemu-img convert")
    if not 9 <= cluster_bits <= 21:
        raise _refusal(f"has clusters of 2^{cluster_bits} bytes; 2^9 to 2^21 are possible")
    if encryption:
        raise _refusal("is encrypted; decrypt it with qemu-img convert")
    if snapshots:
        raise _refusal(f"holds {snapshots} internal snapshots; remove them or convert the image")
    extended = False
    header_length = _V2_LENGTH
    if version == 3:
        extended, header_length = _guard_v3(head)
    _guard_size(size, max_virtual_size)
    cluster = 1 << cluster_bits
    _guard_l1(size, cluster=cluster, l1_entries=l1_entries, entry_bytes=16 if extended else 8)
    for kind, _data in _extensions(head, header_length, cluster):
        if kind == _EXTENSION_DATA_FILE:
            raise _refusal("names an external data file; convert it to a standalone qcow2")
        if kind == _EXTENSION_BITMAPS:
            # QEMU reads all of them into memory whenever the image is opened, by a guest as well.
            raise _refusal("carries dirty bitmaps of a backup; remove them with qemu-img bitmap --remove")
        if kind == _EXTENSION_ENCRYPTION:
            raise _refusal("is encrypted; decrypt it with qemu-img convert")
    return Header(size, max(l1_offset + 8 * l1_entries, refcount_offset + refcount_clusters * cluster))


def _guard_v3(head: bytes) -> tuple[bool, int]:
    """Whether L2 entries are extended, and where the header ends."""
    if len(head) < _V3_LENGTH:
        raise _refusal("is cut short inside its header")
    incompatible, _, autoclear, refcount_order, length = struct.unpack_from(">QQQII", head, 72)
    for bit, fault in _INCOMPATIBLE.items():
        if incompatible & bit:
            raise _refusal(fault)
    if incompatible & ~(_COMPRESSION_TYPE | _EXTENDED_L2):
        raise _refusal(f"needs features that are unknown here (incompatible bits {incompatible:#x})")
    if autoclear & _RAW_EXTERNAL_DATA:
        raise _refusal("keeps its data in an external file; convert it to a standalone qcow2")
    if refcount_order > 6 or length < _V3_LENGTH or length % 8:
        raise _refusal("has a damaged header")
    return bool(incompatible & _EXTENDED_L2), length


def _guard_size(size: int, max_virtual_size: int) -> None:
    if not size:
        raise _refusal("has a virtual size of zero")
    if size > max_virtual_size:
        raise _refusal(
            f"has a virtual size of {size} bytes, beyond the limit of {max_virtual_size} "
            "(setting imports.max_virtual_size_bytes)"
        )


def _guard_l1(size: int, *, cluster: int, l1_entries: int, entry_bytes: int) -> None:
    mapped_by_entry = cluster * (cluster // entry_bytes)
    if l1_entries * 8 > _MAX_L1_BYTES or l1_entries < -(-size // mapped_by_entry):
        raise _refusal("has a level-1 table that does not fit its size")


def _extensions(head: bytes, start: int, cluster: int) -> Iterator[tuple[int, bytes]]:
    position = start
    while position + 8 <= cluster:
        if position + 8 > len(head):
            raise _refusal("is cut short inside its header")
        kind, length = struct.unpack_from(">II", head, position)
        if not kind:
            return
        position += 8
        if position + length > min(len(head), cluster):
            raise _refusal("has a damaged header extension")
        yield kind, head[position : position + length]
        position += -(-length // 8) * 8


def _refusal(fault: str) -> PermanentError:
    return PermanentError(f"The qcow2 image {fault}.", key=FAILED)
