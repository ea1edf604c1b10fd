"""Where the bytes of a block device are, and how they are to be read: what storage gives and a hypervisor takes.

The three kinds are those of libvirt's disk sources. A format is always said, never probed: a guest could write
another format's header into its disk. Handles compare by value, and their text is for people.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class DiskFormat(StrEnum):
    """The values are QEMU's driver names."""

    QCOW2 = "qcow2"
    RAW = "raw"


@dataclass(frozen=True, slots=True)
class FileHandle:
    """A regular file of this host; ``path`` is absolute.

    ``below`` is said where what the file overlays is not to be taken from its header; it tells no files apart.
    """

    path: Path
    format: DiskFormat
    below: FileHandle | NbdHandle | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class BlockHandle:
    """A block device of this host, as ``/dev/…`` names it."""

    path: Path
    format: DiskFormat

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class NbdHandle:
    """An export ``name`` of an NBD server that listens on ``socket``, a unix socket of this host."""

    socket: Path
    name: str
    format: DiskFormat

    def __str__(self) -> str:
        return f"nbd+unix:///{self.name}?socket={self.socket}"


Handle = FileHandle | BlockHandle | NbdHandle
