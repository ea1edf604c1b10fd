"""The sockets that the API listens on.

The unix socket appears under its name only with its final owner and mode, and replaces a dead daemon's; a living
daemon's is left alone.
"""

from __future__ import annotations

import grp
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from hyperd.errors import PermanentError

BACKLOG = 1024
_DEAD_PEER_MS = 30_000
_PATH_MAX = 107


def unix(path: Path, groups: Sequence[str]) -> socket.socket:
    """A listening socket at ``path``, 0660, for the ``groups`` that exist. Blocking. Raises PermanentError."""
    if len(os.fsencode(path)) > _PATH_MAX:
        raise PermanentError(f"The socket path {path} is longer than {_PATH_MAX} bytes; choose a shorter run_dir.")
    if _answers(path):
        raise PermanentError(f"Another daemon serves {path}; stop it, or give this one a run_dir of its own.")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = path.with_name(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        sock.bind(os.fspath(temporary))
        temporary.chmod(0o660)
        if os.geteuid() == 0:
            _open_for(temporary, [gid for group in groups if (gid := _gid(group)) is not None])
        sock.listen(BACKLOG)
        temporary.rename(path)
    except OSError as err:
        sock.close()
        raise PermanentError(f"The API cannot listen on {path}: {err.strerror}.") from err
    sock.setblocking(False)
    return sock


def tcp(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 picks one. Blocking. Raises PermanentError."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, proto)
    except OSError as err:
        raise PermanentError(f"The API's address {host} is not usable: {err.strerror}.") from err
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit it: a peer that acknowledges neither data nor, in silence, that it is there
        # ends the connection. A watch that has nothing to say would never find out.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_PEER_MS)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _DEAD_PEER_MS // 1000)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, _DEAD_PEER_MS // 3000))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as err:
        sock.close()
        raise PermanentError(
            f"The API cannot listen on {host} port {port}: {err.strerror}. Set api.port to another one, or to 0."
        ) from err
    sock.setblocking(False)
    return sock


def remove(path: Path) -> None:
    """Unlink a socket that was closed, unless another daemon has taken its name since."""
    if not _answers(path):
        path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
    return True


def _gid(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


_ACL_VERSION = 2
_USER_OBJ, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x04, 0x08, 0x10, 0x20
_NOBODY_NAMED = 0xFFFFFFFF
_READ_WRITE = 6


def _open_for(path: Path, gids: Sequence[int]) -> None:
    """Let the members of ``gids`` connect: one group owns the file, more get an access list (acl(5))."""
    if len(gids) <= 1:
        os.chown(path, 0, gids[0] if gids else 0)
        return
    entries = [
        (_USER_OBJ, _READ_WRITE, _NOBODY_NAMED),
        (_GROUP_OBJ, _READ_WRITE, _NOBODY_NAMED),
        *((_GROUP, _READ_WRITE, gid) for gid in sorted(set(gids))),
        (_MASK, _READ_WRITE, _NOBODY_NAMED),
        (_OTHER, 0, _NOBODY_NAMED),
    ]
    packed = struct.pack("<I", _ACL_VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.chown(path, 0, 0)
    try:
        os.setxattr(path, "system.posix_acl_access", packed)
    except OSError as err:
        raise PermanentError(
            f"The socket {path} cannot be opened for several groups: {err.strerror}. Name one group in "
            "access.unix_groups, or choose a run_dir whose file system keeps access lists."
        ) from err
