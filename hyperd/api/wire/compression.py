"""gzip for large answers, where the client takes it and the bytes leave this process's host, or may.

On the unix socket copying is cheaper than compressing.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from aiohttp import web

HEADERS: Mapping[str, str] = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
_GZIP: Final = 16 + zlib.MAX_WBITS


def wanted(request: web.BaseRequest) -> bool:
    """Whether the answer to ``request`` should be compressed."""
    if not _accepts_gzip(request.headers.get("Accept-Encoding", "")):
        return False
    sock = request.transport.get_extra_info("socket") if request.transport is not None else None
    return sock is not None and sock.family != socket.AF_UNIX


@lru_cache(maxsize=64)
def _accepts_gzip(header: str) -> bool:
    for part in header.split(","):
        coding, *params = [piece.strip().lower() for piece in part.split(";")]
        if coding in ("gzip", "x-gzip"):
            return not any(param.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for param in params)
    return False


def compress(pieces: Iterable[bytes]) -> bytes:
    """Fast rather than small, like kube-apiserver; CPU-bound, so for a thread, which leaves the loop its time."""
    compressing = zlib.compressobj(1, wbits=_GZIP)
    done = [compressing.compress(piece) for piece in pieces]
    return b"".join((*done, compressing.flush()))
