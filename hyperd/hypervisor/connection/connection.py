"""One connection to libvirt that comes back by itself, and the threads that use it.

libvirtd serves five requests of a client at a time and then stops reading from it, keepalives included, so a
connection has at most four threads; ``LibvirtHypervisor`` opens one for quick reads and one for what takes long.
Nothing here waits on libvirt in the event loop: a frozen libvirtd costs a call its deadline, no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable
from typing import TypeAlias, TypeVar

import libvirt

from hyperd.background import Background
from hyperd.backoff import backoff
from hyperd.hypervisor.connection import errors_map, eventthread
from hyperd.hypervisor.connection.workers import Workers

log = logging.getLogger(__name__)
T = TypeVar("T")
Connect: TypeAlias = libvirt.virConnect

MAX_THREADS = 4
KEEPALIVE_SECONDS = 5
KEEPALIVE_MISSES = 3
FIRST_DELAY = 0.05
LAST_DELAY = 5.0
CLOSE_TIMEOUT = 2.0
OPEN_PATIENCE = 5.0


class _ConnectionLost(Exception):
    """A call failed because its connection is dead."""


class Connection:
    """A connection to ``uri``, reopened with back-off for as long as ``start``…``close``.

    ``prepare`` runs in a thread on each new connection before anyone else uses it: it registers for events.
    ``changed`` runs on the loop whenever ``connected`` changes.
    """

    def __init__(
        self,
        uri: str,
        *,
        name: str,
        threads: int,
        prepare: Callable[[Connect], None],
        changed: Callable[[], None],
    ) -> None:
        self.last_error = "not connected yet"
        self._uri = uri
        self._name = name
        self._prepare = prepare
        self._changed = changed
        self._workers = Workers(f"libvirt-{name}", max(1, min(threads, MAX_THREADS)))
        self._opener = Workers(f"libvirt-{name}-open", 1)
        self._conn: Connect | None = None
        self._lost = asyncio.Event()
        self._closed = False
        self._background = Background()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def connected(self) -> bool:
        return self._conn is not None

    def start(self) -> None:
        """Begin to connect, in the background."""
        self._loop = asyncio.get_running_loop()
        self._background.spawn(self._keep, f"libvirt {self._name}")

    async def close(self) -> None:
        """Close; a libvirtd that does not answer is left behind."""
        self._closed = True
        await self._background.stop()
        if (conn := self._conn) is not None:
            self._conn = None
            with contextlib.suppress(TimeoutError, libvirt.libvirtError):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._opener.run(functools.partial(_discard, conn))
        self._workers.close()
        self._opener.close()

    async def call(self, what: str, function: Callable[[Connect], T], *, timeout: float) -> T:
        """Run ``function`` with the connection in a thread.

        ``what`` says what it is for, as in "start domain 6f1f…". Raises ServiceUnavailable without a connection
        and after ``timeout`` seconds, else libvirt's error translated. The call itself may go on after a timeout.
        """
        conn = self._conn
        if conn is None:
            raise errors_map.unavailable(what, self.last_error)
        try:
            async with asyncio.timeout(timeout):
                return await self._workers.run(functools.partial(_guarded, conn, function))
        except TimeoutError:
            raise errors_map.unavailable(what, f"no answer in {timeout:g} s") from None
        except _ConnectionLost as err:
            self._lose(conn, str(err))
            raise errors_map.unavailable(what, str(err)) from err
        except libvirt.libvirtError as err:
            raise errors_map.translate(err, what) from err

    async def _keep(self) -> None:
        failures = 0
        while True:
            try:
                conn = await self._opened()
            except libvirt.libvirtError as err:
                if self.last_error != (error := _message(err)):
                    log.warning("libvirt at %s (%s) is not reachable: %s", self._uri, self._name, error)
                self.last_error = error
                failures += 1
                await asyncio.sleep(backoff(failures, first=FIRST_DELAY, last=LAST_DELAY))
                continue
            failures = 0
            self._lost.clear()
            self._conn, self.last_error = conn, ""
            self._changed()
            await self._lost.wait()
            log.warning("lost libvirt at %s (%s): %s", self._uri, self._name, self.last_error)
            self._changed()
            with contextlib.suppress(libvirt.libvirtError):
                await self._opener.run(functools.partial(_discard, conn))

    async def _opened(self) -> Connect:
        """A new connection, however long it takes; a frozen libvirtd answers once it is thawed."""
        opening = self._opener.run(self._open)
        done, _ = await asyncio.wait({opening}, timeout=OPEN_PATIENCE)
        if not done:
            self.last_error = "libvirtd does not answer"
        return await opening

    def _open(self) -> Connect:
        eventthread.ensure_running()
        conn = libvirt.open(self._uri)
        try:
            with contextlib.suppress(libvirt.libvirtError):  # drivers inside the process have neither
                conn.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_MISSES)
                conn.registerCloseCallback(self._on_close, None)
            self._prepare(conn)
        except BaseException:
            conn.close()
            raise
        if self._closed:
            conn.close()
        return conn

    def _on_close(self, conn: Connect, reason: int, _opaque: object) -> None:
        """In libvirt's event thread."""
        why = {
            libvirt.VIR_CONNECT_CLOSE_REASON_EOF: "libvirtd closed the connection",
            libvirt.VIR_CONNECT_CLOSE_REASON_KEEPALIVE: "libvirtd does not answer",
        }.get(reason, "the connection broke")
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed
                self._loop.call_soon_threadsafe(self._lose, conn, why)

    def _lose(self, conn: Connect, why: str) -> None:
        if conn is self._conn:
            self._conn = None
            self.last_error = why
            self._lost.set()


def _guarded(conn: Connect, function: Callable[[Connect], T]) -> T:
    try:
        return function(conn)
    except libvirt.libvirtError as err:
        if not _alive(conn):
            raise _ConnectionLost(_message(err)) from err
        raise


def _alive(conn: Connect) -> bool:
    try:
        return bool(conn.isAlive())
    except libvirt.libvirtError:
        return False


def _discard(conn: Connect) -> None:
    with contextlib.suppress(libvirt.libvirtError):
        conn.unregisterCloseCallback()
    conn.close()


def _message(err: libvirt.libvirtError) -> str:
    return (err.get_error_message() or str(err)).strip().rstrip(".")
