"""Blocks held for the store, so that a disk which guests have filled still takes what the daemon has to say of it.

The blocks lie behind the ends of the file and of its WAL (``fallocate`` with ``FALLOC_FL_KEEP_SIZE``): neither
grows by it, and SQLite moves into them as it needs them.
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Iterator
from pathlib import Path

SPARE_BYTES = 8 << 20
"""Behind the end of the file, and for the whole WAL, which SQLite folds into the file every 4 MiB."""

_KEEP_SIZE = 1
_log = logging.getLogger(__name__)
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong)


def hold(path: Path) -> None:
    """Hold blocks for the store at ``path``, which this process has open. What cannot be held is no error."""
    wal = f"{path}-wal"
    try:
        for fd, name in _open_files():
            if name in (str(path), wal):
                end = os.fstat(fd).st_size + SPARE_BYTES if name != wal else SPARE_BYTES
                if _libc.fallocate(fd, _KEEP_SIZE, 0, end) != 0:
                    _log.debug("No blocks are held for %s: %s.", name, os.strerror(ctypes.get_errno()))
    except OSError as err:
        # No descriptor may be left to look with; the store works without the blocks.
        _log.debug("No blocks are held for %s: %s.", path, err)


def _open_files() -> Iterator[tuple[int, str]]:
    """SQLite's own descriptors: to close another one of the same file would drop its locks."""
    for entry in os.listdir("/proc/self/fd"):
        try:
            yield int(entry), os.readlink(f"/proc/self/fd/{entry}")
        except FileNotFoundError:
            continue
