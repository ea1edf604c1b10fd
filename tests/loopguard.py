"""What no test may see done to an event loop: a call that blocks it, or a callback that keeps it for long.

The first holds for ``hyperd``, ``registry`` and ``tui``, and raises where the call is made. The second is told by
the CPU time of the loop's thread, so that a busy host fails nothing, less what the collector took, which has the
tests' own heap to look through. A room's ``conftest`` imports both fixtures.
"""

from __future__ import annotations

import asyncio
import gc
import time
from asyncio import events
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from blockbuster import BlockBuster

LONGEST_SECONDS = 0.1
"""Of CPU time, in one callback of a loop."""
_PACKAGES = ["hyperd", "registry", "tui"]
_MAY_BLOCK = {
    # Of the kernel, without a disk behind it.
    "hyperd/clock.py": {"boot_id"},
    "registry/process.py": {"find"},
    "hyperd/client/home.py": {"local"},
    "registry/addresses.py": {"_is_own"},
    # Once, before anything is served; here also where no daemon is started.
    "hyperd/storage/departures.py": {"_all"},
    # Before its loop runs; in tests, which have one, within it.
    "tui/app.py": {"__init__"},
    # To the terminal, which is the user's to wait for.
    "tui/screens/consoles.py": {"hand_over"},
    "hyperd/store/kubernetes/client.py": {"start"},
    # The last of all: threads that hang must not keep the process.
    "hyperd/daemon.py": {"_leave"},
    # A backend and a guest of the tests' own, each of which is to be read in one go.
    "tests/contract/volumes/guest.py": {"image", "read", "fill", "resize"},
    "tests/contract/volumes/rawfiles.py": {
        *(
            "start",
            "receive",
            "prepare_snapshot",
            "commit_snapshot",
            "delete_snapshot",
            "find_snapshot",
            "snapshots",
        ),
        *(
            "create_blank",
            "create_from_image",
            "create_from_snapshot",
            "clone",
            "grow",
            "delete",
            "find",
            "inventory",
        ),
        *("capacity", "_create", "_there", "attach", "detach", "usage", "expand", "reading", "reads"),
    },
    # A world of the tests' own, in which processes are killed at every place: what it writes must be written.
    "tests/unit/runtime/building.py": {"done", "run", "undo", "wanted", "settled", "stored", "_write", "_remove"},
}
_run = events.Handle._run


class LoopGuard:
    """Notes long callbacks of all loops in this process."""

    def __init__(self) -> None:
        self._long: list[tuple[float, str]] = []
        self._began = self._collected = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        blocking = BlockBuster(scanned_modules=_PACKAGES)
        for function in blocking.functions.values():
            for file, names in _MAY_BLOCK.items():
                function.can_block_in(file, names)
        blocking.activate()
        gc.callbacks.append(self._collecting)
        setattr(events.Handle, "_run", lambda handle: self._timed(handle))  # noqa: B010  a method
        try:
            yield
        finally:
            setattr(events.Handle, "_run", _run)  # noqa: B010
            gc.callbacks.remove(self._collecting)
            blocking.deactivate()

    def taken(self) -> list[tuple[float, str]]:
        """Seconds and what took them, of callbacks since the last call that took long."""
        found, self._long = self._long, []
        return found

    def _timed(self, handle: events.Handle) -> None:
        begun, collected = time.thread_time(), self._collected
        _run(handle)
        took = time.thread_time() - begun
        took -= self._collected - collected
        if took > LONGEST_SECONDS and not _is_of_a_fixture(handle):
            self._long.append((took, _described(handle)))

    def _collecting(self, phase: str, _: Mapping[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
        else:
            self._collected += time.thread_time() - self._began


def _described(handle: events.Handle) -> str:
    return repr(_task(handle) or getattr(handle, "_callback", None))


def _task(handle: events.Handle) -> asyncio.Task[object] | None:
    task = getattr(getattr(handle, "_callback", None), "__self__", None)
    return task if isinstance(task, asyncio.Task) else None


def _is_of_a_fixture(handle: events.Handle) -> bool:
    """What a test is given is made and ended all at once: whole worlds, and the memory of what they were sent."""
    task = _task(handle)
    code = getattr(task.get_coro(), "cr_code", None) if task is not None else None
    return code is not None and "pytest_asyncio" in code.co_filename


@pytest.fixture(scope="package")
def loop_guard() -> Iterator[LoopGuard]:
    guard = LoopGuard()
    with guard.watching():
        yield guard


@pytest.fixture(autouse=True)
def short_callbacks(request: pytest.FixtureRequest, loop_guard: LoopGuard) -> Iterator[None]:
    """Fails a test in which a callback kept a loop for long; ``loop_seconds(N, reason)`` allows more."""
    mark = request.node.get_closest_marker("loop_seconds")
    most = mark.args[0] if mark else LONGEST_SECONDS
    loop_guard.taken()
    yield
    long = [f"{took * 1000:.0f} ms in {what}" for took, what in loop_guard.taken() if took > most]
    assert not long, f"callbacks that kept the loop longer than {most * 1000:.0f} ms: {'; '.join(long)}"
