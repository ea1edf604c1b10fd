"""What keeps the daemon small and quick while many clients are connected."""

from __future__ import annotations

import gc
from asyncio import sslproto
from typing import Final

TLS_READ_BYTES: Final = 32 << 10
"""What is set aside to read from one TLS connection: two of the largest TLS records."""


def keep_small() -> None:
    """Set this process up so that idle connections cost little.

    asyncio fills 256 KiB with zeros for every TLS connection, and a client that watches keeps its connection for
    hours.
    """
    sslproto.SSLProtocol.max_size = TLS_READ_BYTES


def settle() -> None:
    """Once all is started: what is there by now stays, and the collector need not look through it again and again.

    A full collection over the modules, kinds and objects of an idle daemon holds the event loop for 10 ms.
    """
    gc.collect()
    gc.freeze()
