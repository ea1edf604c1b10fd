"""The byte stream of a guest's screen: QEMU's VNC server behind a socket that libvirt hands over.

No folder holds a VNC socket: libvirt passes one end of a socket pair, which is wrapped here for the event loop.
"""

from __future__ import annotations

from typing import Protocol


class Graphics(Protocol):
    """What opens a screen; the hypervisor connection does."""

    async def open_graphics_fd(self, uid: str) -> int:
        """A connected stream socket to the domain's VNC server; the caller owns the descriptor."""


class GraphicsStream:
    """One VNC connection. ``read`` ends with b"" when QEMU closes it."""

    @classmethod
    async def open(cls, graphics: Graphics, uid: str) -> GraphicsStream:
        """Connect. Raises what ``open_graphics_fd`` raises."""
        raise NotImplementedError

    async def read(self) -> bytes:
        raise NotImplementedError

    async def write(self, data: bytes) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
