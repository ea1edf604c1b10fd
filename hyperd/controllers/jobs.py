"""Work beside the queue that leaves nothing to be found again: what a guest is asked, a copy for the cache.

A reconcile starts or looks at a job and returns at once; when the job moves or ends, the key is queued again. A
job lives in memory only: after a crash the reconcile starts it afresh, so every job's work is idempotent. What has
effects that outlive the daemon is a durable operation (``hyperd/runtime/operations``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from hyperd.background import hear
from hyperd.errors import HyperdError, InternalError
from hyperd.progress import Progress, Report
from hyperd.runtime.operations.engine import STOP_SECONDS
from hyperd.runtime.operations.pacing import Pacing

T = TypeVar("T")
_log = logging.getLogger(__name__)

NOTIFY_SECONDS = 1.0
"""Progress reaches ``status`` about this often: each report is a durable write."""


@dataclass
class Job(Generic[T]):
    """One piece of work for one generation of one object."""

    generation: int
    task: asyncio.Task[T]
    progress: Progress | None = None
    waiting: dict[Hashable, Callable[[], None]] = field(default_factory=dict)
    """Who else is to be told when it moves or ends."""

    def tell(self, who: Hashable, notify: Callable[[], None]) -> None:
        """Have ``notify`` called as well, once for each of ``who``."""
        self.waiting[who] = notify

    @property
    def done(self) -> bool:
        return self.task.done()

    def outcome(self) -> T:
        """The result of an ended job; raises its HyperdError, or InternalError when it was cancelled."""
        try:
            return self.task.result()
        except asyncio.CancelledError as err:
            raise InternalError("The work was cancelled.") from err
        except HyperdError:
            raise
        except OSError as err:
            raise InternalError(f"The work failed: {err.strerror or err}.") from err


class Jobs(Generic[T]):
    """Jobs by uid."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job[T]] = {}

    def get(self, uid: str) -> Job[T] | None:
        return self._jobs.get(uid)

    def start(
        self,
        uid: str,
        generation: int,
        work: Callable[[Report], Awaitable[T]],
        *,
        notify: Callable[[], None],
    ) -> Job[T]:
        """Begin ``work``, which reports progress by the callable it gets; ``notify`` queues the object again."""
        pacing = Pacing(NOTIFY_SECONDS)

        def tell_all() -> None:
            for call in [notify, *job.waiting.values()]:
                call()

        def report(progress: Progress) -> None:
            job.progress = progress
            if pacing.due(progress):
                tell_all()

        async def run() -> T:
            return await work(report)

        def ended(task: asyncio.Task[T]) -> None:
            hear(task)  # a job may be forgotten unasked
            tell_all()

        job: Job[T] = Job(generation, asyncio.create_task(run(), name=f"job-{uid}"))
        job.task.add_done_callback(ended)
        self._jobs[uid] = job
        return job

    def forget(self, uid: str) -> None:
        """Drop an ended job, once its outcome stands in ``status``."""
        job = self._jobs.get(uid)
        if job is not None and job.done:
            del self._jobs[uid]

    def forget_others(self, uids: Container[str]) -> None:
        """Drop every ended job that is of none of ``uids``."""
        for uid in [uid for uid in self._jobs if uid not in uids]:
            self.forget(uid)

    async def close(self) -> None:
        """End all jobs, and wait until they have cleaned up after themselves: for ``STOP_SECONDS`` at most."""
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            job.task.cancel()
        if jobs:
            await asyncio.wait([job.task for job in jobs.values()], timeout=STOP_SECONDS)
        for uid, job in jobs.items():
            if not job.done:
                _log.warning("The work for %s is still being ended; it is left behind.", uid)
