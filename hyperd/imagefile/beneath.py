"""Opening what is beneath a folder that others write to, without being led out of it.

A Pod's volume is its Pod's: a name in it may be a link to anywhere, and another one a moment later. The kernel
itself (``openat2``) refuses each that leads elsewhere.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path, PurePosixPath

_LIBC = ctypes.CDLL(None, use_errno=True)
_OPENAT2 = 437
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08


def open_beneath(folder: Path, name: PurePosixPath | str, flags: int, *, mode: int = 0) -> int:
    """A descriptor of ``name`` beneath ``folder``, no part of whose name is a link. Raises OSError.

    ``mode`` is that of a file that the flags make.
    """
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, _NO_MAGICLINKS | _NO_SYMLINKS | _BENEATH)
    directory = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found: int = _LIBC.syscall(_OPENAT2, directory, str(name).encode(), how, len(how))
        if found < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder / name))
        return found
    finally:
        os.close(directory)
