"""Watches: where they begin, what a selector makes of a change, and that nothing is ever missing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from hyperd.errors import BadRequest, Expired
from hyperd.store.interface import EventType, FieldRequirement, Requirement, Selector, Store, Write
from tests.contract.store.homes import EmbeddedHome, Home, running, take, told
from tests.contract.store.kinds import CONFIG_MAPS, GADGETS, WIDGETS, config_map, widget

RED = Selector(fields=(FieldRequirement("spec.color", "red"),))


async def recolor(store: Store, name: str, color: str) -> None:
    obj = (await store.get(WIDGETS, "default", name)).object()
    obj["spec"]["color"] = color
    await store.update(WIDGETS, "default", name, obj)


async def test_without_a_version_what_exists_comes_first(store: Store) -> None:
    await store.create(WIDGETS, "default", widget("a"))
    await store.create(WIDGETS, "default", widget("b"))
    for version in ("", "0"):
        async with store.watch(WIDGETS, resource_version=version) as events:
            assert told(await take(events, 2)) == [("ADDED", "a"), ("ADDED", "b")]
            await recolor(store, "a", f"blue{version}")
            assert told(await take(events, 1)) == [("MODIFIED", "a")]


async def test_from_a_version_only_what_follows_comes(store: Store) -> None:
    first = await store.create(WIDGETS, "default", widget("a"))
    await recolor(store, "a", "red")
    await store.delete(WIDGETS, "default", "a")
    await store.create(GADGETS, "", {"metadata": {"name": "g"}})
    async with store.watch(WIDGETS, resource_version=first.resource_version) as events:
        past = await take(events, 2)
        assert told(past) == [("MODIFIED", "a"), ("DELETED", "a")]
        assert int(past[1].item.resource_version) > int(past[0].item.resource_version)
        await store.create(WIDGETS, "default", widget("b"))
        assert told(await take(events, 1)) == [("ADDED", "b")]


async def test_the_line_is_the_event_of_the_wire(store: Store) -> None:
    async with store.watch(WIDGETS) as events:
        item = await store.create(WIDGETS, "default", widget())
        [event] = await take(events, 1)
    assert orjson.loads(event.line) == {"type": "ADDED", "object": item.object()}
    assert event.line.endswith(b"\n")
    assert event.line is event.line


async def test_initial_events_end_with_a_bookmark_that_says_so(store: Store) -> None:
    await store.create(WIDGETS, "default", widget("a"))
    now = (await store.list(WIDGETS)).resource_version
    async with store.watch(WIDGETS, send_initial=True, bookmarks=True) as events:
        added, mark = await take(events, 2)
        assert added.type is EventType.ADDED
        assert mark.type is EventType.BOOKMARK
        assert mark.initial_events_end
        assert mark.item.resource_version == now
        meta = mark.item.object()["metadata"]
        assert meta["annotations"] == {"k8s.io/initial-events-end": "true"}
    async with store.watch(WIDGETS, send_initial=False) as events:
        await store.create(WIDGETS, "default", widget("b"))
        assert told(await take(events, 1)) == [("ADDED", "b")]


async def test_a_namespace_hides_the_others(store: Store) -> None:
    async with store.watch(WIDGETS, "default") as events:
        await store.create(WIDGETS, "kube-system", widget("hidden"))
        await store.create(WIDGETS, "default", widget("seen"))
        assert told(await take(events, 1)) == [("ADDED", "seen")]


@pytest.mark.parametrize("replayed", [False, True], ids=["live", "replayed"])
async def test_entering_a_selection_is_added_and_leaving_it_is_deleted(store: Store, replayed: bool) -> None:
    start = (await store.create(WIDGETS, "default", widget("a", color="grey"))).resource_version

    async def act() -> None:
        await recolor(store, "a", "green")
        await recolor(store, "a", "red")
        obj = (await store.get(WIDGETS, "default", "a")).object()
        obj["spec"]["size"] = 9
        await store.update(WIDGETS, "default", "a", obj)
        await recolor(store, "a", "blue")
        await store.delete(WIDGETS, "default", "a")
        await store.create(WIDGETS, "default", widget("b", color="red"))
        await store.delete(WIDGETS, "default", "b")

    expected = [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b"), ("DELETED", "b")]
    if replayed:
        await act()
    async with store.watch(WIDGETS, selector=RED, resource_version=start) as events:
        if not replayed:
            await act()
        assert told(await take(events, 5)) == expected


async def test_labels_entering_and_leaving_are_seen_after_a_restart_too(home: Home) -> None:
    chosen = Selector(labels=(Requirement("on", "exists"),))
    obj = (await home.store.create(WIDGETS, "default", widget())).object()
    start = obj["metadata"]["resourceVersion"]
    for labels in ({"on": "1"}, {"on": "2"}, {}):
        obj["metadata"]["labels"] = labels
        obj = (await home.store.update(WIDGETS, "default", "w", obj)).object()
    await home.restart()
    async with home.store.watch(WIDGETS, selector=chosen, resource_version=start) as events:
        assert told(await take(events, 3)) == [("ADDED", "w"), ("MODIFIED", "w"), ("DELETED", "w")]


async def test_a_watch_resumes_across_a_restart(home: Home) -> None:
    start = (await home.store.create(WIDGETS, "default", widget("a"))).resource_version
    for number in range(20):
        await home.store.create(CONFIG_MAPS, "default", config_map(f"c{number}"))
    await home.store.create(WIDGETS, "default", widget("b"))
    await home.store.delete(WIDGETS, "default", "a")
    await home.restart()
    await home.store.create(WIDGETS, "default", widget("c"))
    async with home.store.watch(WIDGETS, resource_version=start) as events:
        assert told(await take(events, 3)) == [("ADDED", "b"), ("DELETED", "a"), ("ADDED", "c")]
        await home.store.create(WIDGETS, "default", widget("d"))
        assert told(await take(events, 1)) == [("ADDED", "d")]
    listing = await home.store.list(WIDGETS)
    await home.restart()
    async with home.store.watch(WIDGETS, resource_version=listing.resource_version) as events:
        await home.store.create(WIDGETS, "default", widget("e"))
        assert told(await take(events, 1)) == [("ADDED", "e")]


async def test_a_long_past_is_replayed_in_order_while_writing_goes_on(store: Store) -> None:
    start = (await store.create(WIDGETS, "default", widget("start"))).resource_version
    for batch in range(12):
        await asyncio.gather(
            *(store.create(WIDGETS, "default", widget(f"w{batch * 60 + n:04}")) for n in range(60))
        )
    async with store.watch(WIDGETS, resource_version=start) as events:
        writing = asyncio.gather(*(store.create(WIDGETS, "default", widget(f"x{n:03}")) for n in range(60)))
        taken = await take(events, 780)
        await writing
    versions = [int(event.item.resource_version) for event in taken]
    assert versions == sorted(versions)
    assert len({event.item.name for event in taken}) == 780


async def test_below_the_floor_a_watch_is_expired(tmp_path: Path) -> None:
    async with running(EmbeddedHome(tmp_path, log_events=50)) as home:
        start = (await home.store.create(WIDGETS, "default", widget("a"))).resource_version
        for number in range(120):
            await home.store.create(CONFIG_MAPS, "default", config_map(f"c{number}"))
        for _ in range(2):
            with pytest.raises(Expired, match="too old resource version"):
                async with home.store.watch(WIDGETS, resource_version=start):
                    pass
            await home.restart()


@pytest.mark.parametrize("version", ["abc", "-5", "1.5", "9" * 30])
async def test_a_version_that_is_none_is_refused(store: Store, version: str) -> None:
    with pytest.raises(BadRequest):
        async with store.watch(WIDGETS, resource_version=version):
            pass


async def test_a_version_of_the_future_or_never_given_out_is_expired(embedded: EmbeddedHome) -> None:
    # An API server waits for the future instead, and may still know a version that it gave to another kind.
    store = embedded.store
    now = int((await store.create(WIDGETS, "default", widget("a"))).resource_version)
    for version in (now + 1, now + 10_000, 5):
        with pytest.raises(Expired):
            async with store.watch(WIDGETS, resource_version=str(version)):
                pass


async def test_a_watch_ends_in_time(store: Store) -> None:
    async with asyncio.timeout(5), store.watch(WIDGETS, timeout=0.05) as events:
        assert [event async for event in events] == []


async def test_the_end_of_a_watch_is_told_by_a_bookmark(embedded: EmbeddedHome) -> None:
    store = embedded.store
    async with store.watch(WIDGETS, bookmarks=True, timeout=0.05) as events:
        async with asyncio.timeout(5):
            seen = [event async for event in events]
    assert [event.type for event in seen] == [EventType.BOOKMARK]
    assert seen[0].item.resource_version == (await store.list(WIDGETS)).resource_version


async def test_closing_the_store_ends_its_watches(tmp_path: Path) -> None:
    home = EmbeddedHome(tmp_path)
    await home.start()
    async with home.store.watch(WIDGETS) as events:
        reading = asyncio.create_task(take(events, 1))
        await asyncio.sleep(0)
        await home.stop()
        assert await reading == []


async def test_a_slow_watcher_is_cut_off_and_the_others_are_not(tmp_path: Path) -> None:
    async with (
        running(EmbeddedHome(tmp_path, queue_limit=100)) as home,
        home.store.watch(WIDGETS) as slow,
        home.store.watch(WIDGETS) as fast,
    ):
        reading = asyncio.create_task(take(fast, 300))
        for number in range(300):
            await home.store.create(WIDGETS, "default", widget(f"w{number:03}"))
        assert len(await reading) == 300
        with pytest.raises(Expired):
            async for _ in slow:
                pass


async def test_no_event_is_lost_to_many_watchers_under_load(store: Store) -> None:
    async def write(client: int) -> None:
        for number in range(25):
            await store.create(WIDGETS, "default", widget(f"w{client}-{number}"))

    async def read() -> list[str]:
        async with store.watch(WIDGETS, send_initial=False) as events:
            ready.release()
            return [event.item.name for event in await take(events, 400)]

    ready = asyncio.Semaphore(0)
    readers = [asyncio.create_task(read()) for _ in range(20)]
    for _ in readers:
        await ready.acquire()
    await asyncio.gather(*(write(client) for client in range(16)))
    results = await asyncio.gather(*readers)
    assert all(result == results[0] for result in results)
    assert len(set(results[0])) == 400


async def test_a_dry_run_and_an_unchanged_write_wake_nobody(store: Store) -> None:
    item = await store.create(WIDGETS, "default", widget("a"))
    async with store.watch(WIDGETS, resource_version=item.resource_version) as events:
        await store.create(WIDGETS, "default", widget("b"), write=Write(dry_run=True))
        await store.update(WIDGETS, "default", "a", item.object())
        await store.create(WIDGETS, "default", widget("c"))
        assert told(await take(events, 1)) == [("ADDED", "c")]
