"""The byte stream of a guest's screen: QEMU's VNC server behind a socket that libvirt hands over.

No folder holds a VNC socket: libvirt passes one end of a socket pair, which is wrapped here for the event loop.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol

from hyperd.hypervisor.console.stream import SocketStream


class Graphics(Protocol):
    """What opens a screen; the hypervisor connection does."""

    async def open_graphics(self, uid: str) -> socket.socket:
        """A connected stream socket to the domain's VNC server, for the caller to close."""


class GraphicsStream(SocketStream):
    """One VNC connection; it ends when QEMU closes it."""

    @classmethod
    async def open(cls, graphics: Graphics, uid: str) -> GraphicsStream:
        """Connect. Raises what ``open_graphics`` raises."""
        connection = await graphics.open_graphics(uid)
        connection.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        return cls(reader, writer)
