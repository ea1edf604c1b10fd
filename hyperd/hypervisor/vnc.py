"""The byte stream of a guest's screen: QEMU's VNC server behind a socket that libvirt hands over.

No folder holds a VNC socket: libvirt passes one end of a socket pair, which is wrapped here for the event loop.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Protocol

from hyperd.hypervisor.socketstream import SocketStream


class Graphics(Protocol):
    """What opens a screen; the hypervisor connection does."""

    async def open_graphics_fd(self, uid: str) -> int:
        """A connected stream socket to the domain's VNC server; the caller owns the descriptor."""


class GraphicsStream(SocketStream):
    """One VNC connection; it ends when QEMU closes it."""

    @classmethod
    async def open(cls, graphics: Graphics, uid: str) -> GraphicsStream:
        """Connect. Raises what ``open_graphics_fd`` raises, and OSError when that is no socket."""
        descriptor = await graphics.open_graphics_fd(uid)
        try:
            connection = socket.socket(fileno=descriptor)
        except OSError:
            os.close(descriptor)
            raise
        connection.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        return cls(reader, writer)
