"""The informer stays true to the store, whatever happens to its watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hyperd.errors import Expired, ServiceUnavailable
from hyperd.runtime.informer import Informer
from hyperd.store.embedded.store import EmbeddedStore
from hyperd.store.interface import EventType, Item, Watch, WatchEvent
from tests.contract.store.kinds import CONFIG_MAPS, WIDGETS, config_map, widget


class Heard:
    """A handler that remembers and can be waited for."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def __call__(self, type_: EventType, old: Item | None, new: Item | None) -> None:
        item = new or old
        assert item is not None
        self.events.put_nowait((type_.value, item.name))

    async def next(self, count: int) -> list[tuple[str, str]]:
        async with asyncio.timeout(10):
            return [await self.events.get() for _ in range(count)]


@asynccontextmanager
async def following(informer: Informer) -> AsyncIterator[Informer]:
    task = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(10):
            await informer.synced.wait()
        yield informer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_it_holds_what_the_store_holds_and_the_same_bytes(store: EmbeddedStore) -> None:
    before = await store.create(WIDGETS, "default", widget("a"))
    heard = Heard()
    informer = Informer(store, WIDGETS)
    informer.add_handler(heard)
    async with following(informer):
        assert informer.item("default", "a") is before
        after = await store.create(WIDGETS, "default", widget("b"))
        assert await heard.next(2) == [("ADDED", "a"), ("ADDED", "b")]
        assert informer.item("default", "b") is after
        assert {item.name for item in informer.items()} == {"a", "b"}
        await store.delete(WIDGETS, "default", "a")
        assert await heard.next(1) == [("DELETED", "a")]
        assert informer.get("default", "a") is None
        assert len(informer) == 1


async def test_what_is_got_belongs_to_the_caller(store: EmbeddedStore) -> None:
    await store.create(WIDGETS, "default", widget())
    async with following(Informer(store, WIDGETS)) as informer:
        first = informer.get("default", "w")
        assert first is not None
        first["spec"]["size"] = 99
        second = informer.get("default", "w")
        assert second is not None
        assert second["spec"]["size"] == 1


async def test_a_namespace_limits_it(store: EmbeddedStore) -> None:
    await store.create(WIDGETS, "default", widget("a"))
    await store.create(WIDGETS, "kube-system", widget("b"))
    async with following(Informer(store, WIDGETS, namespace="default")) as informer:
        assert [item.name for item in informer.items()] == ["a"]


async def test_indexes_follow_the_objects(store: EmbeddedStore) -> None:
    await store.create(WIDGETS, "default", widget("a", color="red"))
    heard = Heard()
    informer = Informer(store, WIDGETS)
    informer.add_index("color", lambda obj: [obj["spec"]["color"]])
    informer.add_handler(heard)
    async with following(informer):
        await store.create(WIDGETS, "default", widget("b", color="red"))
        await heard.next(2)
        assert sorted(item.name for item in informer.by_index("color", "red")) == ["a", "b"]
        obj = informer.get("default", "a")
        assert obj is not None
        obj["spec"]["color"] = "blue"
        await store.update(WIDGETS, "default", "a", obj)
        await store.delete(WIDGETS, "default", "b")
        await heard.next(2)
        assert informer.by_index("color", "red") == []
        assert [item.name for item in informer.by_index("color", "blue")] == ["a"]
        informer.add_index("size", lambda obj: [str(obj["spec"]["size"])])
        assert [item.name for item in informer.by_index("size", "1")] == ["a"]
        with pytest.raises(KeyError):
            informer.by_index("none", "x")


async def test_a_late_handler_hears_what_exists(store: EmbeddedStore) -> None:
    await store.create(WIDGETS, "default", widget("a"))
    async with following(Informer(store, WIDGETS)) as informer:
        heard = Heard()
        informer.add_handler(heard)
        assert await heard.next(1) == [("ADDED", "a")]


async def test_a_handler_that_fails_does_not_blind_the_others(
    store: EmbeddedStore, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("broken")

    heard = Heard()
    informer = Informer(store, WIDGETS)
    informer.add_handler(broken)
    informer.add_handler(heard)
    async with following(informer):
        await store.create(WIDGETS, "default", widget("a"))
        assert await heard.next(1) == [("ADDED", "a")]
    assert "A handler of widgets failed" in caplog.text


async def test_after_an_expired_watch_the_difference_is_told(store: EmbeddedStore) -> None:
    for name in ("stays", "goes", "changes", "remade"):
        await store.create(WIDGETS, "default", widget(name))
    heard = Heard()
    informer = Informer(store, WIDGETS)
    informer.add_handler(heard)
    async with following(informer):
        await heard.next(4)
    await store.delete(WIDGETS, "default", "goes")
    await store.delete(WIDGETS, "default", "remade")
    await store.create(WIDGETS, "default", widget("remade"))
    changed = (await store.get(WIDGETS, "default", "changes")).object()
    changed["spec"]["size"] = 7
    await store.update(WIDGETS, "default", "changes", changed)
    # The log keeps 50 events: the informer's place in it is gone when it goes on.
    for number in range(120):
        await store.create(CONFIG_MAPS, "default", config_map(f"c{number}"))
    async with following(informer):
        told = await heard.next(4)
    assert told[0] == ("DELETED", "goes")
    assert sorted(told[1:]) == [("ADDED", "remade"), ("DELETED", "remade"), ("MODIFIED", "changes")]
    assert {item.name for item in informer.items()} == {"stays", "changes", "remade"}


async def test_an_overrun_watch_is_made_good(store: EmbeddedStore) -> None:
    informer = Informer(store, WIDGETS)
    async with following(informer):
        # More at once than the queue of a watcher (64) and the log (50) hold.
        await asyncio.gather(*(store.create(WIDGETS, "default", widget(f"w{n}")) for n in range(400)))
        heard = Heard()
        informer.add_handler(heard)
        await heard.next(400)
    assert len(informer) == 400


class Shaky:
    """A store whose lists fail at first."""

    def __init__(self, store: EmbeddedStore, failures: int) -> None:
        self._store = store
        self._failures = failures

    async def list(self, *args: Any, **kwargs: Any) -> Any:
        if self._failures:
            self._failures -= 1
            raise ServiceUnavailable("not now")
        return await self._store.list(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def test_a_failing_store_is_asked_again_later_and_later(store: EmbeddedStore) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    shaky: Any = Shaky(store, 12)
    async with following(Informer(shaky, WIDGETS, sleep=sleep)):
        assert len(slept) == 12
    assert 0.1 <= slept[0] <= 0.12
    assert 0.2 <= slept[1] <= 0.24
    assert 30 <= slept[-1] <= 36


class Repeating:
    """A store whose watch delivers each event, then all of the past once more, out of order."""

    def __init__(self, store: EmbeddedStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @asynccontextmanager
    async def watch(self, *args: Any, **kwargs: Any) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        async with self._store.watch(*args, **kwargs) as events:
            yield self._repeated(events)

    async def _repeated(self, events: Watch) -> AsyncIterator[WatchEvent]:
        past: list[WatchEvent] = []
        async for event in events:
            yield event
            for repeated in reversed(past):
                yield repeated
            past.append(event)


async def test_what_is_delivered_again_or_late_changes_nothing(store: EmbeddedStore) -> None:
    heard = Heard()
    repeating: Any = Repeating(store)
    informer = Informer(repeating, WIDGETS)
    informer.add_handler(heard)
    async with following(informer):
        await store.create(WIDGETS, "default", widget("a"))
        await store.delete(WIDGETS, "default", "a")
        await store.create(WIDGETS, "default", widget("b"))
        again = await store.create(WIDGETS, "default", widget("a"))
        assert await heard.next(4) == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "b"), ("ADDED", "a")]
        await store.delete(WIDGETS, "default", "b")
        assert await heard.next(1) == [("DELETED", "b")]
        assert informer.items() == [again]
        assert heard.events.empty()


class Expiring:
    """A store that says of every watch at once that it is too old."""

    def __init__(self, store: EmbeddedStore) -> None:
        self._store = store
        self.lists = 0

    async def list(self, *args: Any, **kwargs: Any) -> Any:
        self.lists += 1
        return await self._store.list(*args, **kwargs)

    @asynccontextmanager
    async def watch(self, *_: Any, **__: Any) -> AsyncIterator[None]:
        raise Expired("too old resource version")
        yield


async def test_a_watch_that_expires_again_and_again_does_not_make_a_storm_of_lists(store: EmbeddedStore) -> None:
    slept: list[float] = []
    enough = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 12:
            enough.set()
            await asyncio.Event().wait()

    expiring: Any = Expiring(store)
    async with following(Informer(expiring, WIDGETS, sleep=sleep)), asyncio.timeout(10):
        await enough.wait()
    # At once after the first, as a log may well have been pruned; then later and later.
    assert expiring.lists == 13
    assert slept[:8] == sorted(slept[:8])
    assert slept[-1] >= 30


async def test_an_index_that_fails_ends_nobodys_feed(
    store: EmbeddedStore, caplog: pytest.LogCaptureFixture
) -> None:
    def picky(obj: dict[str, Any]) -> list[str]:
        if obj["metadata"]["name"] == "bad":
            raise KeyError("spec")
        return ["all"]

    heard = Heard()
    informer = Informer(store, WIDGETS)
    informer.add_index("picky", picky)
    informer.add_handler(heard)
    await store.create(WIDGETS, "default", widget("bad"))
    async with following(informer):
        await store.create(WIDGETS, "default", widget("good"))
        assert await heard.next(2) == [("ADDED", "bad"), ("ADDED", "good")]
        assert [item.name for item in informer.by_index("picky", "all")] == ["good"]
    assert "The index 'picky' of widgets failed at default/bad" in caplog.text
