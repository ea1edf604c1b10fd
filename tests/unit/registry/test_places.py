from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from hyperd.settings import ImportSettings
from registry.slots import Slot, Slots

LOOK = 0.05


def slots(concurrent: int) -> Slots:
    return Slots(ImportSettings(concurrent=concurrent), look_seconds=LOOK)


async def take(stack: AsyncExitStack, of: Slots, namespace: str, host: str = "h") -> Slot:
    async with asyncio.timeout(5):
        return await stack.enter_async_context(of.taken(namespace, host))


async def test_one_namespace_leaves_a_place_to_the_next() -> None:
    async with AsyncExitStack() as stack:
        made = slots(4)
        for number in range(3):
            await take(stack, made, "a", f"h{number}")
        waiting = asyncio.create_task(take(stack, made, "a", "h9"))
        await asyncio.sleep(0)
        await take(stack, made, "b")
        assert not waiting.done()
        waiting.cancel()


async def test_one_host_leaves_a_place_to_the_next() -> None:
    async with AsyncExitStack() as stack:
        made = slots(4)
        for number in range(3):
            await take(stack, made, f"n{number}", "slow.example.com")
        waiting = asyncio.create_task(take(stack, made, "x", "slow.example.com"))
        await asyncio.sleep(0)
        await take(stack, made, "y", "fast.example.com")
        assert not waiting.done()
        waiting.cancel()


async def test_slow_sources_of_many_namespaces_keep_nobody_from_beginning() -> None:
    async with AsyncExitStack() as stack:
        made = slots(2)
        held = [await take(stack, made, f"n{number}", f"h{number}") for number in range(12)]
        await take(stack, made, "innocent", "good")
        assert sum(place.slow for place in held) >= 11


async def test_a_slow_import_has_its_place_again_once_work_begins_or_bytes_come() -> None:
    async with AsyncExitStack() as stack:
        made = slots(1)
        slow = await take(stack, made, "a")
        other = AsyncExitStack()
        await (await take(other, made, "b")).work()
        assert slow.slow
        working = asyncio.create_task(slow.work())
        await asyncio.sleep(LOOK)
        assert not working.done()
        await other.aclose()
        await working
        assert not slow.slow


async def test_beside_the_places_nothing_is_fast() -> None:
    async with AsyncExitStack() as stack:
        made = slots(1)
        slow = await take(stack, made, "a")
        await (await take(stack, made, "b")).work()
        assert slow.slow
        started = asyncio.get_running_loop().time()
        await slow.throttle(1 << 18)
        await slow.throttle(1 << 18)
        assert asyncio.get_running_loop().time() - started > 0.2


async def test_a_fast_source_keeps_its_place() -> None:
    async with AsyncExitStack() as stack:
        made = slots(1)
        fast = await take(stack, made, "a")
        for _ in range(20):
            fast.received(1 << 20)
            await asyncio.sleep(LOOK / 4)
        assert not fast.slow


async def test_nothing_is_left_of_those_who_left() -> None:
    made = slots(2)
    async with AsyncExitStack() as stack:
        for number in range(6):
            await take(stack, made, f"n{number}", f"h{number}")
    assert (made.fast.lent, made.slow.lent) == (0, 0)
