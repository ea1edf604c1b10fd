"""Objects as those see them who may read but not edit: without secrets and user data.

Whoever may update an object of that kind in that namespace sees all of it; from others the paths that the kind
names as hidden are covered, in whatever form the object is sent, and so are the namespaces that they may not see
where an object of the cluster's leads to one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import orjson

from hyperd.api.access.authorization import Attributes, Authorizer
from hyperd.resources.all import NAMESPACE
from hyperd.resources.schema.hidden import LAST_APPLIED, cover, cover_elsewhere, led_to
from hyperd.resources.schema.kind import Kind
from hyperd.store.interface import Item, User

_OFF_LOOP_ITEMS = 100
_OFF_LOOP_BYTES = 128 << 10


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
        large = len(items) > _OFF_LOOP_ITEMS or sum(len(item.raw) for item in items) > _OFF_LOOP_BYTES
        unseen: frozenset[str] = frozenset()
        if self._kind.elsewhere:
            names = await asyncio.to_thread(self._led_to, items) if large else self._led_to(items)
            unseen = frozenset([name for name in names if not await self._is_seen(name)])
        if large:
            return await asyncio.to_thread(self._covered, items, unseen)
        return self._covered(items, unseen)

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

    def _led_to(self, items: Sequence[Item]) -> set[str]:
        return {name for item in items for name in led_to(self._kind.elsewhere, item.object())}

    def _covered(self, items: Sequence[Item], unseen: frozenset[str]) -> list[Item]:
        return [self._covered_one(item, unseen) for item in items]

    def _covered_one(self, item: Item, unseen: frozenset[str]) -> Item:
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
