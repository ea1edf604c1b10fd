"""Objects as those see them who may read but not edit: without secrets and user data.

Whoever may update an object of that kind in that namespace sees all of it; from others the paths that the kind
names as hidden are covered, in whatever form the object is sent, and so are the namespaces that they may not see
where an object of the cluster's leads to one.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import orjson

from hyperd.api.access.authorization import Attributes, Authorizer
from hyperd.resources.all import NAMESPACE
from hyperd.resources.schema.hidden import LAST_APPLIED, cover, cover_elsewhere, led_to
from hyperd.resources.schema.kind import Kind
from hyperd.slices import sliced
from hyperd.store.interface import Item, User


class Redaction:
    """One request's; decides once a namespace."""

    __slots__ = ("_authorizer", "_kind", "_marks", "_open", "_seen", "_user")

    def __init__(self, authorizer: Authorizer, user: User, kind: Kind) -> None:
        self._authorizer = authorizer
        self._user = user
        self._kind = kind
        names = {path.rpartition(".")[2] for path in (*kind.hidden, *kind.elsewhere)} | {LAST_APPLIED}
        self._marks = tuple(b'"%s"' % name.encode() for name in names)
        self._open: dict[str, bool] = {}
        self._seen: dict[str, bool] = {}

    async def over(self, item: Item) -> Item:
        """``item``, or what may be seen of it."""
        if await self._is_open(item.namespace):
            return item
        return (await self._cover([item]))[0]

    async def over_all(self, items: Sequence[Item]) -> Sequence[Item]:
        """The same for many."""
        closed = [name for name in {item.namespace for item in items} if not await self._is_open(name)]
        if not closed:
            return items
        shut = frozenset(closed)
        covered = iter(await self._cover([item for item in items if item.namespace in shut]))
        return [next(covered) if item.namespace in shut else item for item in items]

    async def _cover(self, items: Sequence[Item]) -> list[Item]:
        unseen: frozenset[str] = frozenset()
        if self._kind.elsewhere:
            names = set[str]().union(*await sliced(items, self._led_to, _size))
            unseen = frozenset([name for name in names if not await self._is_seen(name)])
        return await sliced(items, functools.partial(self._covered, unseen), _size)

    async def _is_open(self, namespace: str) -> bool:
        known = self._open.get(namespace)
        if known is None:
            wanted = Attributes("update", self._kind.group, self._kind.plural, namespace=namespace)
            known = self._open[namespace] = await self._authorizer.allows(self._user, wanted)
        return known

    async def _is_seen(self, namespace: str) -> bool:
        known = self._seen.get(namespace)
        if known is None:
            wanted = Attributes("get", NAMESPACE.group, NAMESPACE.plural, namespace=namespace, name=namespace)
            known = self._seen[namespace] = await self._authorizer.allows(self._user, wanted)
        return known

    def _led_to(self, item: Item) -> set[str]:
        return set(led_to(self._kind.elsewhere, item.object()))

    def _covered(self, unseen: frozenset[str], item: Item) -> Item:
        if not any(mark in item.raw for mark in self._marks):
            return item
        obj = item.object()
        cover(self._kind.hidden, obj)
        if unseen:
            cover_elsewhere(self._kind.elsewhere, unseen, obj)
        return Item(
            orjson.dumps(obj),
            namespace=item.namespace,
            name=item.name,
            uid=item.uid,
            resource_version=item.resource_version,
        )


def _size(item: Item) -> int:
    return len(item.raw)
