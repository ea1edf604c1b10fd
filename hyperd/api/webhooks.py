"""What a cluster's API server asks of hyperd when objects are written or read in another version.

An API server presents no certificate to webhooks unless its administrator arranges for it, so these paths answer
whoever can connect. That is safe because they decide nothing: they write nothing, and what they say is about the
objects in the question. The one thing a stranger learns is what the rules say of other objects (that a class
exists, that an address is leased, that a user may read an image).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from hyperd.admission.webhook import AdmissionWebhook
from hyperd.api import answers, bodies
from hyperd.api.negotiate import JSON
from hyperd.errors import BadRequest, MethodNotAllowed, Timeout, TooManyRequests, UnsupportedMediaType
from hyperd.resources import conversion_review
from hyperd.resources.kind import Object
from hyperd.resources.names import CONVERSION_PATH, MUTATION_PATH, VALIDATION_PATH

_MEMORY_BYTES: Final = 256 << 20
"""What all bodies together may take; questions beyond are refused at once."""
_READ_SECONDS: Final = 10.0
"""API servers give up after so long."""
_OFF_LOOP_BYTES: Final = 64 << 10


class Webhooks:
    """The handlers behind the three paths."""

    def __init__(self, admission: AdmissionWebhook, *, max_body_bytes: int) -> None:
        """``max_body_bytes`` is the limit of one object; a question may hold two, a conversion a whole list."""
        self._answers: Mapping[str, Callable[[Object], Awaitable[Object]]] = {
            MUTATION_PATH: admission.mutate,
            VALIDATION_PATH: admission.validate,
            CONVERSION_PATH: _convert,
        }
        self._limit = 4 * max_body_bytes
        self._held = 0

    def owns(self, path: str) -> bool:
        return path in self._answers

    async def answer(self, request: web.BaseRequest, path: str, request_id: str) -> web.StreamResponse:
        """Raises MethodNotAllowed, UnsupportedMediaType, BadRequest, RequestEntityTooLarge, TooManyRequests."""
        if request.method != "POST":
            raise MethodNotAllowed(f"{path} takes POST only")
        if request.content_type != JSON:
            raise UnsupportedMediaType(f"{path} takes {JSON} only")
        size = min(request.content_length or self._limit, self._limit)
        if self._held + size > _MEMORY_BYTES:
            raise TooManyRequests("too many webhook requests at once; try again", retry_after_seconds=1)
        self._held += size
        try:
            review = await self._read(request)
            return answers.document(orjson.dumps(await self._answers[path](review)), request_id)
        except orjson.JSONEncodeError as err:
            raise BadRequest(f"the body is nested too deeply: {err}") from err
        finally:
            self._held -= size

    async def _read(self, request: web.BaseRequest) -> Object:
        try:
            async with asyncio.timeout(_READ_SECONDS):
                body = await bodies.read(request, self._limit)
        except TimeoutError:
            raise Timeout(f"the request body did not arrive within {_READ_SECONDS:.0f} seconds") from None
        try:
            large = len(body) > _OFF_LOOP_BYTES
            review: Any = await asyncio.to_thread(orjson.loads, body) if large else orjson.loads(body)
        except orjson.JSONDecodeError as err:
            raise BadRequest(f"the body is not valid JSON: {err}") from err
        if not isinstance(review, dict):
            raise BadRequest("the body must be an object")
        return review


async def _convert(review: Object) -> Object:
    return await asyncio.to_thread(conversion_review.answer, review)
