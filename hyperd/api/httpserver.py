"""aiohttp's low-level server, with one change: what is no HTTP gets a Status too, and no traceback in the log."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from hyperd.api import answers
from hyperd.errors import BadRequest, HyperdError, InternalError, RequestHeaderFieldsTooLarge

_LOG = logging.getLogger(__name__)
_MAX_SHOWN = 200
_IDLE_SECONDS = 120.0
"""How long a connection may say nothing, before its first request and between requests."""
MAX_LINE_BYTES = 32 << 10
"""The longest request line or header: selectors with many names come as one line."""


class _Connection(RequestHandler):
    """One connection of a client."""

    __slots__ = ()

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
        return _Connection(self, loop=self._loop, **self._kwargs)
