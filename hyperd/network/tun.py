"""Persistent taps.

A tap is marked before it is made persistent: killed in between, the kernel removes it with the descriptor, so
no unmarked tap is ever left.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_DEVICE = "/dev/net/tun"
_TUNSETIFF, _TUNSETPERSIST, _TUNSETOWNER = 0x400454CA, 0x400454CB, 0x400454CC
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000


@contextmanager
def opened(name: str) -> Iterator[int]:
    """A descriptor of the tap ``name``, which is made when there is none. Raises OSError.

    One queue, with virtio headers: libvirt opens it with the same flags and fails on a tap of others.
    """
    descriptor = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        yield descriptor
    finally:
        os.close(descriptor)


def keep(descriptor: int, *, owner: int) -> None:
    """Make the tap outlive the descriptor, to be opened by root and by user id ``owner`` only."""
    fcntl.ioctl(descriptor, _TUNSETOWNER, owner)
    fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
