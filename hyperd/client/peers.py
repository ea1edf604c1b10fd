"""Who has connected over loopback: every user of this host can, and a port has no permissions."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_LOCAL, _REMOTE, _UID, _INODE = 1, 2, 7, 9


def is_loopback(listener: socket.socket) -> bool:
    """Whether only programs of this host can connect."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def stranger(connection: socket.socket) -> str:
    """Why ``connection`` is not carried: its other end is another user's, or nobody can tell. Else nothing.

    Root's is, and for ``sudo hv`` that of who called it.
    """
    try:
        uid = owner(connection)
    except OSError as err:
        return f"Who connects cannot be told ({err.strerror}), so nobody may."
    if uid is None:
        return "A connection was gone before it could be told whose it is."
    caller = os.environ.get("SUDO_UID", "") if os.getuid() == 0 else ""
    if uid in (0, os.getuid()) or str(uid) == caller:
        return ""
    return f"The user {uid} of this host was refused: the port is for programs of your own."


def owner(connection: socket.socket) -> int | None:
    """The user of the socket at the other end, on this host; None where no program has that one open."""
    here, there = (_written(*name[:2]) for name in (connection.getsockname(), connection.getpeername()))
    for table in _TABLES:
        with open(table, encoding="ascii") as lines:
            for line in lines:
                fields = line.split()
                # One that was closed has no inode, and says that it is root's.
                if fields[_LOCAL] in there and fields[_REMOTE] in here and fields[_INODE] != "0":
                    return int(fields[_UID])
    return None


def _written(address: str, port: int) -> tuple[str, ...]:
    """How the kernel's tables write it: words in this machine's order, an IPv4 address also as one of IPv6."""
    found = ipaddress.ip_address(address)
    packed = [found.packed]
    if found.version == 4:
        packed.append(bytes(10) + b"\xff\xff" + found.packed)
    return tuple(f"{_words(each)}:{port:04X}" for each in packed)


def _words(packed: bytes) -> str:
    words = (packed[at : at + 4] for at in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
