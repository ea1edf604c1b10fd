"""Writes a small CD-ROM image in memory, ISO 9660 with Joliet's long names: what a sysprep seed needs and no more.

The same files give the same bytes: all dates are one fixed day. In memory, so that passwords among the answers
never lie in a second place. By hand, for the reasons that ``fat`` gives; ``genisoimage`` would want them as files.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, count

SECTOR = 2048
MOST_CHARACTERS = 64
"""Of a name, as Joliet has them."""
MOST_FILES = 1000
_LARGEST = 8 << 20
_FIRST_DESCRIPTOR, _PATH_TABLES, _DIRECTORIES = 16, 19, 23
"""By sector: the descriptors of both trees and their end, two path tables of each, then their root directories."""
_PATH_TABLE_BYTES = 10
_JOLIET = b"%/E"
_DAY = bytes((80, 1, 1, 0, 0, 0, 0))
_LONG_DAY = b"1980010100000000\0"
_NO_DAY = b"0" * 16 + b"\0"
_FOLDER = 2
_PLAIN = re.compile(r"[A-Z0-9_]{1,26}(\.[A-Z0-9_]{1,3})?")


def volume(label: str, files: Mapping[str, bytes]) -> bytes:
    """An image called ``label`` with ``files`` in its root.

    ValueError where they are more than 8 MiB or ``MOST_FILES``, or a name is too long.
    """
    if sum(map(len, files.values())) > _LARGEST or len(files) > MOST_FILES:
        raise ValueError("the files do not fit the image")
    if too_long := [name for name in files if not 0 < len(name) <= MOST_CHARACTERS]:
        raise ValueError(f"{too_long[0]!r} is no name for a file of a CD-ROM")
    plain, joliet = _plain_names(files), {name: name.encode("utf-16-be") for name in files}
    plain_sectors, joliet_sectors = (sum(1 for _ in _packed(names.values())) for names in (plain, joliet))
    places, first = {}, _DIRECTORIES + plain_sectors + joliet_sectors
    end = first
    for name, data in files.items():
        places[name] = (end, len(data))
        end += _sectors(len(data))
    roots = (_DIRECTORIES, plain_sectors * SECTOR), (_DIRECTORIES + plain_sectors, joliet_sectors * SECTOR)
    image = [
        bytes(_FIRST_DESCRIPTOR * SECTOR),
        _descriptor(1, label.upper().encode("ascii"), b" ", b"", roots[0], _PATH_TABLES, end),
        _descriptor(2, label.encode("utf-16-be"), b"\0 ", _JOLIET, roots[1], _PATH_TABLES + 2, end),
        b"\xffCD001\1".ljust(SECTOR, b"\0"),
        *(_path_table(order, root[0]) for root in roots for order in "<>"),
        _directory(plain, places, roots[0]),
        _directory(joliet, places, roots[1]),
        *(data.ljust(_sectors(len(data)) * SECTOR, b"\0") for data in files.values()),
    ]
    return b"".join(image)


def _sectors(size: int) -> int:
    return -(-size // SECTOR)


def _plain_names(files: Iterable[str]) -> dict[str, bytes]:
    """What readers without Joliet see: the name in capitals where that is possible, else a number."""
    found: dict[str, bytes] = {}
    taken: set[bytes] = set()
    for number, name in enumerate(files, start=1):
        upper = name.upper()
        text = upper if _PLAIN.fullmatch(upper) else f"_{number}"
        identifier = f"{text if '.' in text else text + '.'};1".encode()
        numbered = (f"_{other}.;1".encode() for other in count(number))
        found[name] = next(one for one in chain((identifier,), numbered) if one not in taken)
        taken.add(found[name])
    return found


def _packed(names: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The names of a directory by its sectors, in order: no record crosses the border of one."""
    left, sector = SECTOR, [b"\0", b"\1"]
    left -= sum(map(_record_bytes, sector))
    for name in sorted(names):
        if (size := _record_bytes(name)) > left:
            yield sector
            left, sector = SECTOR, []
        sector.append(name)
        left -= size
    yield sector


def _record_bytes(name: bytes) -> int:
    return (33 + len(name) + 1) // 2 * 2


def _directory(names: Mapping[str, bytes], places: Mapping[str, tuple[int, int]], root: tuple[int, int]) -> bytes:
    by_identifier = {identifier: places[name] for name, identifier in names.items()}
    made = []
    for sector in _packed(by_identifier):
        records = (
            _record(name, *by_identifier[name]) if name in by_identifier else _record(name, *root, flags=_FOLDER)
            for name in sector
        )
        made.append(b"".join(records).ljust(SECTOR, b"\0"))
    return b"".join(made)


def _record(name: bytes, place: int, size: int, *, flags: int = 0) -> bytes:
    length = _record_bytes(name)
    head = struct.pack("<BB", length, 0) + _both(place) + _both(size) + _DAY
    return (head + struct.pack("<BBB", flags, 0, 0) + _both16(1) + bytes((len(name),)) + name).ljust(length, b"\0")


def _descriptor(
    type_: int, label: bytes, blank: bytes, escape: bytes, root: tuple[int, int], tables: int, sectors: int
) -> bytes:
    def text(value: bytes, size: int) -> bytes:
        return (value + blank * size)[: size // len(blank) * len(blank)].ljust(size, b"\0")

    parts = (
        bytes((type_,)), b"CD001", b"\1\0", text(b"", 32), text(label, 32), bytes(8), _both(sectors),
        escape.ljust(32, b"\0"), _both16(1), _both16(1), _both16(SECTOR), _both(_PATH_TABLE_BYTES),
        struct.pack("<II", tables, 0), struct.pack(">II", tables + 1, 0), _record(b"\0", *root, flags=_FOLDER),
        text(b"", 512), text(b"", 37) * 3, _LONG_DAY * 2, _NO_DAY * 2, b"\1",
    )  # fmt: skip
    return b"".join(parts).ljust(SECTOR, b"\0")


def _path_table(order: str, root: int) -> bytes:
    """One entry: there is no folder but the root."""
    return struct.pack(f"{order}BBIHBB", 1, 0, root, 1, 0, 0).ljust(SECTOR, b"\0")


def _both(value: int) -> bytes:
    return struct.pack("<I", value) + struct.pack(">I", value)


def _both16(value: int) -> bytes:
    return struct.pack("<H", value) + struct.pack(">H", value)
