"""An initramfs archive (cpio "newc") written without root: owners and device nodes are only bytes here.

The same tree gives the same bytes: inode numbers count up, times are zero, names are sorted.
"""

from __future__ import annotations

import gzip
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Node:
    """One entry. ``mode`` carries the file type, ``device`` the major and minor number of a node."""

    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


class Archive:
    """Collects entries by their path in the guest, parents first made as needed."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}

    def directory(self, path: str, permissions: int = 0o755) -> None:
        self._parents(path)
        self._nodes[path] = Node(stat.S_IFDIR | permissions)

    def file(self, path: str, data: bytes, *, executable: bool = False) -> None:
        self._parents(path)
        self._nodes[path] = Node(stat.S_IFREG | (0o755 if executable else 0o644), data)

    def symlink(self, path: str, target: str) -> None:
        self._parents(path)
        self._nodes[path] = Node(stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, path: str, major: int, minor: int) -> None:
        self._parents(path)
        self._nodes[path] = Node(stat.S_IFCHR | 0o600, device=(major, minor))

    def tree(self, source: Path) -> None:
        """Add all files below ``source`` at the same place in the guest."""
        for file in sorted(source.rglob("*")):
            if file.is_file():
                executable = bool(file.stat().st_mode & stat.S_IXUSR)
                self.file(str(file.relative_to(source)), file.read_bytes(), executable=executable)

    def compressed(self) -> bytes:
        """The archive as the kernel takes it, gzip-compressed."""
        entries = [
            _entry(number, path, node) for number, (path, node) in enumerate(sorted(self._nodes.items()), 1)
        ]
        entries.append(_entry(0, "TRAILER!!!", Node(0)))
        return gzip.compress(b"".join(entries), compresslevel=9, mtime=0)

    def _parents(self, path: str) -> None:
        for parent in reversed(Path(path).parents):
            if str(parent) != ".":
                self._nodes.setdefault(str(parent), Node(stat.S_IFDIR | 0o755))


def _entry(number: int, path: str, node: Node) -> bytes:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(node.mode) else 1
    fields = (number, node.mode, 0, 0, links, 0, len(node.data), 0, 0, *node.device, len(name), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields)
    return _padded(header + name) + _padded(node.data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
