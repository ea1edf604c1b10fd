"""Holds a guest's writes back for a moment: its agent freezes the file systems; they are thawed whatever happens.

The guest is thawed by who froze it, or, where that is gone or too slow, by a process that was started before. Who
asks for a hold of their own gets one for longer; a snapshot is taken within it, and leaves the guest frozen.
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
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

from hyperd import clock
from hyperd.errors import HyperdError, NotFound, TooManyRequests
from hyperd.hypervisor.state import Frozen

FREEZE_SECONDS: Final = 10.0
"""The longest that a guest is held."""
_MOST_HELD: Final = 16
"""Guests at a time: each has a process beside it, and some hundred snapshots may be asked for at once."""
_MOST_ASKED: Final = 8
"""Of them those that users hold: snapshots of others do not wait for them."""
_LATER_SECONDS: Final = 2.0
"""How much later the process thaws what is held for a user: it is needed where we are gone."""
_AGAIN_SECONDS: Final = 0.2
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Hold:
    """What a user asked for."""

    until: float
    """By the clock that nobody sets."""
    begun: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """The number of file systems, once they are frozen."""
    ends: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False
    """Whether the guest is being thawed."""
    lent: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by who works within the hold."""
    whole: bool = False
    task: asyncio.Task[None] | None = None


class Freezing:
    """Freezes of the guests of one libvirt; of each guest one at a time."""

    def __init__(
        self,
        uri: str,
        *,
        freeze: Callable[[str], Awaitable[int]],
        thaw: Callable[[str], Awaitable[int]],
        changed: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``freeze`` and ``thaw`` take a uid, and return the number of file systems that they changed.

        ``changed`` is told the uid of a guest that is frozen, or no longer is.
        """
        self._uri = uri
        self._freeze = freeze
        self._thaw = thaw
        self._changed = changed
        self._frozen: set[str] = set()
        self._holds: dict[str, _Hold] = {}
        self._late: set[asyncio.Task[None]] = set()
        """Of guests that are left to the process beside them."""
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._places = asyncio.Semaphore(_MOST_HELD)

    def is_frozen(self, uid: str) -> bool:
        """Whether the guest is frozen by this process."""
        return uid in self._frozen

    async def thaw(self, uid: str) -> int:
        """The number of file systems that something left frozen; a guest that is held stays so."""
        hold = self._holds.get(uid)
        return await self._thaw(uid) if hold is None or hold.over else 0

    async def hold(self, uid: str, seconds: float) -> tuple[int, float]:
        """Freeze a guest until ``release``, for ``seconds`` at the most; one that is held stays as it was asked.

        Returns the number of file systems and the seconds that are left. Raises what the freeze raises, and
        TooManyRequests.
        """
        hold = self._holds.get(uid)
        if hold is None or hold.over:
            if len(self._holds) >= _MOST_ASKED:
                raise TooManyRequests(
                    f"{_MOST_ASKED} guests of this node are held frozen already; thaw one of them first."
                )
            hold = self._holds[uid] = _Hold(clock.elapsed() + seconds)
            hold.begun.add_done_callback(lambda begun: begun.cancelled() or begun.exception())
            hold.task = asyncio.create_task(self._keep(uid, hold, seconds), name=f"hold {uid}")
        return await asyncio.shield(hold.begun), max(0.0, hold.until - clock.elapsed())

    async def release(self, uid: str) -> bool | None:
        """Thaw a guest that is held: whether it was frozen all the time; None where nobody holds it."""
        hold = self._holds.get(uid)
        if hold is None or hold.task is None:
            return None
        async with hold.lent:
            hold.ends.set()
        await asyncio.wait({hold.task})
        return hold.whole

    async def close(self) -> None:
        """Thaw what is held; what does not answer is thawed by its process."""
        tasks = [hold.task for hold in self._holds.values() if hold.task is not None] + [*self._late]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, uid: str, hold: _Hold, seconds: float) -> None:
        try:
            async with self._freezes(uid, seconds + _LATER_SECONDS) as frozen:
                hold.until = clock.elapsed() + seconds
                hold.begun.set_result(frozen.file_systems)
                try:
                    async with asyncio.timeout(seconds):
                        await hold.ends.wait()
                except TimeoutError:
                    _log.warning("Domain %s was not thawed in time by who had it frozen.", uid)
                finally:
                    hold.over = True
            hold.whole = frozen.whole
        except Exception as err:  # noqa: BLE001  border: whoever asked is told
            if not hold.begun.done():
                hold.begun.set_exception(err)
        finally:
            hold.over = True
            if not hold.begun.done():
                hold.begun.cancel()
            if self._holds.get(uid) is hold:
                del self._holds[uid]

    @asynccontextmanager
    async def frozen(self, uid: str) -> AsyncIterator[Frozen]:
        """The guest's writes wait while the block runs, at most ``FREEZE_SECONDS``, or as it is held already.

        Raises what the freeze raises, and nothing if the thaw fails: that is tried again beside.
        """
        hold = self._holds.get(uid)
        if hold is not None and not hold.over:
            await asyncio.wait({hold.begun})
        if hold is None or hold.over or hold.begun.exception() is not None:
            async with self._freezes(uid, FREEZE_SECONDS) as frozen:
                yield frozen
            return
        async with hold.lent:
            frozen, begun = Frozen(hold.begun.result()), clock.elapsed()
            try:
                yield frozen
            finally:
                frozen.seconds, frozen.whole = clock.elapsed() - begun, not hold.over

    @asynccontextmanager
    async def _freezes(self, uid: str, seconds: float) -> AsyncIterator[Frozen]:
        turn = self._turns.setdefault(uid, asyncio.Lock())
        async with turn, self._places:
            guard = await self._guard(uid, seconds)
            frozen = Frozen(0)
            begun = clock.elapsed()
            try:
                frozen.file_systems = await self._freeze(uid)
                begun = clock.elapsed()
                self._frozen.add(uid)
                self._changed(uid)
                yield frozen
            finally:
                thaw = asyncio.ensure_future(self._end(uid, guard, begun))
                cancelled: asyncio.CancelledError | None = None
                while not thaw.done():
                    try:
                        await asyncio.wait({thaw})
                    except asyncio.CancelledError as err:
                        cancelled = err
                if thaw.result() >= 0:
                    self._thawed(uid)
                else:
                    late = asyncio.create_task(self._await_thaw(uid, guard), name=f"thaw {uid}")
                    self._late.add(late)
                    late.add_done_callback(self._late.discard)
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

    async def _await_thaw(self, uid: str, guard: subprocess.Process) -> None:
        """By the process that goes on with it."""
        await guard.wait()
        self._thawed(uid)

    def _thawed(self, uid: str) -> None:
        self._frozen.discard(uid)
        self._changed(uid)

    async def _guard(self, uid: str, seconds: float) -> subprocess.Process:
        environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "hyperd.hypervisor.thaw", self._uri, uid, str(seconds),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )  # fmt: skip
