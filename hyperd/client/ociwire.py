"""One answer of an OCI registry, or of its token server: strangers both, whose answers have limits."""

from __future__ import annotations

import json
import re
import socket
import time
from urllib.parse import urlsplit

from hyperd.client.home import Home
from hyperd.client.http1 import Connection, ConnectionLost
from hyperd.errors import PermanentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from urllib.parse import SplitResult

    from hyperd.client.http1 import Response
    from hyperd.jsontypes import JsonObject

DOCUMENT_BYTES = 4 << 20
REDIRECTS = (301, 302, 303, 307, 308)
_SECONDS = 120.0
_SLOWEST_BYTES_PER_SECOND = 1024
"""On average, of what is waited for."""
_PRINTABLE = re.compile(r"[!-~]{0,8192}")
_METADATA = ("fd00:ec2::254", "100.100.100.200", "168.63.129.16")
"""Where clouds tell a machine its secrets, beside link-local addresses."""


def address(url: str, what: str) -> SplitResult:
    """A URL, or a path, that a registry names as ``what``. Raises PermanentError for what is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = None
    if parts is None or not _PRINTABLE.fullmatch(url) or "@" in parts.netloc:
        raise PermanentError(f"{what} is no address.")
    return parts


def path_of(parts: SplitResult, *more: str) -> str:
    """What is asked for at an address: its path and query, with ``more`` of that."""
    query = "&".join(part for part in (parts.query, *more) if part)
    return f"{parts.path or '/'}{'?' if query else ''}{query}"


def connect(host: str, *, plain: bool, named_by: str = "") -> Connection:
    """``host`` may have a port. Raises OSError.

    It may be ``named_by`` a registry: then nothing is asked that is inside of this host, unless that is there too.
    Raises PermanentError for it.
    """
    parts = urlsplit(f"//{host}")
    name = parts.hostname or ""
    try:
        port = parts.port or (80 if plain else 443)
        if not named_by:
            return _connected(name, name, port, plain=plain)
        found = _resolved(name, port)
        beside = {place for place in map(_inside, found) if place}
        if beside and not beside <= set(map(_inside, _resolved(urlsplit(f"//{named_by}").hostname or "", port))):
            raise PermanentError(
                f"{named_by} sends hv to {host}, which is inside of this host, and not asked for it."
            )
    except ValueError:  # as UnicodeError is, of names that are none
        raise ConnectionLost(f"{host} is no address") from None
    # What was looked at is what is connected to, whatever the name leads to by then.
    for number, one in enumerate(found, 1):
        try:
            return _connected(one, name, port, plain=plain)
        except OSError:
            if number == len(found):
                raise
    raise ConnectionLost(f"{host} has no address")


def _connected(where: str, name: str, port: int, *, plain: bool) -> Connection:
    return Connection(Home(name=name, host=where, port=port, tls=not plain, server_name=name), timeout=_SECONDS)


def _resolved(name: str, port: int) -> list[str]:
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _inside(where: str) -> str:
    """What place inside of this host, or of its cloud, an address is; empty for all others."""
    import ipaddress

    found = ipaddress.ip_address(where)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    found = mapped or found
    if found.is_loopback or found.is_unspecified:
        return "loopback"
    return str(found) if found.is_link_local or found.is_multicast or str(found) in _METADATA else ""


def pieces(response: Response) -> Iterator[bytes]:
    """What comes, if not by trickles. Raises OSError."""
    coming, waited, size = response.pieces(), 0.0, 0
    while True:
        began = time.monotonic()
        piece = next(coming, b"")
        waited += time.monotonic() - began
        if not piece:
            return
        size += len(piece)
        if waited > _SECONDS + size / _SLOWEST_BYTES_PER_SECOND:
            raise TimeoutError("its answer trickles in")
        yield piece


def document(response: Response) -> bytes:
    """All of an answer that is small. Raises OSError."""
    whole = bytearray()
    for piece in pieces(response):
        whole += piece
        if len(whole) > DOCUMENT_BYTES:
            raise ConnectionLost("its answer is larger than any that is expected")
    return bytes(whole)


def parsed(body: bytes, what: str) -> JsonObject:
    """The JSON object in ``body``. Raises PermanentError."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise PermanentError(f"{what} is no JSON object.")
    return content
