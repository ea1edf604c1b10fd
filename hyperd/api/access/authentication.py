"""Who asks: every way to prove it, tried in order.

What a request itself carries comes first, then what its connection is. A login that is tried and fails ends the
request: a bad credential never becomes another identity. Nobody without a name gets beyond the health checks.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from hyperd.api.access.rules import AUTHENTICATED, MASTERS
from hyperd.api.access.unix_groups import UnixGroups
from hyperd.errors import BadRequest, Unauthorized
from hyperd.store.interface import User

PUBLIC_PATHS = frozenset({"/livez", "/healthz", "/readyz", "/version", "/version/"})
"""What anybody may ask, with GET."""

_UCRED = struct.Struct("3i")
_SO_PEERGROUPS = 59  # no name in Python's socket module
_MAX_GROUPS_BYTES = 1024


@dataclass(frozen=True)
class UnixPeer:
    """The process at the other end of a unix socket, as the kernel knew it when it connected."""

    pid: int
    uid: int
    gids: frozenset[int]


@dataclass(eq=False)
class Peer:
    """What a connection is; found once, when its first request comes."""

    source: str
    """``uid=1000 pid=4711`` or ``192.0.2.7:41000``, for the audit log."""
    unix: UnixPeer | None = None
    certificate: Mapping[str, Any] | None = None
    """The verified client certificate, as ``ssl`` gives it."""
    user: User | None = None
    """Whom the connection alone stands for, once a login has found it. Then only a request with an Authorization
    header is looked at again."""


class Login(Protocol):
    """One way to prove who asks."""

    async def __call__(self, request: web.BaseRequest, peer: Peer) -> User | None:
        """The user; None where nothing of this kind is offered. Raises Unauthorized where it is not good."""


class Authenticator:
    """Asks its logins in turn; the first one that is offered anything decides."""

    def __init__(self, logins: Sequence[Login]) -> None:
        self._logins = tuple(logins)
        self._peers: weakref.WeakKeyDictionary[asyncio.BaseTransport, Peer] = weakref.WeakKeyDictionary()

    def peer(self, request: web.BaseRequest) -> Peer:
        """What is known of the request's connection. Raises Unauthorized when it is closed."""
        transport = request.transport
        if transport is None:
            raise Unauthorized("The connection is closed.")
        peer = self._peers.get(transport)
        if peer is None:
            peer = self._peers[transport] = _peer(transport)
        return peer

    async def user(self, request: web.BaseRequest, peer: Peer) -> User:
        """Who asks over ``peer``. Raises Unauthorized when nothing proves who it is, or something fails to."""
        if peer.user is not None and "Authorization" not in request.headers:
            return peer.user
        for login in self._logins:
            user = await login(request, peer)
            if user is not None:
                return user
        raise Unauthorized(
            "Unauthorized: this listener wants a client certificate or a bearer token; `hv kubeconfig` prints a "
            "configuration with one."
        )


def require_text(values: Iterable[str]) -> None:
    """Refuse what a header says of a user where its bytes are no UTF-8. Raises BadRequest.

    aiohttp keeps such bytes as lone surrogates, which no answer, object or log can hold.
    """
    for value in values:
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise BadRequest(f"the header value {value[:64]!a} of a user is no UTF-8") from None


def _peer(transport: asyncio.BaseTransport) -> Peer:
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_UNIX:
        pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        unix = UnixPeer(pid, uid, frozenset({gid, *_further_groups(sock)}))
        return Peer(f"uid={uid} pid={pid}", unix=unix)
    address = transport.get_extra_info("peername") or ("", 0)
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return Peer(f"{host}:{address[1]}", certificate=transport.get_extra_info("peercert") or None)


def _further_groups(sock: socket.socket) -> tuple[int, ...]:
    """The process's own groups: a user's groups in the database are not those that a process has kept."""
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_GROUPS_BYTES)
    except OSError:
        # More groups than fit: the first one alone counts.
        return ()
    return struct.unpack(f"{len(raw) // 4}I", raw)


class UnixLogin:
    """The peer of a unix socket, its role by its Unix groups. Root, and the daemon's own user, administer."""

    def __init__(self, groups: UnixGroups) -> None:
        self._groups = groups

    async def __call__(self, request: web.BaseRequest, peer: Peer) -> User | None:
        if peer.user is None and peer.unix is not None:
            unix = peer.unix
            found = self._groups.known(unix.uid, unix.gids)
            if found is None:
                found = await asyncio.to_thread(self._groups.look_up, unix.uid, unix.gids)
            groups = [f"unix:{name}" for name in found.groups]
            if unix.uid in (0, os.geteuid()):
                groups.insert(0, MASTERS)
            roles = [role.group for role in found.roles]
            peer.user = User(f"unix:{found.name}", (AUTHENTICATED, *roles, *groups), uid=str(unix.uid))
        return peer.user


async def certificate_login(request: web.BaseRequest, peer: Peer) -> User | None:
    """CN is the user, each O a group, as in Kubernetes. The TLS handshake has verified the chain."""
    if peer.user is None and peer.certificate is not None:
        name, groups = "", []
        for key, value in (pair for part in peer.certificate.get("subject", ()) for pair in part):
            if key == "commonName":
                name = value
            elif key == "organizationName":
                groups.append(value)
        if not name:
            raise Unauthorized("Unauthorized: the client certificate has no common name.")
        peer.user = User(name, (AUTHENTICATED, *groups))
    return peer.user
