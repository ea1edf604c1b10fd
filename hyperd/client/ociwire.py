"""One answer of an OCI registry, or of its token server: strangers both, whose answers have limits."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from hyperd.client.home import Home
from hyperd.client.http1 import Connection, ConnectionLost
from hyperd.errors import PermanentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.client.http1 import Response
    from hyperd.jsontypes import JsonObject

DOCUMENT_BYTES = 4 << 20
REDIRECTS = (301, 302, 303, 307, 308)
_SECONDS = 120.0


def connect(host: str, *, plain: bool) -> Connection:
    """``host`` may name a port. Raises OSError."""
    parts = urlsplit(f"//{host}")
    try:
        port = parts.port or (80 if plain else 443)
    except ValueError:
        raise ConnectionLost(f"{host} is no address") from None
    return Connection(Home(name=host, host=parts.hostname or "", port=port, tls=not plain), timeout=_SECONDS)


def document(response: Response) -> bytes:
    """All of an answer that is small. Raises OSError."""
    whole = bytearray()
    for piece in response.pieces():
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


def why(err: OSError) -> str:
    """Without a full stop."""
    return str(err.strerror or err).rstrip(".")
