"""A copy of others' objects that is kept for as long as policies speak of them, and no longer.

A cluster has many more Pods than a node's policies mean: they are followed in the namespaces that are asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar, Unpack, cast

from hyperd.resources.schema.kind import Kind, Object
from hyperd.runtime.informer import Informer
from hyperd.slices import sliced
from hyperd.store.interface import (
    EVERYTHING,
    EventType,
    Following,
    Item,
    Listing,
    Selector,
    Store,
    Watch,
    WatchEvent,
)

P = TypeVar("P")
_PAGE: Final = 500
_NAMESPACES: Final = 16
"""Followed one by one; where more are asked for, all are, by one watch."""
ALL: Final = ""
"""Stands for every namespace."""


class Feed(Generic[P]):
    """What ``project`` makes of the objects of one kind; None for those that do not count.

    ``trim`` is what is kept of an object. ``changed`` is called when a projection is another, or becomes known.
    """

    def __init__(
        self,
        store: Store,
        kind: Kind,
        trim: Callable[[Object], Object],
        project: Callable[[Object], P | None],
        changed: Callable[[], None],
    ) -> None:
        self._store = cast(Store, _Trimming(store, trim))
        self._kind = kind
        self._project = project
        self._changed = changed
        self._known: dict[str, dict[tuple[str, str], P]] = {}
        self._running: dict[str, tuple[Informer[Object], asyncio.Task[None]]] = {}

    async def close(self) -> None:
        """Follow nothing more."""
        await self.follow(frozenset())

    def knows(self, namespaces: Iterable[str]) -> bool:
        """Whether what is in these namespaces is known by now; ``ALL`` is every one."""
        return self._is_synced(ALL) or all(map(self._is_synced, namespaces))

    def _is_synced(self, place: str) -> bool:
        return place in self._running and self._running[place][0].synced.is_set()

    async def follow(self, namespaces: frozenset[str] | None) -> None:
        """Have what is in these namespaces, in all with None."""
        wanted = {ALL} if namespaces is None or len(namespaces) > _NAMESPACES else namespaces
        for place in wanted - self._running.keys():
            self._begin(place)
        known = all(map(self._is_synced, wanted))
        # What is not asked for any more is kept until what takes its place is there.
        for place in self._running.keys() - wanted if known else ():
            _, task = self._running.pop(place)
            self._known.pop(place, None)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def values(self, namespace: str) -> list[P]:
        """Of one namespace that is followed."""
        if (here := self._known.get(namespace)) is not None:
            return list(here.values())
        return [found for (place, _), found in self._known.get(ALL, {}).items() if place == namespace]

    def items(self) -> list[tuple[tuple[str, str], P]]:
        """Everything that is followed, by namespace and name."""
        return list({key: found for here in self._known.values() for key, found in here.items()}.items())

    def _begin(self, place: str) -> None:
        informer: Informer[Object] = Informer(self._store, self._kind, namespace=place or None)
        known = self._known[place] = {}

        def on_change(_: EventType, old: Item[Object] | None, new: Item[Object] | None) -> None:
            item = new or old
            assert item is not None  # noqa: S101  an event is of something
            key = (item.namespace, item.name)
            before = known.pop(key, None)
            found = None if new is None else self._project(new.object())
            if found is not None:
                known[key] = found
            if found != before:
                self._changed()

        informer.add_handler(on_change)
        self._running[place] = (
            informer,
            asyncio.create_task(self._run(informer), name=f"follow {self._kind.plural}"),
        )

    async def _run(self, informer: Informer[Object]) -> None:
        told = asyncio.create_task(informer.synced.wait())
        told.add_done_callback(lambda task: None if task.cancelled() else self._changed())
        try:
            await informer.run()
        finally:
            told.cancel()


class _Trimming:
    """The store as an informer asks it, with objects that are brought down to what counts, page by page."""

    def __init__(self, store: Store, trim: Callable[[Object], Object]) -> None:
        self._store = store
        self._trim = trim

    async def list(self, kind: Kind, namespace: str | None = None, *, selector: Selector = EVERYTHING) -> Listing:
        found, token = list[Item](), ""
        while True:
            page = await self._store.list(kind, namespace, selector=selector, limit=_PAGE, continue_token=token)
            found += await sliced(page.items, self._trimmed, lambda item: len(item.raw))
            token = page.continue_token
            if not token:
                return Listing(found, page.resource_version)

    @asynccontextmanager
    async def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        selector: Selector = EVERYTHING,
        **asked: Unpack[Following],
    ) -> AsyncIterator[AsyncIterable[WatchEvent]]:
        async with self._store.watch(kind, namespace, selector=selector, **asked) as events:
            yield self._each(events)

    async def _each(self, events: Watch) -> AsyncIterator[WatchEvent]:
        async for event in events:
            kept = event.type is EventType.BOOKMARK
            yield event if kept else WatchEvent(event.type, self._trimmed(event.item))

    def _trimmed(self, item: Item[Object]) -> Item[Object]:
        return Item.of(self._trim(item.object()))
