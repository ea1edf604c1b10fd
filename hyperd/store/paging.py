"""resourceVersions and continue tokens as clients send them.

A continue token carries the resourceVersion of the first page and the last name sent.
"""

from __future__ import annotations

import base64
import binascii

import orjson

from hyperd.errors import BadRequest, Cause, Expired, Timeout
from hyperd.jsontypes import Json
from hyperd.resources.schema.metadata import quoted
from hyperd.store.records import Name

_MATCHES = ("", "Exact", "NotOlderThan")
_MAX_VERSION = (1 << 64) - 1
INCONSISTENT = -1
"""In a token: go on behind the name, at the version of then."""


def parse_version(text: str) -> int:
    """A resourceVersion that a client sent. Raises BadRequest."""
    if text.isascii() and text.isdecimal() and len(text) <= 20 and (version := int(text)) <= _MAX_VERSION:
        return version
    raise BadRequest(
        f"invalid resource version: resourceVersion: Invalid value: {quoted(text[:64])}: it is not one that the "
        "server gave out"
    )


def check_not_newer(wanted: int, current: int) -> None:
    """Raises Timeout for a version of the future, with the cause by which clients know to list anew."""
    if wanted > current:
        text = f"Too large resource version: {wanted}, current: {current}"
        cause = Cause("", "Too large resource version", "ResourceVersionTooLarge")
        raise Timeout(f"Timeout: {text}", causes=[cause], retry_after_seconds=1)


def check_version(resource_version: str, match: str, current: int) -> None:
    """Whether a list at this version can be had. Raises BadRequest, Timeout (of the future), Expired (too old)."""
    if match not in _MATCHES:
        raise BadRequest(f'resourceVersionMatch "{match[:64]}" is not one of Exact, NotOlderThan')
    if not resource_version:
        if match:
            raise BadRequest("resourceVersionMatch is forbidden unless resourceVersion is provided")
        return
    wanted = parse_version(resource_version)
    check_not_newer(wanted, current)
    if match == "Exact" and wanted == 0:
        raise BadRequest('resourceVersionMatch "Exact" is forbidden for resourceVersion "0"')
    if match == "Exact" and wanted != current:
        raise Expired(f"The resourceVersion for the provided list is too old: {wanted}, only {current} is kept.")


def make_token(rv: int, last: Name) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([rv, *last])).decode().rstrip("=")


def read_token(token: str) -> tuple[int, Name]:
    try:
        decoded: Json = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError):
        decoded = None
    match decoded:
        case [int(rv), str(namespace), str(name)] if rv >= INCONSISTENT:
            return rv, (namespace, name)
    raise BadRequest("continue key is not valid: it is not one that this server gave out")
