"""Opening a guest's serial socket without being led elsewhere.

The folder must be the daemon's alone, the entry a socket and not a link to one, and what was checked is what is
connected to: by descriptor, not by name a second time. That also lifts the 108-byte limit of socket paths.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from hyperd.errors import ServiceUnavailable


def connect(folder: Path, name: str) -> socket.socket:
    """A connected, non-blocking socket. Blocking meanwhile. Raises ServiceUnavailable with a sentence."""
    try:
        directory = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _check_folder(folder, os.fstat(directory))
            entry = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise ServiceUnavailable(
            f"The serial console {folder / name} cannot be opened: {error.strerror}."
        ) from error
    try:
        if not stat.S_ISSOCK(os.fstat(entry).st_mode):
            raise ServiceUnavailable(f"The serial console {folder / name} is not a socket; it is left alone.")
        return _connect(entry, folder / name)
    finally:
        os.close(entry)


def _check_folder(folder: Path, found: os.stat_result) -> None:
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ServiceUnavailable(
            f"Others than root may write to {folder}, so no serial console is opened there."
            f" Set it right with: chown root {folder} && chmod 0711 {folder}"
        )


def _connect(entry: int, path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # Without blocking, a unix socket is connected at once or not at all; else a full backlog is waited out.
        connection.setblocking(False)
        connection.connect(f"/proc/self/fd/{entry}")
    except BlockingIOError:
        connection.close()
        raise ServiceUnavailable(
            f"The serial console {path} is taken: QEMU serves one client at a time, and another program than "
            "hyperd is connected to it."
        ) from None
    except OSError as error:
        connection.close()
        raise ServiceUnavailable(f"The serial console {path} does not answer: {error}.") from error
    return connection
