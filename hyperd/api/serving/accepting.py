"""Accepting connections one at a time, each within its share and in its turn; what comes to nothing is not logged.

asyncio's own server takes what comes until the process has no descriptor left, and logs a traceback for each one
that it cannot take. This one asks ``ConnectionLimits`` first, and when there is no descriptor it waits and says so
once a minute.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
import ssl
import struct
import time
from contextlib import suppress
from typing import Final

from hyperd.api.limits.connections import ConnectionLimits
from hyperd.api.serving.httpserver import Connection, HttpServer
from hyperd.shares import Grant

_LOG = logging.getLogger(__name__)
HANDSHAKE_SECONDS: Final = 10.0
FIRST_REQUEST_SECONDS: Final = 15.0
"""How long a connection may take, its handshake included, to its first good request."""
_PAUSE_SECONDS: Final = 0.2
_SAY_AGAIN_SECONDS: Final = 60.0
_UCRED: Final = struct.Struct("3i")


class Listener:
    """Serves what connects to ``sock`` from ``start`` to ``close`` or ``retire``, which close the socket too."""

    def __init__(
        self,
        http: HttpServer,
        sock: socket.socket,
        connections: ConnectionLimits,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._http = http
        self._sock = sock
        self._connections = connections
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._local = sock.family == socket.AF_UNIX
        self._arriving: set[asyncio.Task[None]] = set()
        self._resume: asyncio.TimerHandle | None = None
        self._logged_at = -_SAY_AGAIN_SECONDS
        self._closed = False

    def start(self) -> None:
        self._sock.setblocking(False)
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def close(self) -> None:
        """Accept nobody any more; what has begun to arrive is dropped, what is connected stays."""
        self.retire()
        for task in self._arriving:
            task.cancel()

    @property
    def arriving(self) -> bool:
        """Whether somebody has begun to arrive."""
        return bool(self._arriving)

    def retire(self) -> None:
        """Accept nobody any more, as another one does; what has begun to arrive and what is connected stay."""
        if self._closed:
            return
        self._closed = True
        if self._resume is not None:
            self._resume.cancel()
        else:
            self._loop.remove_reader(self._sock.fileno())
        self._sock.close()

    def _accept(self) -> None:
        """One at a time: what is connected already is served in between."""
        try:
            sock, address = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as err:
            self._wait(err)
            return
        sock.setblocking(False)
        arrival = _Arrival()
        grant = self._admit(arrival, sock, address)
        if grant is None:
            sock.close()
            return
        task = self._loop.create_task(self._serve(arrival, sock, grant))
        arrival.task = task
        self._arriving.add(task)
        task.add_done_callback(functools.partial(self._arrived, sock, grant))

    def _arrived(self, sock: socket.socket, grant: Grant[int] | Grant[str], task: asyncio.Task[None]) -> None:
        self._arriving.discard(task)
        if task.cancelled():  # before its first step, so nobody has cleaned up
            grant.release()
            sock.close()

    def _admit(self, arrival: _Arrival, sock: socket.socket, address: object) -> Grant[int] | Grant[str] | None:
        if not self._local:
            host = address[0] if isinstance(address, tuple) else ""
            return self._connections.stranger(str(host), arrival.abort)
        try:
            _, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        except OSError:
            return None
        return self._connections.neighbour(uid, privileged=uid in (0, os.geteuid()))

    async def _serve(self, arrival: _Arrival, sock: socket.socket, grant: Grant[int] | Grant[str]) -> None:
        try:
            if self._context is not None:
                await self._hello(sock)
            turn = self._http.passing(grant)
            if turn is not None:
                await turn
            protocol = self._http.connection(grant, None if self._local else self._connections)
            arrival.protocol = protocol
            await self._loop.connect_accepted_socket(
                lambda: protocol,
                sock,
                ssl=self._context,
                ssl_handshake_timeout=arrival.left(HANDSHAKE_SECONDS) if self._context else None,
            )
        except (OSError, ssl.SSLError, asyncio.CancelledError) as err:
            # No TLS, a certificate that is not good, or somebody who left: nobody's fault here.
            if arrival.protocol is None:
                sock.close()
            grant.release()
            _LOG.debug("A connection came to nothing: %s", err)
            # Its frames know what failed, which knows the error: a flood of such circles keeps the collector busy.
            err.__traceback__ = None
            return
        except BaseException:
            grant.release()
            raise
        if not self._local:
            protocol.expect_within(arrival.left(FIRST_REQUEST_SECONDS))

    async def _hello(self, sock: socket.socket) -> None:
        """Return when a TLS client has begun to speak: who says nothing costs no TLS session.

        Raises TimeoutError for a silent one, ConnectionResetError for one that left.
        """
        with suppress(BlockingIOError):
            _expect_more(sock)
            return
        spoken: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(sock.fileno(), _set, spoken)
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                await spoken
        finally:
            self._loop.remove_reader(sock.fileno())
        _expect_more(sock)

    def _wait(self, err: OSError) -> None:
        """No descriptor or memory for one more: leave them in the kernel's queue for a moment."""
        self._loop.remove_reader(self._sock.fileno())
        self._resume = self._loop.call_later(_PAUSE_SECONDS, self._again)
        now = time.monotonic()
        if now - self._logged_at >= _SAY_AGAIN_SECONDS:
            self._logged_at = now
            _LOG.warning("Connections wait, for none can be accepted: %s", err.strerror)

    def _again(self) -> None:
        self._resume = None
        self._loop.add_reader(self._sock.fileno(), self._accept)


def _expect_more(sock: socket.socket) -> None:
    """Raises ConnectionResetError where nothing more will come, BlockingIOError where nothing is there yet."""
    if not sock.recv(1, socket.MSG_PEEK):
        raise ConnectionResetError("it left without a word")


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _Arrival:
    """A connection from its accept on, so that it can be ended at any moment."""

    def __init__(self) -> None:
        self.since = asyncio.get_running_loop().time()
        self.task: asyncio.Task[None] | None = None
        self.protocol: Connection | None = None

    def left(self, seconds: float) -> float:
        """Of so many seconds since the accept; more than 0."""
        return max(0.001, self.since + seconds - asyncio.get_running_loop().time())

    def abort(self) -> None:
        protocol = self.protocol
        if protocol is not None and protocol.transport is not None:
            protocol.abort()
        elif self.task is not None:
            self.task.cancel()
