"""aiohttp's low-level server, with one change: what is no HTTP gets a Status too, and no traceback in the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from hyperd.api import answers
from hyperd.api.doors import Doors
from hyperd.errors import BadRequest, HyperdError, InternalError, RequestHeaderFieldsTooLarge
from hyperd.shares import Grant

_LOG = logging.getLogger(__name__)
_MAX_SHOWN = 200
_IDLE_SECONDS = 120.0
"""How long a connection may say nothing, before its first request and between requests."""
MAX_LINE_BYTES = 32 << 10
"""The longest request line or header: selectors with many names come as one line."""


class Connection(RequestHandler):
    """One connection of a client, and the share that it counts for."""

    __slots__ = ("_deadline", "_doors", "_grant", "user")

    def __init__(
        self, manager: web.Server, grant: Grant[int] | Grant[str] | None, doors: Doors | None, **limits: Any
    ) -> None:
        """``doors`` give it another share once somebody logs in over it."""
        super().__init__(manager, **limits)
        self._grant = grant
        self._doors = doors
        self._deadline: asyncio.TimerHandle | None = None
        self.user = ""
        """Whose share it counts for."""

    def expect_within(self, seconds: float) -> None:
        """End it unless ``good`` is called until then."""
        if self.transport is not None and self._doors is not None and not self.user:
            self._deadline = asyncio.get_running_loop().call_later(seconds, self.abort)

    def good(self) -> None:
        """A request was answered over it: from now on only silence ends it."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def login(self, user: str, *, privileged: bool) -> None:
        """``user`` asks over it. Raises TooManyRequests where that one has too many connections."""
        if self._doors is None or self.user == user:
            return
        grant = self._doors.login(user, self.abort, privileged=privileged)
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
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun, and cannot become another one")
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

    @classmethod
    def of(cls, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> HttpServer:
        """With the limits that every listener of ours has."""
        return cls(
            handler,
            handler_cancellation=True,
            keepalive_timeout=_IDLE_SECONDS,
            access_log=None,
            auto_decompress=False,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
        )

    def __call__(self) -> RequestHandler:
        return self.connection(None, None)

    def connection(self, grant: Grant[int] | Grant[str] | None, doors: Doors | None) -> Connection:
        """The protocol of a connection that counts for ``grant``."""
        return Connection(self, grant, doors, loop=self._loop, **self._kwargs)
