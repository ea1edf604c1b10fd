"""What a guest's serial console said, from the log that virtlogd writes; also of a guest that is off.

virtlogd rotates by renaming (``x.log`` → ``x.log.0`` → ``x.log.1``…); others truncate. A reader follows both.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from hyperd import clock

_BLOCK = 64 << 10
_POLL_SECONDS = 0.2
_GONE_SECONDS = 3.0
"""A log that is missing so long after it was there has been removed, not rotated."""
_MAX_BACKUPS = 20


async def read_log(path: Path, *, lines: int | None = None, follow: bool = False) -> AsyncGenerator[bytes, None]:
    """The log's bytes, oldest first: all that is kept, or the last ``lines`` lines.

    With ``follow`` it goes on with what comes, waits for a log that is not there yet, and ends when the log has
    been removed. Without, a missing log is empty.
    """
    log = _Log(path)
    try:
        for piece in await asyncio.to_thread(log.begin, lines):
            yield piece
        while pieces := await asyncio.to_thread(log.more):
            for piece in pieces:
                yield piece
        while follow and not log.removed:
            pieces = await asyncio.to_thread(log.more)
            for piece in pieces:
                yield piece
            if not pieces:
                await asyncio.sleep(_POLL_SECONDS)
    finally:
        log.close()


def tail_bytes(path: Path, limit: int) -> bytes:
    """The last ``limit`` bytes of the current log. Blocking."""
    file = _open(path)
    if file is None:
        return b""
    with file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
        return file.read(limit)


class _Log:
    """A place in a log that may rotate. Blocking."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._seen = False
        self._missing_since = 0.0

    @property
    def removed(self) -> bool:
        return bool(self._missing_since) and clock.elapsed() - self._missing_since > _GONE_SECONDS

    def begin(self, lines: int | None) -> Iterator[bytes]:
        """What the rotated files hold of what is asked for; then ``more`` begins in the current file."""
        self._file = _open(self._path)
        self._seen = self._file is not None
        start, wanted = 0, lines
        if self._file is not None and wanted is not None:
            start, wanted = _last_lines(self._file, wanted)
            self._file.seek(start)
        return iter(self._backups(wanted) if wanted is None or (wanted and not start) else ())

    def _backups(self, lines: int | None) -> list[bytes]:
        """Rotated files, oldest first. virtlogd keeps a few of 2 MiB."""
        pieces: list[bytes] = []
        with ExitStack() as stack:
            for number in range(_MAX_BACKUPS):
                file = _open(self._path.with_name(f"{self._path.name}.{number}"))
                if file is None or lines == 0:
                    break
                stack.enter_context(file)
                start = 0
                if lines is not None:
                    start, lines = _last_lines(file, lines)
                file.seek(start)
                pieces.insert(0, file.read())
        return pieces

    def more(self) -> list[bytes]:
        """The next piece, if there is one; goes over to the new file after a rotation."""
        if self._file is None:
            self._file = _open(self._path)
            self._note_presence(present=self._file is not None)
        if self._file is None:
            return []
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
        data = self._file.read(_BLOCK)
        if not data and not self._current(self._file):
            # The writer may have written between our read and its rename.
            data = self._file.read(_BLOCK)
            if not data:
                self._file.close()
                self._file = None
                return self.more() if self._path.exists() else []
        return [data] if data else []

    def _current(self, file: BinaryIO) -> bool:
        """Whether the open file is still the one of that name."""
        opened = os.fstat(file.fileno())
        try:
            named = self._path.lstat()
        except OSError:
            self._note_presence(present=False)
            return False
        self._note_presence(present=True)
        return (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)

    def _note_presence(self, *, present: bool) -> None:
        if present:
            self._seen, self._missing_since = True, 0.0
        elif self._seen and not self._missing_since:
            self._missing_since = clock.elapsed()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _open(path: Path) -> BinaryIO | None:
    """The regular file of that name, no link; None when there is none that may be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return open(descriptor, "rb", buffering=0)


def _last_lines(file: BinaryIO, lines: int) -> tuple[int, int]:
    """Where the last ``lines`` lines begin, and how many are still missing when the file has fewer."""
    end = os.fstat(file.fileno()).st_size
    if lines <= 0:
        return end, 0
    position, first = end, True
    while position > 0:
        size = min(_BLOCK, position)
        position -= size
        file.seek(position)
        block = file.read(size)
        cut = len(block) - 1 if first and block.endswith(b"\n") else len(block)
        first = False
        while (cut := block.rfind(b"\n", 0, cut)) >= 0:
            lines -= 1
            if lines == 0:
                return position + cut + 1, 0
    return 0, lines - 1 if end else lines
