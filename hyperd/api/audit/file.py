"""A file of lines that is rotated by size, and of which so many old ones are kept."""

from __future__ import annotations

import os
from pathlib import Path


class RotatingFile:
    """Appends whole lines. Blocking; for one thread."""

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._descriptor = -1
        self._size = 0
        self._torn = False

    def write(self, line: bytes) -> None:
        """Append ``line``, which ends with a newline. Raises OSError."""
        if self._descriptor >= 0 and self._size and self._size + len(line) > self._max_bytes:
            self._rotate()
        if self._descriptor < 0:
            self._open()
        if self._torn:
            # A write that failed in its middle, or a crash, left half a line.
            line = b"\n" + line
        while line:
            sent = os.write(self._descriptor, line)
            self._size += sent
            line = line[sent:]
            self._torn = bool(line)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._descriptor).st_size
        self._torn = self._size > 0 and os.pread(self._descriptor, 1, self._size - 1) != b"\n"

    def _rotate(self) -> None:
        self.close()
        name, keep = self.path.name, self._keep
        names = [self.path, *(self.path.with_name(f"{name}.{number}") for number in range(1, keep + 1))]
        for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
            if newer.exists():
                newer.replace(older)
        if keep == 0:
            self.path.unlink(missing_ok=True)
