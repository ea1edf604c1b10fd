"""A kind in another version than the one it is stored in.

What comes in is pruned, defaulted and judged by the version it is spelt in, then converted; what goes out is
converted back. The home below sees one version alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Unpack

from hyperd.errors import Conflict
from hyperd.offload import Offload
from hyperd.resources.schema.kind import Kind, Object, Registry, ServedVersion, V
from hyperd.slices import sliced
from hyperd.store.grammar.beside import Beside
from hyperd.store.interface import (
    BY_SYSTEM,
    EVERYTHING,
    Following,
    Item,
    Listing,
    PatchType,
    Preconditions,
    Propagation,
    Selector,
    Store,
    Watch,
    WatchEvent,
    Write,
)
from hyperd.store.selecting import check_selector

_ANYTHING = Preconditions()
_ATTEMPTS = 5


def versions_of(store: Store, kinds: Registry, processes: Offload | None = None) -> Mapping[Kind, Store]:
    """The store of every kind in a version that it is not stored in; ``processes`` work on large objects."""
    beside = Beside(processes)
    return {
        more.kind: ServedStore(store, kind, more, beside) for kind in kinds for more in kinds.more_versions(kind)
    }


class ServedStore:
    """``Store`` of one kind in one version; the ``kind`` of its calls is that one."""

    def __init__(self, store: Store, stored: Kind, served: ServedVersion, beside: Beside) -> None:
        self._beside = beside
        self._store = store
        self._stored = stored
        self._served = served

    def _out(self, item: Item) -> Item:
        return Item.of(self._converted(item.object()))

    def _converted(self, stored: Object) -> Any:
        return {**self._served.from_storage(stored), "apiVersion": self._served.kind.api_version}

    def _in(self, obj: Object) -> Object:
        return {**self._served.to_storage(obj), "apiVersion": self._stored.api_version}

    async def _judged(self, obj: Object, write: Write, *, whole: bool = False) -> Object:
        """``obj`` as the version below has it. Raises BadRequest, Invalid in the words of this version.

        ``whole`` is as for ``preparing.in_version``.
        """
        return self._in(await self._beside.in_version(self._served.kind, obj, write, whole=whole))

    def _selector(self, selector: Selector) -> Selector:
        """``selector`` as the version below has it. Raises BadRequest."""
        check_selector(self._served.kind, selector)
        names = self._served.fields
        return replace(
            selector,
            fields=tuple(replace(term, path=names.get(term.path, term.path)) for term in selector.fields),
        )

    async def get(self, kind: Kind, namespace: str, name: str, *, subresource: str = "") -> Item:
        return self._out(await self._store.get(self._stored, namespace, name, subresource=subresource))

    async def find(self, kind: Kind[V], namespace: str, name: str) -> V | None:
        found = await self._store.find(self._stored, namespace, name)
        converted: V | None = None if found is None else self._converted(found)
        return converted

    async def find_all(self, kind: Kind[V], namespace: str | None = None) -> Sequence[V]:
        return [self._converted(obj) for obj in await self._store.find_all(self._stored, namespace)]

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
        found = await self._store.list(
            self._stored,
            namespace,
            selector=self._selector(selector),
            limit=limit,
            continue_token=continue_token,
            resource_version=resource_version,
            match=match,
        )
        items = await sliced(found.items, self._out, lambda item: len(item.raw))
        return Listing(items, found.resource_version, found.continue_token, found.remaining)

    @asynccontextmanager
    async def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        selector: Selector = EVERYTHING,
        **asked: Unpack[Following],
    ) -> AsyncIterator[Watch]:
        watching = self._store.watch(self._stored, namespace, selector=self._selector(selector), **asked)
        async with watching as watch:
            yield self._events(watch)

    async def _events(self, watch: Watch) -> AsyncIterator[WatchEvent]:
        async for event in watch:
            yield WatchEvent(event.type, self._out(event.item), initial_events_end=event.initial_events_end)

    async def create(self, kind: Kind, namespace: str, obj: Object, *, write: Write = BY_SYSTEM) -> Item:
        new = await self._judged(obj, write)
        return self._out(await self._store.create(self._stored, namespace, new, write=write))

    async def update(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        obj: Object,
        *,
        subresource: str = "",
        write: Write = BY_SYSTEM,
    ) -> Item:
        if subresource == "status":
            # That part alone is written; the rest is judged as it is stored.
            old = (await self.get(kind, namespace, name)).object()
            parts: Object = {name: obj[name] for name in ("metadata", "status") if name in obj}
            new = await self._judged({**old, **parts}, write, whole=True)
        else:
            new = await self._judged(obj, write)
        return self._out(
            await self._store.update(self._stored, namespace, name, new, subresource=subresource, write=write)
        )

    async def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        patch_type: PatchType,
        patch: object,
        *,
        subresource: str = "",
        force: bool = False,
        write: Write = BY_SYSTEM,
    ) -> Item:
        for attempt in range(_ATTEMPTS):
            old = await self.get(kind, namespace, name, subresource=subresource)
            patched = await self._beside.patch(kind, old.raw, patch_type, patch, write)
            try:
                return await self.update(kind, namespace, name, patched, subresource=subresource, write=write)
            except Conflict:
                # Somebody else was faster. Only a patch that names a version means that one.
                named = patched["metadata"].get("resourceVersion") != old.resource_version
                if named or attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def apply(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        config: object,
        *,
        subresource: str = "",
        force: bool = False,
        write: Write = BY_SYSTEM,
    ) -> tuple[Item, bool]:
        wanted = config
        if isinstance(config, dict) and config.get("apiVersion") == self._served.kind.api_version:
            wanted = self._in(config)
        applied, created = await self._store.apply(
            self._stored, namespace, name, wanted, subresource=subresource, force=force, write=write
        )
        return self._out(applied), created

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        preconditions: Preconditions = _ANYTHING,
        propagation: Propagation = Propagation.BACKGROUND,
        write: Write = BY_SYSTEM,
    ) -> tuple[Item, bool]:
        last, gone = await self._store.delete(
            self._stored, namespace, name, preconditions=preconditions, propagation=propagation, write=write
        )
        return self._out(last), gone
