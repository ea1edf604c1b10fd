"""The files and devices that a volume is made of, opened for reading: what a confined program is given of it."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile.detect import FAILED
from hyperd.imagefile.handle import BlockHandle, FileHandle, Handle
from hyperd.imagefile.qemuimg import Layer

_FIRST_FD = 10
"""Below it a shell may use what it was given for something else."""


@contextmanager
def opened(handles: Sequence[Handle]) -> Iterator[Sequence[Layer]]:
    """The volume and what it overlays, in this order, until the block ends. Blocks for some calls."""
    layers: list[Layer] = []
    try:
        for handle in handles:
            if not isinstance(handle, FileHandle | BlockHandle):
                raise PermanentError(f"{handle} cannot be read here: it is no file of this node.", key=FAILED)
            layers.append(Layer(_open(handle), handle.format, device=isinstance(handle, BlockHandle)))
        yield layers
    finally:
        for layer in layers:
            os.close(layer.fd)


def _open(handle: FileHandle | BlockHandle) -> int:
    right = stat.S_ISREG if isinstance(handle, FileHandle) else stat.S_ISBLK
    try:
        fd = os.open(handle.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as err:
        raise TemporaryError(f"{handle} cannot be read: {err.strerror}.", key=FAILED) from err
    try:
        if right(os.fstat(fd).st_mode):
            return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FD)
    finally:
        os.close(fd)
    raise PermanentError(f"{handle} is not what its name says.", key=FAILED)
