"""What is read of the embedded home: from memory, and only what is durable."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Unpack

from hyperd.resources.core.scale import SUBRESOURCE
from hyperd.resources.schema.kind import Kind, V
from hyperd.store.embedded import checks
from hyperd.store.embedded.engine import Engine
from hyperd.store.embedded.listing import list_objects
from hyperd.store.embedded.memory import Memory
from hyperd.store.embedded.watching import Hub, open_watch
from hyperd.store.grammar import scaling
from hyperd.store.interface import EVERYTHING, Following, Item, Listing, Selector, Watch


class EmbeddedReader:
    """The half of ``Store`` that changes nothing, and ``Reader``."""

    def __init__(self, memory: Memory, hub: Hub, engine: Engine) -> None:
        self._memory = memory
        self._hub = hub
        self._engine = engine

    async def get(self, kind: Kind, namespace: str, name: str, *, subresource: str = "") -> Item:
        item = self._memory.require(kind, namespace, name)
        checks.has_subresource(kind, name, subresource)
        return Item.of(scaling.shown(kind, item.object())) if subresource == SUBRESOURCE else item

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        selector: Selector = EVERYTHING,
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
        match: str = "",
    ) -> Listing:
        return await list_objects(
            self._memory,
            kind,
            namespace,
            floor=self._engine.floor,
            selector=selector,
            limit=limit,
            continue_token=continue_token,
            resource_version=resource_version,
            match=match,
        )

    def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        selector: Selector = EVERYTHING,
        **asked: Unpack[Following],
    ) -> AbstractAsyncContextManager[Watch]:
        return open_watch(self._hub, self._memory, self._engine, (kind,), namespace, selector=selector, **asked)

    def watch_all(
        self, kinds: Sequence[Kind], namespace: str | None = None, **asked: Unpack[Following]
    ) -> AbstractAsyncContextManager[Watch]:
        """``watch`` of some kinds together, in the order of their writes; bookmarks are of the first."""
        return open_watch(self._hub, self._memory, self._engine, kinds, namespace, **asked)

    async def find(self, kind: Kind[V], namespace: str, name: str) -> V | None:
        item = self._memory.get(kind, namespace, name)
        return None if item is None else item.object()

    async def find_all(self, kind: Kind[V], namespace: str | None = None) -> Sequence[V]:
        return [item.object() for item in self._memory.table(kind).walk(namespace)]
