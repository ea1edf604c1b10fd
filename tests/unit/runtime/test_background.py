"""Work in the background outlives its defects, and nobody has to guess about them."""

from __future__ import annotations

import asyncio

import pytest

from hyperd.background import Background, end_all


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
