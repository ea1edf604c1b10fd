"""Durable steps on files, each in one place: a name appears whole or not at all."""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hyperd.errors import TemporaryError

_log = logging.getLogger(__name__)
TEMPORARY_SUFFIX = ".new"


def temporary(path: Path) -> Path:
    """Where ``path`` is made before it gets its name."""
    return path.with_name(f".{path.name}{TEMPORARY_SUFFIX}")


def is_temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(TEMPORARY_SUFFIX)


def folder(path: Path) -> Path:
    """Make ``path`` if need be: QEMU's user may pass through it, nobody may list it."""
    path.mkdir(parents=True, exist_ok=True, mode=0o711)
    return path


def free_bytes(path: Path) -> int:
    """What may still be written to the file system of ``path``."""
    usage = os.statvfs(path)
    return usage.f_bavail * usage.f_frsize


@contextmanager
def full_disk_is_temporary(what: str) -> Iterator[None]:
    """Turn ENOSPC and EDQUOT into TemporaryError: it heals when someone makes room."""
    try:
        yield
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TemporaryError(f"{what}: no space left on {err.filename or 'the disk'}.") from err
        raise


def open_regular(path: Path) -> BinaryIO:
    """Open for reading. OSError (EINVAL) for what is no file: a FIFO would hold its reader."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def named(folder: Path, name: re.Pattern[str], *, sockets: bool = False) -> list[Path]:
    """The files of ``folder`` (or sockets) whose whole name matches, sorted; none when there is no folder.

    Anybody with root's rights may put anything there. What is odd is skipped, and told once: a name of no meaning
    here, a type that is none of ours, what cannot be looked at. Hidden names are not looked at.
    """
    right = stat.S_ISSOCK if sockets else stat.S_ISREG
    found = []
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as err:
        _tell(folder, f"cannot be listed ({err.strerror})")
        return []
    for each in names:
        path = folder / each
        if each.startswith("."):
            continue
        if not name.fullmatch(each):
            _tell(path, "is none of hyperd's by its name")
            continue
        try:
            if right(os.stat(path).st_mode):
                found.append(path)
            else:
                _tell(path, "is not what its name says")
        except FileNotFoundError:
            if path.is_symlink():
                _tell(path, "leads nowhere")
        except OSError as err:
            _tell(path, f"cannot be looked at ({err.strerror})")
    return found


def unlink(path: Path) -> None:
    """Remove a file; nothing to do is fine, and what is no file stays, told once."""
    try:
        path.unlink(missing_ok=True)
    except OSError as err:
        _tell(path, f"cannot be removed ({err.strerror})")


def _tell(path: Path, what: str) -> None:
    if len(_reported) < _REPORT_LIMIT and (path, what) not in _reported:
        _reported.add((path, what))
        _log.warning("%a %s; it is left alone.", str(path), what)


_reported: set[tuple[Path, str]] = set()
_REPORT_LIMIT = 1000
