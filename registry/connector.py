"""A unix socket connection with room for whole blocks.

The default of 208 KiB makes client and registry wait for each other twelve times a block; on a busy machine, where
each turn waits for the scheduler, that cost a fifth of an import's time.
"""

from __future__ import annotations

import socket
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

_BUFFER_BYTES = 4 << 20
_SO_SNDBUFFORCE = 32
"""Beyond the system's limit, which CAP_NET_ADMIN may pass; not in Python's socket module."""


class WideUnixConnector(aiohttp.UnixConnector):
    """``aiohttp.UnixConnector`` with a large send buffer."""

    async def _create_connection(self, *args: Any, **kwargs: Any) -> ResponseHandler:
        protocol = await super()._create_connection(*args, **kwargs)
        if protocol.transport is not None:
            _widen(protocol.transport.get_extra_info("socket"))
        return protocol


def _widen(connected: Any) -> None:
    try:
        connected.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER_BYTES)
    except PermissionError:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
