"""Lists: consistent, in the order of (namespace, name), in pages on demand.

A continue token carries the resourceVersion of the first page and the last name sent. Later pages come from the
state of their own moment, but name the first page's resourceVersion: a watch from there replays all that changed
while the client was paging, so nothing is missed. A token below the watch floor, or from the future, is refused
with 410, and with a fresh token for who does not mind.
"""

from __future__ import annotations

from hyperd.errors import Expired
from hyperd.resources.schema.kind import Kind
from hyperd.store.embedded.memory import Memory
from hyperd.store.interface import Listing, Selector
from hyperd.store.paging import INCONSISTENT, check_version, make_token, read_token
from hyperd.store.records import Name, Stored
from hyperd.store.selecting import check_selector, chosen, exact_name

_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or deleted between the time the first chunk was returned and now may show up in the list."
)


async def list_objects(
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
        if rv == INCONSISTENT:
            rv = memory.rv
        elif not floor <= rv <= memory.rv:
            # Older than what a watch can replay, or of a history that a restore has ended.
            raise Expired(_TOO_OLD, continue_token=make_token(INCONSISTENT, after))
    else:
        check_version(resource_version, match, memory.rv)
    items = await _matching(memory, kind, namespace, selector, after)
    if not limit or len(items) <= limit:
        return Listing(items, str(rv))
    last = items[limit - 1]
    # With a selector Kubernetes does not tell how many remain either.
    remaining = None if selector else len(items) - limit
    return Listing(items[:limit], str(rv), make_token(rv, (last.namespace, last.name)), remaining)


async def _matching(
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
    return await chosen(kind, selector, candidates)
