"""The border of an HTTP server of ours: from whatever an answer's making raises to an answer.

Each request gets an id; each answer, and each error as a Status, is counted and logged here.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from hyperd import clock, logs
from hyperd.api.access.authorization import Attributes
from hyperd.api.audit.log import AuditLog, Entry
from hyperd.api.endpoints import answers
from hyperd.api.sessions.lending import PATH as EXPORTS
from hyperd.api.wire.metrics import Metrics
from hyperd.errors import HyperdError, InternalError
from hyperd.resources.values.names import EVICTION_PATH
from hyperd.shares import Grant
from hyperd.store.interface import User
from registry.intake import PATH as UPLOADS

_LOG = logging.getLogger(__name__)
_CLIENT_LEFT = 499
"""Stands in the audit log for an answer that nobody waited for; the write may have been made all the same."""
_LONGEST_AGENT = 128
_LONGEST_PATH = 1024


class RequestInfo:
    """What the logs and the metrics say of a request; filled in as it becomes known."""

    __slots__ = ("attributes", "by", "made", "place", "resource", "source", "user", "verb", "warnings", "writes")

    def __init__(self) -> None:
        self.verb = "unknown"
        self.resource = ""
        self.source = ""
        self.user: User | None = None
        self.by: User | None = None
        """Who really asks, where it asks as ``user``."""
        self.attributes: Attributes | None = None
        self.made = ""
        self.place: Grant[str] | None = None
        """Its share of the requests in flight."""
        self.warnings: list[str] = []
        """What the user is told beside the answer, whatever that is."""
        self.writes = False
        """Whether it is meant to change something, or opens a session."""

    def leave(self) -> None:
        """It goes on for long, and counts as something else than a request in flight."""
        if self.place is not None:
            self.place.release()


Answer = Callable[[web.BaseRequest, str, RequestInfo], Awaitable[web.StreamResponse]]
"""``answer(request, request_id, seen)``; raises HyperdError for a Status."""


class Middleware:
    """The handler for ``web.Server``."""

    def __init__(self, answer: Answer, metrics: Metrics, audit: AuditLog | None = None) -> None:
        self._answer = answer
        self._metrics = metrics
        self._audit = audit
        self._boot = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        started = time.perf_counter()
        request_id = f"{self._boot}-{next(self._numbers):x}"
        logs.request_id.set(request_id)
        seen = RequestInfo()
        code = _CLIENT_LEFT
        try:
            response = await self._respond(request, request_id, seen)
            code = response.status
        finally:
            elapsed = time.perf_counter() - started
            if self._audit is not None and self._audit.wants(code, writes=seen.writes):
                self._audit.record(_entry(request, request_id, seen, code=code, seconds=elapsed))
        self._metrics.observe(seen.verb, seen.resource, code, elapsed)
        if _LOG.isEnabledFor(logging.DEBUG):
            _LOG.debug(
                "%s %s %d",
                request.method,
                shown_path(request),
                code,
                extra={"user": seen.user.name if seen.user else "", "milliseconds": round(elapsed * 1000, 3)},
            )
        return response

    async def _respond(self, request: web.BaseRequest, request_id: str, seen: RequestInfo) -> web.StreamResponse:
        try:
            response = await self._answer(request, request_id, seen)
        except HyperdError as err:
            if answers.begun(request):
                _LOG.warning("An answer is cut: %s", err.message, extra={"path": shown_path(request)})
                raise _cut() from err
            response = answers.failure(err, request, request_id)
            answers.add_warnings(response, seen.warnings)
        except ConnectionError:
            # The client is gone; aiohttp closes what is left of the connection.
            raise
        except Exception as err:  # the named border: a defect must not reach the user as a traceback
            path = shown_path(request)
            _LOG.exception("A request failed", extra={"path": path})
            if answers.begun(request):
                raise _cut() from err
            defect = InternalError(
                f"Internal error ({type(err).__name__}); the daemon's log has the details under {request_id}."
            )
            response = answers.failure(defect, request, request_id)
        if answers.is_large(response):
            await answers.deliver(request, response)
        return response


def _cut() -> ConnectionAbortedError:
    """What was begun cannot become an error; cut off, it is not taken for whole."""
    return ConnectionAbortedError("the answer could not be gone on with")


def shown_path(request: web.BaseRequest) -> str:
    """The path as logs may have it: an upload's ends in a secret, and so do an export's and that of evictions."""
    path = request.raw_path.partition("?")[0]
    return next((prefix for prefix in (UPLOADS, EXPORTS, EVICTION_PATH) if path.startswith(prefix)), path)


def _entry(
    request: web.BaseRequest,
    request_id: str,
    seen: RequestInfo,
    *,
    code: int,
    seconds: float,
    opened: bool = False,
) -> Entry:
    """What the audit log says of a request."""
    path = shown_path(request)
    return Entry(
        at=clock.wall(),
        request=request_id,
        source=seen.source,
        agent=request.headers.get("User-Agent", "")[:_LONGEST_AGENT],
        user=seen.user,
        by=seen.by.name if seen.by else "",
        attributes=seen.attributes or Attributes(request.method.lower(), path=path[:_LONGEST_PATH]),
        code=code,
        milliseconds=seconds * 1000,
        made=seen.made,
        opened=opened,
    )


def record_opening(audit: AuditLog, request: web.BaseRequest, request_id: str, seen: RequestInfo) -> None:
    """That a session begins, which may last: its end is recorded as every request's is."""
    if audit.wants(0, writes=True):
        audit.record(_entry(request, request_id, seen, code=0, seconds=0, opened=True))
