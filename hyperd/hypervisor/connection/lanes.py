"""Calls into guests, kept apart: one whose QEMU does not answer holds nothing but its own call.

A QEMU that hangs (stopped, or in a device's I/O for ever) never answers its monitor, and libvirt's call never
comes back. So each call has a lane to itself, a thread with a connection of its own: libvirtd reads no more from a
connection with five calls that wait. Of each guest one call runs at a time, beside one that ends it. A call that
takes longer than some seconds no longer counts for the others, who go on as if it were not there; what comes later
for that guest is refused at once. libvirtd has twenty workers, so that many calls may hang, and some are kept for
ending guests.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import libvirt

from hyperd.errors import TooManyRequests
from hyperd.hypervisor.connection import errors_map, eventthread
from hyperd.hypervisor.connection.workers import Workers
from hyperd.shares import Shares

T = TypeVar("T")

MAX_LANES = 16
FOR_ENDING = 4
"""Lanes that only calls that end a guest may take."""
PATIENCE = 3.0
"""So long a call counts as one of those that run at once."""
HUNG_SECONDS = 15.0
"""So long a call may run until others of its guest are refused, as its QEMU does not answer."""
KEEPALIVE = (5, 3)


class _Lane:
    """A thread and its own connection, opened when first used and again after it broke."""

    def __init__(self, uri: str, name: str) -> None:
        self._uri = uri
        self._conn: libvirt.virConnect | None = None
        self._thread = Workers(name, 1)

    def run(self, function: Callable[[libvirt.virConnect], T]) -> Future[T]:
        return self._thread.submit(lambda: function(self._connection()))

    def close(self) -> None:
        """Once what runs has ended."""
        self._thread.submit(self._discard)
        self._thread.close()

    def _connection(self) -> libvirt.virConnect:
        if self._conn is not None:
            if self._conn.isAlive():
                return self._conn
            self._discard()
        eventthread.ensure_running()
        conn = libvirt.open(self._uri)
        with contextlib.suppress(libvirt.libvirtError):  # drivers inside the process have none
            conn.setKeepAlive(*KEEPALIVE)
        self._conn = conn
        return conn

    def _discard(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(libvirt.libvirtError):
                conn.close()


class Lanes:
    """At most ``parallel`` calls run at once, not counting those that hang.

    ``trouble`` says why libvirt cannot be asked at all; empty while it can.
    """

    def __init__(self, uri: str, *, parallel: int, trouble: Callable[[], str]) -> None:
        self._uri = uri
        self._trouble = trouble
        self._parallel = max(1, parallel)
        self._running: Shares[str] = Shares("calls", self._parallel, waiting=1000)
        self._lanes: Shares[str] = Shares("calls", MAX_LANES, reserve=FOR_ENDING, most=1, waiting=1000)
        self._since: dict[str, float] = {}
        """When the call of a guest began that runs now."""
        self._idle: list[_Lane] = []
        self._numbers = itertools.count()
        self._closed = False

    def hung(self) -> int:
        """Calls that hang."""
        now = asyncio.get_running_loop().time()
        return sum(now - since > HUNG_SECONDS for since in self._since.values())

    def close(self) -> None:
        """Leave the calls that run to themselves."""
        self._closed = True
        for lane in self._idle:
            lane.close()
        self._idle.clear()

    async def call(
        self,
        guest: str,
        what: str,
        function: Callable[[libvirt.virConnect], T],
        *,
        timeout: float,
        ends: bool = False,
    ) -> T:
        """Run ``function`` with a connection in a thread, as the one call into ``guest``.

        ``ends``: it ends the guest, so it need not wait for another call, nor for the guest to answer. Raises
        ServiceUnavailable after ``timeout`` seconds and where an earlier call hangs, else libvirt's error
        translated. The call itself may go on after a timeout.
        """
        if trouble := self._trouble():
            raise errors_map.unavailable(what, trouble)
        key = f"{guest} ends" if ends else guest
        loop = asyncio.get_running_loop()
        begun = self._since.get(key)
        if begun is not None and loop.time() - begun > HUNG_SECONDS:
            raise errors_map.hung(what, "an earlier call still waits for it")
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.wrap_future(await self._begin(key, function, ends=ends))
        except (TimeoutError, TooManyRequests):
            if trouble := self._trouble():
                raise errors_map.unavailable(what, trouble) from None
            if key in self._since:
                raise errors_map.hung(what, f"no answer in {timeout:g} s") from None
            raise errors_map.unavailable(
                what, f"{self.hung()} guests that do not answer hold up its calls"
            ) from None
        except libvirt.libvirtError as err:
            raise errors_map.translate(err, what) from err

    async def _begin(self, key: str, function: Callable[[libvirt.virConnect], T], *, ends: bool) -> Future[T]:
        grant = await self._lanes.acquire(key, privileged=ends)
        running = None
        try:
            running = await self._running.acquire(key)
            # Its thread may not start: then nothing has begun.
            lane = self._idle.pop() if self._idle else _Lane(self._uri, f"libvirt-guest-{next(self._numbers)}")
        except BaseException:
            if running is not None:
                running.release()
            grant.release()
            raise
        loop = asyncio.get_running_loop()
        self._since[key] = loop.time()
        patience = loop.call_later(PATIENCE, running.release)

        def ended() -> None:
            patience.cancel()
            self._since.pop(key, None)
            self._put_back(lane)
            running.release()
            grant.release()

        future = lane.run(function)
        future.add_done_callback(lambda _: _on_loop(loop, ended))
        return future

    def _put_back(self, lane: _Lane) -> None:
        if self._closed or len(self._idle) >= self._parallel:
            lane.close()
        else:
            self._idle.append(lane)


def _on_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has closed
        loop.call_soon_threadsafe(callback)
