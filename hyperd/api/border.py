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

from hyperd.api import answers
from hyperd.api.metrics import Metrics
from hyperd.errors import HyperdError, InternalError

_LOG = logging.getLogger(__name__)


class Seen:
    """What the log and the metrics say of a request; filled in as it becomes known."""

    __slots__ = ("resource", "user", "verb")

    def __init__(self) -> None:
        self.verb = "unknown"
        self.resource = ""
        self.user = ""


Answer = Callable[[web.BaseRequest, str, Seen], Awaitable[web.StreamResponse]]
"""``answer(request, request_id, seen)``; raises HyperdError for a Status."""


class Border:
    """The handler for ``web.Server``."""

    def __init__(self, answer: Answer, metrics: Metrics) -> None:
        self._answer = answer
        self._metrics = metrics
        self._boot = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        started = time.perf_counter()
        request_id = f"{self._boot}-{next(self._numbers):x}"
        seen = Seen()
        try:
            response = await self._answer(request, request_id, seen)
        except HyperdError as err:
            response = answers.failure(err, request, request_id)
        except ConnectionError:
            # The client is gone; aiohttp closes what is left of the connection.
            raise
        except Exception as err:  # noqa: BLE001  the named border: a defect must not reach the user as a traceback
            _LOG.exception("A request failed", extra={"request_id": request_id, "path": request.raw_path})
            defect = InternalError(
                f"Internal error ({type(err).__name__}); the daemon's log has the details under {request_id}."
            )
            response = answers.failure(defect, request, request_id)
        if answers.is_large(response):
            await answers.deliver(request, response)
        elapsed = time.perf_counter() - started
        self._metrics.observe(seen.verb, seen.resource, response.status, elapsed)
        if _LOG.isEnabledFor(logging.DEBUG):
            _LOG.debug(
                "%s %s %d",
                request.method,
                request.raw_path,
                response.status,
                extra={"request_id": request_id, "user": seen.user, "seconds": round(elapsed, 6)},
            )
        return response
