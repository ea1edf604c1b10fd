"""Threads for blocking libvirt calls.

Not a ThreadPoolExecutor: the interpreter waits for those threads when it ends, and a frozen libvirtd would hold
the daemon's end back. These die with the process.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Job = tuple[Future[Any], Callable[[], Any]]


class Workers:
    """A fixed number of daemon threads over one queue."""

    def __init__(self, name: str, count: int) -> None:
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._count = count
        for number in range(count):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    def run(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Call ``function`` in a thread. Cancelled before it began, it never begins."""
        return asyncio.wrap_future(self.submit(function))

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """The same, for who must know when the call has ended though nobody waits for it any more."""
        future: Future[T] = Future()
        self._queue.put((future, function))
        return future

    def close(self) -> None:
        """Let the threads end when their present call does; waits for none."""
        for _ in range(self._count):
            self._queue.put(None)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            future, function = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = function()
            except BaseException as err:  # noqa: BLE001  a worker's edge: the error belongs to who awaits
                future.set_exception(err)
            else:
                future.set_result(result)
                del result
            del future, function, job
