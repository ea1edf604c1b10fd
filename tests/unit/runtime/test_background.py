"""Work in the background outlives its defects, and nobody has to guess about them."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from hyperd.background import Background, end_all, to_the_end


async def test_a_defect_is_logged_and_the_work_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    begun: list[int] = []
    again = asyncio.Event()

    async def work() -> None:
        begun.append(len(begun))
        if len(begun) == 1:
            raise KeyError("spec")
        again.set()
        await asyncio.Event().wait()

    background = Background(pause_seconds=0.01)
    background.spawn(work, "sweep")
    await asyncio.wait_for(again.wait(), 5)
    (record,) = [record for record in caplog.records if record.exc_info]
    assert "The background task 'sweep' failed" in record.getMessage()
    await background.stop()
    assert begun == [0, 1]


async def test_what_returns_is_done_and_what_goes_on_is_ended_by_stop() -> None:
    ended: list[str] = []

    async def short() -> None:
        ended.append("short")

    async def long() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("long")

    background = Background()
    background.spawn(short, "short")
    background.spawn(long, "long")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert ended == ["short"]
    await background.stop()
    await background.stop()
    assert ended == ["short", "long"]


async def test_a_cancellation_that_is_not_its_own_ends_no_work(caplog: pytest.LogCaptureFixture) -> None:
    begun: list[int] = []
    again = asyncio.Event()

    async def work() -> None:
        begun.append(len(begun))
        if len(begun) == 1:
            raise asyncio.CancelledError
        again.set()
        await asyncio.Event().wait()

    background = Background(pause_seconds=0.01)
    background.spawn(work, "sweep")
    await asyncio.wait_for(again.wait(), 5)
    assert "The background task 'sweep' was cut off" in caplog.text
    await background.stop()
    assert begun == [0, 1]


async def test_what_cannot_be_ended_keeps_nothing_else_from_ending(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[str] = []

    async def fails() -> None:
        ended.append("first")
        raise OSError("gone")

    async def cut_off() -> None:
        ended.append("second")
        raise asyncio.CancelledError

    async def ends() -> None:
        ended.append("third")

    await end_all([("the first", fails), ("the second", cut_off), ("the third", ends)])
    assert ended == ["first", "second", "third"]
    assert "The end of the first failed" in caplog.text


async def test_who_is_cancelled_ends_after_the_thread_that_works_for_it() -> None:
    may_end, began, ended = threading.Event(), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(began.set)
        may_end.wait(10)
        ended.set()

    task = asyncio.create_task(to_the_end(work))
    await began.wait()
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_what_a_thread_raises_after_its_task_was_cancelled_is_no_defect(
    caplog: pytest.LogCaptureFixture,
) -> None:
    may_end, began = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(began.set)
        may_end.wait(10)
        raise OSError("too late")

    task = asyncio.create_task(to_the_end(work))
    await began.wait()
    task.cancel()
    await asyncio.sleep(0)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    gc.collect()
    assert caplog.records == []
