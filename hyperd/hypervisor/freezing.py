"""Holds a guest's writes back for a moment: its agent freezes the file systems; they are thawed whatever happens.

The guest is thawed by who froze it, or, where that is gone or too slow, by a process that was started before.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from asyncio import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakValueDictionary

from hyperd import clock
from hyperd.errors import HyperdError, NotFound
from hyperd.hypervisor.state import Frozen

FREEZE_SECONDS: Final = 10.0
"""The longest that a guest is held."""
_MOST_HELD: Final = 16
"""Guests at a time: each has a process beside it, and some hundred snapshots may be asked for at once."""
_AGAIN_SECONDS: Final = 0.2
_log = logging.getLogger(__name__)


class Freezing:
    """Freezes of the guests of one libvirt; of each guest one at a time."""

    def __init__(
        self, uri: str, *, freeze: Callable[[str], Awaitable[int]], thaw: Callable[[str], Awaitable[int]]
    ) -> None:
        """Both take a uid, and return the number of file systems that they changed."""
        self._uri = uri
        self._freeze = freeze
        self._thaw = thaw
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._places = asyncio.Semaphore(_MOST_HELD)

    @asynccontextmanager
    async def frozen(self, uid: str) -> AsyncIterator[Frozen]:
        """The guest's writes wait while the block runs, at most ``FREEZE_SECONDS``.

        Raises what the freeze raises, and nothing if the thaw fails: that is tried again beside.
        """
        turn = self._turns.setdefault(uid, asyncio.Lock())
        async with turn, self._places:
            guard = await self._guard(uid)
            frozen = Frozen(0)
            begun = clock.elapsed()
            try:
                frozen.file_systems = await self._freeze(uid)
                begun = clock.elapsed()
                yield frozen
            finally:
                thaw = asyncio.ensure_future(self._end(uid, guard, begun))
                cancelled: asyncio.CancelledError | None = None
                while not thaw.done():
                    try:
                        await asyncio.wait({thaw})
                    except asyncio.CancelledError as err:
                        cancelled = err
                frozen.seconds = clock.elapsed() - begun
                frozen.whole = thaw.result() >= frozen.file_systems
                if cancelled is not None:
                    raise cancelled

    async def _end(self, uid: str, guard: subprocess.Process, begun: float) -> int:
        """Thaw, and tell the process that waits to do it; the number of file systems, -1 where that failed."""
        thawed = -1
        while thawed < 0:
            try:
                thawed = await self._thaw(uid)
            except NotFound:
                break  # the guest is gone
            except HyperdError as err:
                if clock.elapsed() - begun > FREEZE_SECONDS:
                    _log.warning("Domain %s is not thawed yet: %s", uid, err.message)
                    break
                await asyncio.sleep(_AGAIN_SECONDS)
        pipe = guard.stdin
        assert pipe is not None  # noqa: S101  a pipe was asked for
        if thawed >= 0:
            pipe.write(b".")
        pipe.close()
        if thawed >= 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await guard.wait()
        return thawed

    async def _guard(self, uid: str) -> subprocess.Process:
        environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "hyperd.hypervisor.thaw", self._uri, uid, str(FREEZE_SECONDS),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )  # fmt: skip
