"""Work that goes on beside all else, for as long as the daemon does.

A defect in it ends neither it nor the daemon, and is never silent: it is logged, and the work begins anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[None]]
"""Begins the work; called again after a defect, so it may rely on nothing that an earlier call left half done."""


def told_to_end() -> bool:
    """Whether a CancelledError means the task that runs, and not one that it has waited for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def to_the_end(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Like ``asyncio.to_thread``; who is cancelled meanwhile ends after the thread, which nothing else can end.

    For calls that work on a descriptor which is closed afterwards, or that make what is removed afterwards.
    """
    running = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({running})
        hear(running)
        raise


def hear(task: asyncio.Future[T]) -> None:
    """Ask a task that is done for its error, where nobody else may: asyncio would log it as a defect."""
    if not task.cancelled():
        task.exception()


async def end_all(endings: Iterable[tuple[str, Callable[[], Awaitable[None]]]]) -> None:
    """End one after the other. What fails is logged by its name, and keeps nothing else from ending.

    Cancellation does not either: it is raised once all are ended.
    """
    cancelled: asyncio.CancelledError | None = None
    for name, end in endings:
        try:
            await end()
        except asyncio.CancelledError as err:
            cancelled = err
        except Exception:  # noqa: BLE001  border: what begins later ends first, and the rest must end too
            _log.exception("The end of %s failed", name)
    if cancelled is not None and told_to_end():
        raise cancelled


async def end_by(deadline: float, name: str, end: Callable[[], Awaitable[None]]) -> None:
    """End it by ``deadline``, of the loop's clock, or in a second; what takes longer is logged and left behind."""
    task = asyncio.ensure_future(end())
    try:
        await asyncio.wait({task}, timeout=max(1.0, deadline - asyncio.get_running_loop().time()))
    except asyncio.CancelledError:
        task.cancel()
        raise
    if task.done():
        task.result()
    else:
        _log.warning("%s did not end in time, and is left behind.", name[:1].upper() + name[1:])


class Background:
    """The owner of such tasks: ``spawn`` them, ``stop`` them all."""

    def __init__(self, *, pause_seconds: float = 5.0) -> None:
        """``pause_seconds`` pass between a defect and the new beginning."""
        self._pause = pause_seconds
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Work, name: str) -> None:
        """Do ``work`` until it returns or all is stopped. Failures that it expects it handles itself."""
        task = asyncio.create_task(self._keep(work, name), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Cancel everything and wait for it; safe to call twice."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, work: Work, name: str) -> None:
        while True:
            try:
                return await work()
            except asyncio.CancelledError:
                if told_to_end():
                    raise
                _log.exception("The background task %r was cut off; it begins anew in %g s", name, self._pause)
            except Exception:  # noqa: BLE001  border: a defect in one task must not go unheard, or end it for good
                _log.exception("The background task %r failed; it begins anew in %g s", name, self._pause)
            await asyncio.sleep(self._pause)
