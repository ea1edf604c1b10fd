"""Who asks, and whether they may. Deny by default.

On the unix socket the kernel says who the peer is (SO_PEERCRED); on TLS a client certificate of our own CA does.
Nobody else gets further than the health checks.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import socket
import struct
import time
import weakref
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from aiohttp import web

from hyperd.errors import Forbidden, Unauthorized
from hyperd.store.interface import User

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
PUBLIC_PATHS = frozenset({"/livez", "/healthz", "/readyz", "/version", "/version/"})
"""What anybody may ask, with GET."""

_GROUPS_KEPT = 30.0
"""Seconds for which a user's groups are remembered."""
_UCRED = struct.Struct("3i")


@dataclass(frozen=True)
class Attributes:
    """What is asked for, in Kubernetes' terms. ``path`` is set for what is no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"{self.verb} path {self.path!r}"
        resource = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        where = f' in the namespace "{self.namespace}"' if self.namespace else " at the cluster scope"
        return f'{self.verb} resource "{resource}" in API group "{self.group}"{where}'


class Authorizer(Protocol):
    """Decides on every request that is not public."""

    def allows(self, user: User, attributes: Attributes) -> bool: ...


class MastersOnly:
    """Members of ``system:masters`` may do everything, others nothing."""

    def allows(self, user: User, attributes: Attributes) -> bool:
        return MASTERS in user.groups


def require(authorizer: Authorizer, user: User, attributes: Attributes) -> None:
    """Raises Forbidden with kube-apiserver's sentence."""
    if not authorizer.allows(user, attributes):
        subject = f'{attributes.resource}.{attributes.group} "{attributes.name}" is ' if attributes.name else ""
        raise Forbidden(
            f'{subject}forbidden: User "{user.name}" cannot {attributes}',
            kind=attributes.resource,
            group=attributes.group,
            name=attributes.name,
        )


class Authenticator:
    """Names the user of a connection, once a connection. ``socket_group`` members administer."""

    def __init__(self, socket_group: str) -> None:
        self._socket_group = socket_group
        self._users: weakref.WeakKeyDictionary[asyncio.BaseTransport, User] = weakref.WeakKeyDictionary()

    def user(self, request: web.BaseRequest) -> User:
        """Raises Unauthorized when nothing proves who it is."""
        transport = request.transport
        if transport is None:
            raise Unauthorized("The connection is closed.")
        user = self._users.get(transport)
        if user is None:
            user = self._users[transport] = self._identify(transport)
        return user

    def _identify(self, transport: asyncio.BaseTransport) -> User:
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family == socket.AF_UNIX:
            raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
            _, uid, gid = _UCRED.unpack(raw)
            return _unix_user(uid, gid, self._socket_group, int(time.monotonic() // _GROUPS_KEPT))
        certificate = transport.get_extra_info("peercert")
        if certificate:
            return _certificate_user(certificate)
        raise Unauthorized(
            "Unauthorized: this listener wants a client certificate; "
            "`hv kubeconfig` prints a configuration with one."
        )


@lru_cache(maxsize=256)
def _unix_user(uid: int, gid: int, socket_group: str, period: int) -> User:
    """The peer as a user: its Unix groups, prefixed, and the administrators' group if it is one of them.

    ``period`` is part of the cache's key, so that a change of membership is seen by later connections.
    """
    try:
        name = pwd.getpwuid(uid).pw_name
        gids = set(os.getgrouplist(name, gid))
    except KeyError:
        name, gids = f"uid-{uid}", {gid}
    names = {_group_name(one) for one in gids}
    groups = tuple(sorted(f"unix:{group}" for group in names))
    # A daemon that runs without root serves its own user.
    if uid in (0, os.geteuid()) or socket_group in names:
        groups = (MASTERS, *groups)
    return User(f"unix:{name}", (AUTHENTICATED, *groups), uid=str(uid))


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _certificate_user(certificate: dict[str, Any]) -> User:
    """CN is the user, each O a group, as in Kubernetes. The TLS handshake has verified the chain."""
    name, groups = "", []
    for attribute in (pair for part in certificate.get("subject", ()) for pair in part):
        if attribute[0] == "commonName":
            name = attribute[1]
        elif attribute[0] == "organizationName":
            groups.append(attribute[1])
    if not name:
        raise Unauthorized("Unauthorized: the client certificate has no common name.")
    return User(name, (AUTHENTICATED, *groups))
