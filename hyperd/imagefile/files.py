"""Durable steps on files, each in one place: a name appears whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hyperd.errors import TemporaryError

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


def publish(made: Path, path: Path) -> None:
    """Give the finished file ``made`` its name, surviving a power cut."""
    fd = os.open(made, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(made, path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make names in ``path`` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def full_disk_is_temporary(what: str) -> Iterator[None]:
    """Turn ENOSPC and EDQUOT into TemporaryError: it heals when someone makes room."""
    try:
        yield
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TemporaryError(f"{what}: no space left on {err.filename or 'the disk'}.") from err
        raise
