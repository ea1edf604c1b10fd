"""Lists: consistent, in the order of (namespace, name), in pages on demand.

A continue token carries the resourceVersion of the first page and the last name sent. Later pages come from the
state of their own moment, but name the first page's resourceVersion: a watch from there replays all that changed
while the client was paging, so nothing is missed. A token below the watch floor, or from the future, is refused
with 410, and with a fresh token for who does not mind.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson

from hyperd.errors import BadRequest, Cause, Expired, Timeout
from hyperd.resources.kind import Kind
from hyperd.resources.metadata import quoted
from hyperd.store.interface import Listing, Selector
from hyperd.store.memory import Memory, Name
from hyperd.store.records import Stored
from hyperd.store.selecting import check_selector, exact_name, selects

_MATCHES = ("", "Exact", "NotOlderThan")
_MAX_VERSION = (1 << 64) - 1
_INCONSISTENT = -1
"""In a token: go on behind the name, at the version of then."""
_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or deleted between the time the first chunk was returned and now may show up in the list."
)


def list_objects(
    memory: Memory,
    kind: Kind,
    namespace: str | None,
    *,
    floor: int,
    selector: Selector,
    limit: int,
    continue_token: str,
    resource_version: str,
    match: str,
) -> Listing:
    """One page. Raises BadRequest, Expired (old token or old exact version), Timeout (version of the future)."""
    check_selector(kind, selector)
    after: Name | None = None
    rv = memory.rv
    if continue_token:
        rv, after = read_token(continue_token)
        if rv == _INCONSISTENT:
            rv = memory.rv
        elif not floor <= rv <= memory.rv:
            # Older than what a watch can replay, or of a history that a restore has ended.
            raise Expired(_TOO_OLD, continue_token=make_token(_INCONSISTENT, after))
    else:
        _check_version(resource_version, match, memory.rv)
    items = _matching(memory, kind, namespace, selector, after)
    if not limit or len(items) <= limit:
        return Listing(items, str(rv))
    last = items[limit - 1]
    # With a selector Kubernetes does not tell how many remain either.
    remaining = None if selector else len(items) - limit
    return Listing(items[:limit], str(rv), make_token(rv, (last.namespace, last.name)), remaining)


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


def _matching(
    memory: Memory, kind: Kind, namespace: str | None, selector: Selector, after: Name | None
) -> list[Stored]:
    name = exact_name(selector)
    if name is not None and namespace is not None:
        found = memory.get(kind, namespace, name)
        candidates = [found] if found is not None and (after is None or (namespace, name) > after) else []
    else:
        candidates = memory.table(kind).walk(namespace, after)
    if not selector:
        return candidates
    return [item for item in candidates if selects(kind, selector, item)]


def _check_version(resource_version: str, match: str, current: int) -> None:
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
        decoded: Any = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError):
        decoded = None
    match decoded:
        case [int(rv), str(namespace), str(name)] if rv >= _INCONSISTENT:
            return rv, (namespace, name)
    raise BadRequest("continue key is not valid: it is not one that this server gave out")
