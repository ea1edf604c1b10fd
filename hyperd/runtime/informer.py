"""A controller's view of one kind: listed once, then kept current by a watch.

The rule it keeps: what is held is the encoded item as the store gave it, never a parsed copy, so that an
informer over the embedded store costs a dictionary and no second copy of the objects. A watch that expired is
followed by a new list, whose difference reaches the handlers as ordinary events: nobody misses a deletion, and
nobody hears of one change twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Generic

from hyperd.backoff import backoff
from hyperd.errors import Expired
from hyperd.resources.schema.kind import Kind, V_co
from hyperd.store.interface import EVERYTHING, EventType, Item, Selector, Store

Handler = Callable[[EventType, Item | None, Item | None], None]
"""Gets (type, old, new): old is None on ADDED, new is None on DELETED. Must not block; it enqueues keys."""

ItemKey = tuple[str, str]

_log = logging.getLogger(__name__)

_FIRST_RETRY_SECONDS = 0.1
_LAST_RETRY_SECONDS = 30.0
_WATCH_SECONDS = 1800.0
_LASTING_SECONDS = 1.0
"""A watch that ends sooner did not do its work."""


class Informer(Generic[V_co]):
    """A live copy of one kind: of one namespace, or of all with None; of what ``selector`` selects."""

    def __init__(
        self,
        store: Store,
        kind: Kind[V_co],
        *,
        namespace: str | None = None,
        selector: Selector = EVERYTHING,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.kind = kind
        self.synced = asyncio.Event()
        """Set once the first list is in and its handlers have run."""
        self._store = store
        self._namespace = namespace
        self._selector = selector
        self._sleep = sleep
        self._items: dict[ItemKey, Item[V_co]] = {}
        self._handlers: list[Handler] = []
        self._indexes: dict[str, Callable[[V_co], Iterable[str]]] = {}
        self._found: dict[str, dict[str, dict[ItemKey, Item[V_co]]]] = {}
        self._values: dict[ItemKey, dict[str, tuple[str, ...]]] = {}
        self._resource_version = ""
        self._watching_since: float | None = None

    # Reading

    def get(self, namespace: str, name: str) -> V_co | None:
        """A fresh copy of the object, or None."""
        item = self._items.get((namespace, name))
        return None if item is None else item.object()

    def item(self, namespace: str, name: str) -> Item[V_co] | None:
        """The encoded object, or None."""
        return self._items.get((namespace, name))

    def items(self) -> Sequence[Item[V_co]]:
        """All objects, in no order."""
        return list(self._items.values())

    def by_index(self, name: str, value: str) -> Sequence[Item[V_co]]:
        """The objects whose index function ``name`` gave ``value``. Raises KeyError for an unknown index."""
        return list(self._found[name].get(value, {}).values())

    def __len__(self) -> int:
        return len(self._items)

    # Wiring

    def add_index(self, name: str, fn: Callable[[V_co], Iterable[str]]) -> None:
        """Keep objects findable by what ``fn`` says; adding the same name again changes nothing."""
        if name in self._indexes:
            return
        self._indexes[name] = fn
        self._found[name] = {}
        for key, item in self._items.items():
            self._index_one(name, key, item, partial(fn, item.object()))

    def add_handler(self, handler: Handler) -> None:
        """Call ``handler`` on each change; what is known already reaches it at once as ADDED."""
        self._handlers.append(handler)
        for item in list(self._items.values()):
            handler(EventType.ADDED, None, item)

    async def run(self) -> None:
        """List and watch until cancelled; errors of the store are waited out.

        A watch that lasted is followed by the next at once; those that end early wait longer and longer, whatever
        ended them: a list of everything is dear, and a store in trouble is not helped by lists.
        """
        clock = asyncio.get_running_loop().time
        early, logged = 0, ""
        while True:
            self._watching_since = None
            trouble = ""
            try:
                if not self._resource_version:
                    await self._relist()
                await self._follow()
            except Expired:
                self._resource_version = ""
            except Exception as err:  # noqa: BLE001  border: it outlives its store's failures
                trouble = str(err) or type(err).__name__
            since = self._watching_since
            early = 0 if since is not None and clock() - since >= _LASTING_SECONDS else early + 1
            if trouble:
                # A server that is down fails many informers many times with one sentence.
                level = logging.DEBUG if logged == trouble else logging.WARNING
                _log.log(level, "Watching %s failed, trying again: %s", self.kind.plural, trouble)
            logged = trouble
            if trouble or early > 1:
                await self._sleep(backoff(early, first=_FIRST_RETRY_SECONDS, last=_LAST_RETRY_SECONDS))

    async def _relist(self) -> None:
        listing = await self._store.list(self.kind, self._namespace, selector=self._selector)
        fresh = {(item.namespace, item.name): item for item in listing.items}
        for key in [key for key in self._items if key not in fresh]:
            self._remove(key)
        for key, item in fresh.items():
            self._put(key, item)
        self._resource_version = listing.resource_version
        self.synced.set()

    async def _follow(self) -> None:
        watch = self._store.watch(
            self.kind,
            self._namespace,
            selector=self._selector,
            resource_version=self._resource_version,
            bookmarks=True,
            timeout=_WATCH_SECONDS,
        )
        async with watch as events:
            self._watching_since = asyncio.get_running_loop().time()
            async for event in events:
                item = event.item
                if not _is_newer(item.resource_version, self._resource_version):
                    # Delivered again, or late: what came after it is known already.
                    continue
                key = (item.namespace, item.name)
                if event.type is EventType.DELETED:
                    self._remove(key, item)
                elif event.type is not EventType.BOOKMARK:
                    self._put(key, item)
                self._resource_version = item.resource_version

    def _put(self, key: ItemKey, item: Item) -> None:
        old = self._items.get(key)
        if old is not None and old.resource_version == item.resource_version:
            return
        if old is not None and old.uid != item.uid:
            # Deleted and made anew while nobody watched: two objects, so two events.
            self._remove(key)
            old = None
        self._items[key] = item
        self._reindex(key, item)
        self._tell(EventType.ADDED if old is None else EventType.MODIFIED, old, item)

    def _remove(self, key: ItemKey, last: Item | None = None) -> None:
        old = self._items.pop(key, None)
        if old is None:
            return
        self._unindex(key)
        self._tell(EventType.DELETED, last or old, None)

    def _reindex(self, key: ItemKey, item: Item) -> None:
        self._unindex(key)
        if self._indexes:
            obj = item.object()
            for name in self._indexes:
                self._index_one(name, key, item, partial(self._indexes[name], obj))

    def _index_one(self, name: str, key: ItemKey, item: Item[V_co], index: Callable[[], Iterable[str]]) -> None:
        try:
            values = tuple(index())
        except Exception:  # noqa: BLE001  border: one object that an index cannot read must not end the feed of all
            _log.exception("The index %r of %s failed at %s/%s", name, self.kind.plural, *key)
            return
        if values:
            self._values.setdefault(key, {})[name] = values
        for value in values:
            self._found[name].setdefault(value, {})[key] = item

    def _unindex(self, key: ItemKey) -> None:
        for name, values in self._values.pop(key, {}).items():
            for value in values:
                bucket = self._found[name].get(value, {})
                bucket.pop(key, None)
                if not bucket:
                    self._found[name].pop(value, None)

    def _tell(self, type_: EventType, old: Item | None, new: Item | None) -> None:
        for handler in self._handlers:
            try:
                handler(type_, old, new)
            except Exception:  # noqa: BLE001  border: one controller's fault must not blind the others
                _log.exception("A handler of %s failed", self.kind.plural)


def _is_newer(version: str, known: str) -> bool:
    """Whether ``version`` comes behind ``known``; versions that are no numbers cannot be compared."""
    return not (version.isdecimal() and known.isdecimal()) or int(version) > int(known)
