"""What keeps the daemon's memory small while many clients are connected."""

from __future__ import annotations

import ctypes
from asyncio import sslproto
from typing import Final

TLS_READ_BYTES: Final = 32 << 10
"""What is set aside to read from one TLS connection: two of the largest TLS records."""
_M_MMAP_THRESHOLD: Final = -3
_MMAP_BYTES: Final = 128 << 10


def keep_small() -> None:
    """Set this process up so that idle connections cost little, and what large answers took goes back.

    asyncio fills 256 KiB with zeros for every TLS connection, and a client that watches keeps its connection for
    hours. glibc begins with mapping every block from 128 KiB up on its own, but raises that limit to the largest
    such block that was freed, and from then on keeps them (mallopt(3)); a C library without ``mallopt`` does not.
    """
    sslproto.SSLProtocol.max_size = TLS_READ_BYTES
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
