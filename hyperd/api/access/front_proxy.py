"""The users that a proxy in front of hyperd vouches for: a cluster's API server, for its aggregated API.

The proxy proves itself by a client certificate of a CA made for this, the "request-header CA", and says in headers
who asks it. Nobody else's headers are believed. The listener that uses this trusts that CA alone, so a certificate
that it has verified is the proxy's; what is left to check is its name.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import orjson
from aiohttp import web

from hyperd.api.access.authentication import Peer, require_text
from hyperd.api.access.rules import AUTHENTICATED
from hyperd.errors import PermanentError, Unauthorized
from hyperd.resources.all import CONFIG_MAP
from hyperd.resources.schema.kind import Object
from hyperd.store.interface import Reader, User

UNAUTHENTICATED: Final = "system:unauthenticated"
"""Kubernetes' group of those who are nobody, which an API server may let through."""
CONFIG_NAMESPACE: Final = "kube-system"
CONFIG_NAME: Final = "extension-apiserver-authentication"
"""Where an API server publishes how it proves itself to the servers behind it."""


@dataclass(frozen=True)
class FrontProxy:
    """Which proxy is believed, and where it says who asks."""

    authority: str
    """The request-header CA, PEM."""
    allowed_names: tuple[str, ...] = ()
    """Common names of certificates that are believed; none means every one of the CA."""
    user_headers: tuple[str, ...] = ("X-Remote-User",)
    uid_headers: tuple[str, ...] = ()
    """Only where the proxy is known to set them: an older API server passes on what a client sends."""
    group_headers: tuple[str, ...] = ("X-Remote-Group",)
    extra_prefixes: tuple[str, ...] = ("X-Remote-Extra-",)

    @classmethod
    def of_config_map(cls, config: Object) -> FrontProxy:
        """As an API server publishes it. Raises PermanentError where it says that there is no such proxy."""
        data = config.get("data") or {}
        authority = data.get("requestheader-client-ca-file", "")
        defaults = cls(authority)
        return cls(
            _checked(authority, f"ConfigMap {CONFIG_NAMESPACE}/{CONFIG_NAME}"),
            allowed_names=_list(data, "requestheader-allowed-names"),
            user_headers=_list(data, "requestheader-username-headers") or defaults.user_headers,
            uid_headers=_list(data, "requestheader-uid-headers"),
            group_headers=_list(data, "requestheader-group-headers") or defaults.group_headers,
            extra_prefixes=_list(data, "requestheader-extra-headers-prefix") or defaults.extra_prefixes,
        )

    def user(self, request: web.BaseRequest) -> User:
        """Who asks the proxy. Raises Unauthorized when it is not the proxy that says so, or it says nothing, and
        BadRequest when what it says is no text.

        The connection's certificate must have been verified by this proxy's CA.
        """
        certificate = request.get_extra_info("peercert")
        if not certificate:
            raise Unauthorized(
                "Unauthorized: this listener is for the API server of the cluster, which shows its front-proxy "
                "client certificate; use the API server's own address."
            )
        name = common_name(certificate)
        if self.allowed_names and name not in self.allowed_names:
            raise Unauthorized(f"Unauthorized: the client certificate of {name!r} is none of a front proxy.")
        user = next((value for header in self.user_headers if (value := request.headers.get(header))), "")
        if not user:
            raise Unauthorized(f"Unauthorized: the front proxy does not say in {self.user_headers[0]} who asks.")
        groups = [value for header in self.group_headers for value in request.headers.getall(header, ()) if value]
        if AUTHENTICATED not in groups and UNAUTHENTICATED not in groups:
            groups.append(AUTHENTICATED)  # the API server's own accounts come without it
        uid = next((value for header in self.uid_headers if (value := request.headers.get(header))), "")
        extra = self._extra(request)
        require_text((user, uid, *groups, *(value for _, values in extra for value in values)))
        return User(user, tuple(groups), uid=uid, extra=extra)

    def _extra(self, request: web.BaseRequest) -> tuple[tuple[str, tuple[str, ...]], ...]:
        found: dict[str, list[str]] = {}
        for header, value in request.headers.items():
            for prefix in self.extra_prefixes:
                if header.lower().startswith(prefix.lower()):
                    found.setdefault(unquote(header[len(prefix) :].lower()), []).append(value)
        return tuple((key, tuple(values)) for key, values in sorted(found.items()))


@dataclass(frozen=True)
class Proxies:
    """Everybody who may vouch for users on one listener: the API server, and the daemons of other nodes.

    They are told apart by who issued their certificate: what the peers' CA did not issue is the API server's.
    """

    front: FrontProxy
    peers: FrontProxy

    def load_into(self, context: ssl.SSLContext) -> None:
        """Have ``context`` ask clients for certificates of these, and verify them."""
        context.load_verify_locations(cadata=self.front.authority)
        if not self._clash:
            context.load_verify_locations(cadata=self.peers.authority)
        context.verify_mode = ssl.CERT_OPTIONAL

    def user(self, request: web.BaseRequest) -> User:
        """Who asks. Raises Unauthorized."""
        certificate = request.get_extra_info("peercert") or {}
        from_peer = not self._clash and certificate.get("issuer") in _subjects(self.peers.authority)
        return (self.peers if from_peer else self.front).user(request)

    def require_peer(self, request: web.BaseRequest) -> None:
        """Raises Unauthorized unless a daemon of another node asks."""
        certificate = request.get_extra_info("peercert") or {}
        if self._clash or certificate.get("issuer") not in _subjects(self.peers.authority):
            raise Unauthorized("Unauthorized: only hyperd of another node may ask this.")
        if common_name(certificate) not in self.peers.allowed_names:
            raise Unauthorized("Unauthorized: only hyperd of another node may ask this.")

    @property
    def _clash(self) -> bool:
        """Whether the two CAs have the same name, so that nobody could be told apart."""
        return not _subjects(self.front.authority).isdisjoint(_subjects(self.peers.authority))


def source(request: web.BaseRequest) -> str:
    """From where the proxy was asked, as it says itself; for logs. What came before the last word is hearsay."""
    forwarded_for = ",".join(request.headers.getall("X-Forwarded-For", ())).rpartition(",")[2].strip()
    return forwarded_for or request.remote or ""


class FrontProxyLogin:
    """A front proxy before the daemon's own API; ``load`` it when the listener is made.

    Certificates of the daemon's own CA are somebody's, and no business of this login; all others that the listener
    has verified are the proxy's, and never anybody else's.
    """

    def __init__(self) -> None:
        self._front: FrontProxy | None = None
        self._own: frozenset[Any] = frozenset()

    def load(self, front: FrontProxy, own: str, context: ssl.SSLContext) -> None:
        """``own`` is the daemon's CA, PEM. Raises PermanentError when the two CAs cannot be told apart."""
        self._own = _subjects(own)
        if not self._own.isdisjoint(_subjects(front.authority)):
            raise PermanentError("front_proxy.ca_file is a CA of the same name as hyperd's own; use another one.")
        context.load_verify_locations(cadata=front.authority)
        self._front = front

    async def __call__(self, request: web.BaseRequest, peer: Peer) -> User | None:
        if self._front is None or peer.certificate is None or peer.certificate.get("issuer") in self._own:
            return None
        return self._front.user(request)


@lru_cache(maxsize=8)
def _subjects(authority: str) -> frozenset[Any]:
    """Names of the CAs in a bundle, in the form that ``ssl`` gives a certificate's issuer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_verify_locations(cadata=authority)
    return frozenset(ca["subject"] for ca in context.get_ca_certs())


async def from_files(authority: Path, allowed_names: Sequence[str]) -> FrontProxy:
    """As settings say. Raises PermanentError when the CA cannot be read."""
    try:
        text = await asyncio.to_thread(authority.read_text)
    except (OSError, UnicodeDecodeError) as err:
        raise PermanentError(f"The request-header CA {authority} cannot be read: {err}.") from err
    return FrontProxy(_checked(text, str(authority)), tuple(allowed_names))


async def from_cluster(reader: Reader) -> FrontProxy:
    """As the cluster's API server publishes it. Raises PermanentError where it publishes none."""
    config = await reader.find(CONFIG_MAP, CONFIG_NAMESPACE, CONFIG_NAME)
    return FrontProxy.of_config_map(config or {})


def _checked(authority: str, source: str) -> str:
    if not authority.strip():
        raise PermanentError(
            f"{source} names no request-header CA: the API server needs --requestheader-client-ca-file and "
            "--proxy-client-cert-file for its aggregation layer."
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=authority)
    except (ssl.SSLError, ValueError) as err:
        raise PermanentError(f"{source} has no usable request-header CA: {err}.") from err
    return authority


def _list(data: Object, name: str) -> tuple[str, ...]:
    try:
        value = orjson.loads(data.get(name) or "[]")
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise PermanentError(f"ConfigMap {CONFIG_NAMESPACE}/{CONFIG_NAME}: {name} is no list of strings.")
    return tuple(value)


def common_name(certificate: Mapping[str, Any]) -> str:
    """The one common name; empty where there are several, of which others may read another."""
    pairs = (pair for part in certificate.get("subject", ()) for pair in part)
    names = [str(value) for key, value in pairs if key == "commonName"]
    return names[0] if len(names) == 1 else ""
