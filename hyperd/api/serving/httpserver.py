"""aiohttp's low-level server, with one change: what is no HTTP gets a Status too, and no traceback in the log."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from hyperd.api.endpoints import answers
from hyperd.api.limits.connections import ConnectionLimits
from hyperd.api.limits.turns import Turns, for_whom
from hyperd.errors import BadRequest, HyperdError, InternalError, RequestHeaderFieldsTooLarge
from hyperd.shares import Grant

_LOG = logging.getLogger(__name__)
Handler = Callable[[web.BaseRequest], Coroutine[object, None, web.StreamResponse]]
_MAX_SHOWN = 200
_IDLE_SECONDS = 120.0
"""How long a connection may say nothing, before its first request and between requests."""
_LINGER_SECONDS = 2.0
"""How long a body is still read that was refused, so that its sender reads why."""
MAX_LINE_BYTES = 32 << 10
"""The longest request line or header: selectors with many names come as one line."""
_READ_BYTES = 16 << 10
"""What is parsed of a body in one go is twice that, or one chunk for each 16 bytes of it."""


class Connection(RequestHandler):
    """One connection of a client, and the share that it counts for."""

    __slots__ = ("_connections", "_deadline", "_grant", "_held", "_turn", "_turns", "asked_by", "user")

    def __init__(
        self,
        manager: web.Server,
        grant: Grant[int] | Grant[str] | None,
        connections: ConnectionLimits | None,
        turns: Turns | None = None,
        **limits: Any,
    ) -> None:
        """``connections`` give it another share once somebody logs in over it.

        What arrives is parsed, and what is asked done, in the ``turns`` of who sends it.
        """
        super().__init__(manager, **limits)
        self._grant = grant
        self._connections = connections
        self._deadline: asyncio.TimerHandle | None = None
        self.user = ""
        """Whose turns, and whose share if there are any, it counts for."""
        self.asked_by = ""
        """Whose turns this request takes, where the connection is not its user's: a front proxy's carries many."""
        self._turns = turns
        self._held: list[bytes] = []
        self._turn: asyncio.Future[None] | None = None
        """What waits to be parsed waits for it."""

    def take_turn(self) -> asyncio.Future[None] | None:
        """None: go on now. Else what to wait for first."""
        if self._turns is None:
            return None
        whose = self.asked_by or self.user
        if whose:
            return self._turns.take(whose)
        return _passing(self._turns, self._grant)

    def gate(self) -> asyncio.Semaphore | None:
        """What works of its user pass that keep no turns."""
        return None if self._turns is None else self._turns.gate(self.asked_by or self.user)

    def data_received(self, data: bytes) -> None:
        if self._turn is None and self._turns is not None and self._turns.shared:
            self._turn = self.take_turn()
            if self._turn is not None:
                self._turn.add_done_callback(self._have_turn)
                self._pause_transport_reading()
        if self._turn is None:
            super().data_received(data)
        else:
            self._held.append(data)

    def _have_turn(self, turn: asyncio.Future[None]) -> None:
        held, self._held, self._turn = self._held, [], None
        if turn.cancelled() or self.transport is None:
            return
        super().data_received(b"".join(held))
        if not self._reading_paused and not self._buffer_paused:
            self._resume_transport_reading()

    def _resume_transport_reading(self) -> None:
        if self._turn is None:
            super()._resume_transport_reading()

    def expect_within(self, seconds: float) -> None:
        """End it unless ``good`` is called until then."""
        if self.transport is not None and self._connections is not None and not self.user:
            self._deadline = asyncio.get_running_loop().call_later(seconds, self.abort)

    def good(self) -> None:
        """A request was answered over it: from now on only silence ends it."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def login(self, user: str, *, privileged: bool) -> None:
        """``user`` asks over it. Raises TooManyRequests where that one has too many connections."""
        if self.user == user:
            return
        if self._connections is None:
            self.user = user
            return
        grant = self._connections.login(user, self.abort, privileged=privileged)
        former, self._grant, self.user = self._grant, grant, user
        if former is not None:
            former.release()
        self.good()

    def abort(self) -> None:
        """End it at once, whatever it does."""
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.good()
        if self._turn is not None:
            self._turn.cancel()
        if self._grant is not None:
            self._grant.release()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to bytes that are no request; the connection ends with it."""
        if answers.begun(request) or isinstance(exc, ConnectionError):
            raise ConnectionError("nobody can be told: the answer has begun, or the connection has ended")
        # The parser quotes the bytes over several lines; the first says what is wrong.
        why = " ".join((message or "").split("\n\n", 1)[0].split())[:_MAX_SHOWN].rstrip(":")
        if isinstance(exc, LineTooLong):
            error: HyperdError = RequestHeaderFieldsTooLarge("the request line or a header is longer than 32 KiB")
        elif status >= 500:
            _LOG.error("A connection failed", exc_info=exc)
            error = InternalError("Internal error; the daemon's log has the details.")
        else:
            error = BadRequest(f"the request is not valid HTTP/1.1: {why or 'it cannot be parsed'}")
        _LOG.debug("Not HTTP, from %s: %s", request.remote, why)
        response = answers.failure(error, request, "")
        response.force_close()
        return response


class HttpServer(web.Server):
    """Makes our connections."""

    turns: Turns | None = None

    @classmethod
    def of(cls, handler: Handler, turns: Turns | None = None) -> HttpServer:
        """With the limits that every listener of ours has; all that is done for somebody is done in ``turns``."""
        made = cls(
            handler if turns is None else functools.partial(_in_turns, handler),
            handler_cancellation=True,
            keepalive_timeout=_IDLE_SECONDS,
            access_log=None,
            read_bufsize=_READ_BYTES,
            lingering_time=_LINGER_SECONDS,
            auto_decompress=False,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
        )
        made.turns = turns
        return made

    def __call__(self) -> RequestHandler:
        return self.connection(None, None)

    def passing(self, grant: Grant[int] | Grant[str]) -> asyncio.Future[None] | None:
        """None: a connection that counts for ``grant`` may begin now. Else what to wait for first."""
        return None if self.turns is None else _passing(self.turns, grant)

    def connection(
        self, grant: Grant[int] | Grant[str] | None, connections: ConnectionLimits | None
    ) -> Connection:
        """The protocol of a connection that counts for ``grant``."""
        return Connection(self, grant, connections, self.turns, loop=self._loop, **self._kwargs)


def _passing(turns: Turns, grant: Grant[int] | Grant[str] | None) -> asyncio.Future[None] | None:
    key = "" if grant is None else grant.key
    return turns.take_passing(key) if isinstance(key, str) else turns.take_local(key)


async def _in_turns(handler: Handler, request: web.BaseRequest) -> web.StreamResponse:
    connection = request.protocol
    assert isinstance(connection, Connection)  # noqa: S101  this server makes no others
    try:
        return await for_whom(handler(request), connection.take_turn, connection.gate)
    finally:
        connection.asked_by = ""
