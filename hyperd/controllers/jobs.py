"""Long work beside the queue: imports, downloads, copies.

A reconcile starts or looks at a job and returns at once; when the job moves or ends, the key is queued again. A
job lives in memory only: after a crash the reconcile starts it afresh, so every job's function is idempotent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from hyperd.errors import HyperdError, InternalError

T = TypeVar("T")

NOTIFY_SECONDS = 1.0
"""Progress reaches ``status`` at most this often: each report is a durable write."""


@dataclass
class Progress:
    """How far a job is. Bytes; ``total`` is None while unknown. Speeds are bytes a second."""

    done: int = 0
    total: int | None = None
    speed: float = 0.0
    average: float = 0.0

    @property
    def percent(self) -> float:
        if not self.total:
            return 0.0
        return min(100.0, 100.0 * self.done / self.total)


@dataclass
class Job(Generic[T]):
    """One piece of work for one object's uid."""

    task: asyncio.Task[T]
    progress: Progress = field(default_factory=Progress)
    started: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> bool:
        return self.task.done()

    def outcome(self) -> T:
        """The result; raises the job's HyperdError, or InternalError for a defect."""
        try:
            return self.task.result()
        except HyperdError:
            raise
        except asyncio.CancelledError as err:
            raise InternalError("The work was cancelled.") from err


class Jobs(Generic[T]):
    """Jobs by uid, at most ``limit`` at work; the rest wait their turn."""

    def __init__(self, limit: int) -> None:
        self._jobs: dict[str, Job[T]] = {}
        self._slots = asyncio.Semaphore(limit)

    def get(self, uid: str) -> Job[T] | None:
        return self._jobs.get(uid)

    def __len__(self) -> int:
        return sum(not job.done for job in self._jobs.values())

    def start(
        self,
        uid: str,
        work: Callable[[Callable[[Progress], None]], Awaitable[T]],
        *,
        notify: Callable[[], None],
    ) -> Job[T]:
        """Begin ``work``, which reports progress by the callable it gets; ``notify`` queues the object again."""
        last = 0.0

        def report(progress: Progress) -> None:
            nonlocal last
            job.progress = progress
            now = time.monotonic()
            if now - last >= NOTIFY_SECONDS:
                last = now
                notify()

        async def run() -> T:
            async with self._slots:
                return await work(report)

        job: Job[T] = Job(asyncio.create_task(run(), name=f"job-{uid}"))
        job.task.add_done_callback(lambda _: notify())
        self._jobs[uid] = job
        return job

    def forget(self, uid: str) -> None:
        """Drop an ended job, once its outcome stands in ``status``."""
        job = self._jobs.get(uid)
        if job is not None and job.done:
            del self._jobs[uid]

    async def cancel(self, uid: str) -> None:
        """End the job and wait until it has cleaned up after itself."""
        job = self._jobs.pop(uid, None)
        if job is not None:
            job.task.cancel()
            await asyncio.wait([job.task])

    async def close(self) -> None:
        """End all jobs."""
        for uid in list(self._jobs):
            await self.cancel(uid)
