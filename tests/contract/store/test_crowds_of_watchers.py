"""A crowd that watches one kind: it is told over several turns of the loop, and nobody twice or too late."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from hyperd.store.embedded import watching
from hyperd.store.interface import EventType
from tests.contract.store.homes import EmbeddedHome, take, told
from tests.contract.store.kinds import WIDGETS, widget

CROWD = 5 * watching.OFFERS


async def test_a_crowd_is_told_over_several_turns_of_the_loop(embedded: EmbeddedHome) -> None:
    loop, turns, told_in = asyncio.get_running_loop(), 0, dict[int, int]()

    def turn() -> None:
        nonlocal turns
        turns += 1
        loop.call_soon(turn)

    async def read(stack: AsyncExitStack) -> list[tuple[str, str]]:
        watch = await stack.enter_async_context(embedded.store.watch(WIDGETS, send_initial=False))
        ready.release()
        [event] = await take(watch, 1)
        told_in[turns] = told_in.get(turns, 0) + 1
        return told([event])

    ready = asyncio.Semaphore(0)
    async with AsyncExitStack() as stack:
        readers = [asyncio.create_task(read(stack)) for _ in range(CROWD)]
        for _ in readers:
            await ready.acquire()
        loop.call_soon(turn)
        await embedded.store.create(WIDGETS, "default", widget("a"))
        assert await asyncio.gather(*readers) == [[("ADDED", "a")]] * CROWD
    assert max(told_in.values()) <= 2 * watching.OFFERS // 4, told_in


async def test_who_begins_to_watch_while_a_crowd_is_told_sees_each_change_once(embedded: EmbeddedHome) -> None:
    store = embedded.store
    async with AsyncExitStack() as stack:
        for _ in range(CROWD):
            await stack.enter_async_context(store.watch(WIDGETS, send_initial=False))
        first = await store.create(WIDGETS, "default", widget("a"))
        assert embedded.embedded._hub._untold, "the crowd was told at once, so this shows nothing"
        late = await stack.enter_async_context(store.watch(WIDGETS, resource_version=first.resource_version))
        fresh = await stack.enter_async_context(store.watch(WIDGETS))
        await store.create(WIDGETS, "default", widget("b"))
        assert told(await take(late, 1)) == [("ADDED", "b")]
        assert told(await take(fresh, 2)) == [("ADDED", "a"), ("ADDED", "b")]


async def test_a_bookmark_never_promises_what_is_still_to_be_told(embedded: EmbeddedHome) -> None:
    store = embedded.store
    async with AsyncExitStack() as stack:
        crowd = [
            await stack.enter_async_context(store.watch(WIDGETS, send_initial=False, bookmarks=True))
            for _ in range(CROWD)
        ]
        item = await store.create(WIDGETS, "default", widget("a"))
        assert embedded.embedded._hub._untold, "the crowd was told at once, so this shows nothing"
        for watch in crowd:
            watch.end()  # type: ignore[attr-defined]  # as its timeout does
        for watch in crowd:
            seen = [event async for event in watch]
            types = [event.type for event in seen]
            promised = int(seen[-1].item.resource_version)
            if EventType.ADDED in types:
                assert types == [EventType.ADDED, EventType.BOOKMARK]
            else:
                assert promised < int(item.resource_version)


async def test_a_store_that_closes_tells_the_crowd_all_before(embedded: EmbeddedHome) -> None:
    store = embedded.store
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(store.watch(WIDGETS, send_initial=False)) for _ in range(CROWD)]
        await store.create(WIDGETS, "default", widget("a"))
        embedded.embedded._hub.close()
        for watch in crowd:
            assert told([event async for event in watch]) == [("ADDED", "a")]
