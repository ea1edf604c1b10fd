"""GOST R 34.11-2012, which hashlib lacks: by libgcrypt, which is on every Debian and knows it at C's speed.

About 20 MB a second, as the reference has it; Python packages of it are a hundred times slower or not kept up.
"""

from __future__ import annotations

import ctypes
import weakref
from functools import cache
from typing import Final

from hyperd.errors import TemporaryError
from hyperd.imagefile.detect import FAILED

_LIBRARY: Final = "libgcrypt.so.20"
_ALGORITHMS: Final = {"streebog256": (309, 32), "streebog512": (310, 64)}
"""libgcrypt's numbers, and the bytes of a digest."""
_DISABLE_SECURE_MEMORY, _INITIALIZED = 37, 38
NAMES: Final = tuple(_ALGORITHMS)


class Streebog:
    """As hashlib's objects; ``name`` is streebog256 or streebog512. Raises TemporaryError without the library."""

    def __init__(self, name: str) -> None:
        algorithm, self._size = _ALGORITHMS[name]
        self._library = _library()
        self._handle = ctypes.c_void_p()
        if self._library.gcry_md_open(ctypes.byref(self._handle), algorithm, 0):
            raise _missing(f"does not know {name}")
        weakref.finalize(self, self._library.gcry_md_close, self._handle)

    def update(self, data: bytes) -> None:
        """Lets other threads run meanwhile."""
        self._library.gcry_md_write(self._handle, data, len(data))

    def hexdigest(self) -> str:
        """Of what has come so far."""
        copy = ctypes.c_void_p()
        if self._library.gcry_md_copy(ctypes.byref(copy), self._handle):
            raise _missing("has no memory left")
        try:
            # Reading ends a context, so it is the copy's.
            return ctypes.string_at(self._library.gcry_md_read(copy, 0), self._size).hex()
        finally:
            self._library.gcry_md_close(copy)


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        raise _missing("is not installed") from None
    library.gcry_check_version.restype = ctypes.c_char_p
    library.gcry_md_open.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_uint]
    library.gcry_md_copy.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p]
    library.gcry_md_write.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.gcry_md_write.restype = None
    library.gcry_md_read.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.gcry_md_read.restype = ctypes.c_void_p
    library.gcry_md_close.argtypes = [ctypes.c_void_p]
    library.gcry_md_close.restype = None
    library.gcry_check_version(None)
    library.gcry_control(_DISABLE_SECURE_MEMORY, 0)
    library.gcry_control(_INITIALIZED, 0)
    return library


def _missing(why: str) -> TemporaryError:
    return TemporaryError(
        f"The checksum streebog cannot be verified on this node: {_LIBRARY} {why}; install Debian's libgcrypt20.",
        key=FAILED,
    )
