"""The queue's promises: once, one at a time, later and later; and nothing lost."""

from __future__ import annotations

import asyncio

import pytest

from hyperd.runtime.workqueue import MAX_DELAY_SECONDS, QueueClosed, WorkQueue
from tests.unit.runtime.clock import in_fake_time, now


def steady() -> WorkQueue[str]:
    return WorkQueue(jitter=lambda: 0.0)


@in_fake_time
async def test_a_key_added_often_is_worked_on_once() -> None:
    queue = steady()
    for key in ("a", "b", "a", "a"):
        queue.add(key)
    assert len(queue) == 2
    assert [await queue.get(), await queue.get()] == ["a", "b"]


@in_fake_time
async def test_a_key_is_never_given_to_two_workers() -> None:
    queue = steady()
    working: set[str] = set()
    seen: list[str] = []

    async def work() -> None:
        while True:
            try:
                key = await queue.get()
            except QueueClosed:
                return
            assert key not in working
            working.add(key)
            await asyncio.sleep(0.1)
            seen.append(key)
            working.discard(key)
            queue.done(key)

    workers = [asyncio.create_task(work()) for _ in range(4)]
    for _ in range(50):
        for key in ("a", "b"):
            queue.add(key)
        await asyncio.sleep(0.03)
    await asyncio.sleep(1)
    queue.close()
    await asyncio.gather(*workers)
    assert {"a", "b"} == set(seen)
    assert 10 < seen.count("a") < 20


@in_fake_time
async def test_a_key_that_changes_while_it_is_worked_on_is_looked_at_again() -> None:
    queue = steady()
    queue.add("a")
    key = await queue.get()
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done(key)
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


@in_fake_time
async def test_failures_wait_twice_as_long_each_time_up_to_a_minute() -> None:
    queue = steady()
    delays = [queue.add_limited("a") for _ in range(100)]
    assert delays[:4] == [0.005, 0.01, 0.02, 0.04]
    assert delays[-1] == MAX_DELAY_SECONDS
    assert queue.failures("a") == 100
    queue.forget("a")
    assert queue.add_limited("a") == 0.005


@in_fake_time
async def test_jitter_spreads_keys_that_failed_together() -> None:
    queue: WorkQueue[int] = WorkQueue()
    delays = {queue.add_limited(key) for key in range(50)}
    assert len(delays) > 40
    assert all(0.005 <= delay <= 0.006 for delay in delays)


@in_fake_time
async def test_of_two_times_the_earlier_counts() -> None:
    queue = steady()
    queue.add_after("a", 100)
    queue.add_after("a", 5)
    queue.add_after("a", 50)
    assert queue.delayed == 1
    assert await queue.get() == "a"
    assert now() == pytest.approx(5)
    queue.done("a")
    assert queue.delayed == 0


@in_fake_time
async def test_a_delayed_key_that_is_added_at_once_does_not_wait() -> None:
    queue = steady()
    queue.add_after("a", 100)
    queue.add("a")
    assert await queue.get() == "a"
    assert now() == 0


@in_fake_time
async def test_closing_ends_workers_and_timers() -> None:
    queue = steady()
    worker = asyncio.create_task(queue.get())
    queue.add_after("b", 10)
    await asyncio.sleep(0)
    queue.close()
    with pytest.raises(QueueClosed):
        await worker
    queue.add("c")
    queue.add_after("d", 1)
    assert (len(queue), queue.delayed) == (0, 0)
    with pytest.raises(QueueClosed):
        await queue.get()


@in_fake_time
async def test_a_cancelled_worker_leaves_its_key_to_another() -> None:
    queue = steady()
    first = asyncio.create_task(queue.get())
    second = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, 1) == "a"
