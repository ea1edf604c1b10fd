"""Objects as those see them who may read but not edit: without secrets and user data.

Whoever may update an object of that kind in that namespace sees all of it; from others the paths that the kind
names as hidden are covered, in whatever form the object is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import orjson

from hyperd.api.authorization import Attributes, Authorizer
from hyperd.resources.hidden import LAST_APPLIED, cover
from hyperd.resources.kind import Kind
from hyperd.store.interface import Item, User

_OFF_LOOP_ITEMS = 100
_OFF_LOOP_BYTES = 128 << 10


class Veil:
    """One request's; decides once a namespace."""

    __slots__ = ("_authorizer", "_kind", "_marks", "_open", "_user")

    def __init__(self, authorizer: Authorizer, user: User, kind: Kind) -> None:
        self._authorizer = authorizer
        self._user = user
        self._kind = kind
        names = {path.rpartition(".")[2] for path in kind.hidden} | {LAST_APPLIED}
        self._marks = tuple(b'"%s"' % name.encode() for name in names)
        self._open: dict[str, bool] = {}

    async def over(self, item: Item) -> Item:
        """``item``, or what may be seen of it."""
        if await self._is_open(item.namespace):
            return item
        if len(item.raw) > _OFF_LOOP_BYTES:
            return await asyncio.to_thread(self._covered, item)
        return self._covered(item)

    async def over_all(self, items: Sequence[Item]) -> Sequence[Item]:
        """The same for many."""
        closed = [name for name in {item.namespace for item in items} if not await self._is_open(name)]
        if not closed:
            return items
        if len(items) > _OFF_LOOP_ITEMS or sum(len(item.raw) for item in items) > _OFF_LOOP_BYTES:
            return await asyncio.to_thread(self._cover_in, closed, items)
        return self._cover_in(closed, items)

    async def _is_open(self, namespace: str) -> bool:
        known = self._open.get(namespace)
        if known is None:
            wanted = Attributes("update", self._kind.group, self._kind.plural, namespace=namespace)
            known = self._open[namespace] = await self._authorizer.allows(self._user, wanted)
        return known

    def _cover_in(self, namespaces: Iterable[str], items: Sequence[Item]) -> list[Item]:
        closed = frozenset(namespaces)
        return [self._covered(item) if item.namespace in closed else item for item in items]

    def _covered(self, item: Item) -> Item:
        if not any(mark in item.raw for mark in self._marks):
            return item
        obj = item.object()
        cover(self._kind.hidden, obj)
        return Item(
            orjson.dumps(obj),
            namespace=item.namespace,
            name=item.name,
            uid=item.uid,
            resource_version=item.resource_version,
        )
