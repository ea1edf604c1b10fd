"""How often work beside the queue is told of: each telling is a durable write."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from hyperd.controllers import jobs
from hyperd.progress import Progress, Report


async def tellings(monkeypatch: pytest.MonkeyPatch, reports: list[tuple[float, float]]) -> list[float]:
    """Fractions that were told, of reports at (seconds, fraction)."""
    now = 100.0
    monkeypatch.setattr("hyperd.clock.elapsed", lambda: now)
    told: list[float] = []

    async def work(report: Report) -> None:
        nonlocal now
        for seconds, fraction in reports:
            now = 100.0 + seconds
            report(Progress(fraction, 1, 1, 1))

    running: jobs.Jobs[None] = jobs.Jobs()

    def notify() -> None:
        job = running.get("uid")
        if job is not None and not job.done and job.progress is not None:
            told.append(job.progress.fraction or 0.0)

    job = running.start("uid", 1, work, notify=notify)
    await asyncio.wait([job.task])
    return told


async def test_slow_work_is_told_of_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    reports = [(number / 10, number / 10_000) for number in range(50)]
    assert len(await tellings(monkeypatch, reports)) == 5


async def test_quick_work_is_told_of_in_steps_and_not_only_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    reports = [(number / 100, number / 100) for number in range(100)]
    told = await tellings(monkeypatch, reports)
    assert len(told) <= 11
    assert any(0 < fraction < 0.5 for fraction in told)


async def test_jobs_that_do_not_end_hold_up_no_close(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jobs, "STOP_SECONDS", 0.05)
    running: jobs.Jobs[None] = jobs.Jobs()
    may_end = asyncio.Event()

    async def hangs(_: Report) -> None:
        while not may_end.is_set():
            with suppress(asyncio.CancelledError):
                await may_end.wait()

    started = [running.start(uid, 0, hangs, notify=lambda: None) for uid in ("a", "b")]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await running.close()
    assert "The work for a is still being ended" in caplog.text
    may_end.set()
    await asyncio.wait([job.task for job in started])


async def test_everybody_who_waits_for_a_job_is_told_of_its_end() -> None:
    running: jobs.Jobs[int] = jobs.Jobs()
    may_end = asyncio.Event()
    told: list[str] = []

    async def work(_: Report) -> int:
        await may_end.wait()
        return 1

    job = running.start("uid", 0, work, notify=lambda: told.append("first"))
    for _ in range(3):
        job.tell("second", lambda: told.append("second"))
    job.tell("third", lambda: told.append("third"))
    may_end.set()
    await asyncio.wait([job.task])
    await asyncio.sleep(0)
    assert told == ["first", "second", "third"]
