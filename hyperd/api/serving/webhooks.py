"""What a cluster's API server asks of hyperd when objects are written or read in another version.

An API server presents no certificate to webhooks unless its administrator arranges for it, so these paths answer
whoever can connect. That is safe because they decide nothing: they write nothing, and what they say is about the
objects in the question. The one thing a stranger learns is what the rules say of other objects (that a class
exists, that an address is leased, that a user may read an image). Evictions, which do write, have an address that
no stranger knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import orjson
from aiohttp import web

from hyperd.admission import question
from hyperd.admission.question import Question
from hyperd.admission.webhook import AdmissionWebhook, Review
from hyperd.api.endpoints import answers
from hyperd.api.limits.connections import network_of
from hyperd.api.serving.evictions import Evictions
from hyperd.api.wire import bodies
from hyperd.api.wire.negotiate import JSON
from hyperd.errors import (
    BadRequest,
    MethodNotAllowed,
    RequestEntityTooLarge,
    Timeout,
    TooManyRequests,
    UnsupportedMediaType,
)
from hyperd.offload import Answer, Offload, Options, Share, is_large
from hyperd.resources import conversion_review
from hyperd.resources.values.names import CONVERSION_PATH, MUTATION_PATH, VALIDATION_PATH

_MEMORY_BYTES: Final = 256 << 20
"""What all bodies together may take; questions beyond are refused at once."""
_READ_SECONDS: Final = 10.0
"""API servers give up after so long."""


class Webhooks:
    """The handlers behind the paths."""

    def __init__(
        self,
        admission: AdmissionWebhook,
        evictions: Evictions,
        *,
        max_body_bytes: int,
        processes: Offload | None = None,
    ) -> None:
        """``max_body_bytes`` is the limit of one object; a question may hold two, a conversion a whole list.

        ``processes`` read what is large; threads do without them.
        """
        self._verdicts: Mapping[str, Callable[[Question], Awaitable[Review]]] = {
            MUTATION_PATH: admission.mutate,
            VALIDATION_PATH: admission.validate,
        }
        self._evictions = evictions
        self._limit = 4 * max_body_bytes
        self._processes = processes
        self._held = 0

    def owns(self, path: str) -> bool:
        return path in self._verdicts or path == CONVERSION_PATH or self._evictions.owns(path)

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
            body = await self._read(request)
            share = None if self._processes is None else Share(self._processes, network_of(request.remote or ""))
            if path == CONVERSION_PATH:
                return answers.document(await _converted(body, share), request_id)
            if self._evictions.owns(path):
                if is_large(body):
                    raise RequestEntityTooLarge("an eviction's review is smaller")
                return answers.document(
                    orjson.dumps(await self._evictions.judge(question.parsed(body))), request_id
                )
            verdict = await self._verdicts[path](await _question(body, share))
            return answers.document(orjson.dumps(verdict), request_id)
        except orjson.JSONEncodeError as err:
            raise BadRequest(f"the body is nested too deeply: {err}") from err
        finally:
            self._held -= size

    async def _read(self, request: web.BaseRequest) -> bytes:
        try:
            async with asyncio.timeout(_READ_SECONDS):
                return await bodies.read(request, self._limit)
        except TimeoutError:
            raise Timeout(f"the request body did not arrive within {_READ_SECONDS:.0f} seconds") from None


async def _question(body: bytes, share: Share | None) -> Question:
    if not is_large(body):
        return Question.of(question.parsed(body))
    words, (new, old) = await _beside(question.read, share, body)
    return question.reread(words, new, old, body)


async def _converted(body: bytes, share: Share | None) -> bytes:
    if not is_large(body):
        return conversion_review.answered({}, body)[1][0]
    return (await _beside(conversion_review.answered, share, body))[1][0]


async def _beside(function: Callable[[Options, bytes], Answer], share: Share | None, body: bytes) -> Answer:
    if share is None:
        return await asyncio.to_thread(function, {}, body)
    return await share.run(f"{function.__module__}:{function.__name__}", {}, body)
