"""From items, lists and errors to HTTP answers, in the form the client accepts.

The common case (JSON, whole objects) sends the store's bytes as they are; a list is a join.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

import orjson
from aiohttp import web

from hyperd.api import negotiate, protobuf, tables
from hyperd.api.negotiate import JSON, PLAIN, PROBLEM, YAML, Accepted, Form
from hyperd.api.options import Query
from hyperd.api.routes import Target
from hyperd.api.veil import Veil
from hyperd.errors import HyperdError, Unauthorized
from hyperd.resources.kind import Object
from hyperd.store.interface import Item, Listing, User

REQUEST_ID = "X-Request-Id"
SLOW_READER_SECONDS = 30.0
"""How long a client may leave sent bytes unread before it is dropped."""
_LARGE_BYTES = 64 << 10
_OFF_LOOP_ITEMS = 100
_ONE = frozenset({Form.TABLE, Form.PARTIAL})
_MANY = frozenset({Form.TABLE, Form.PARTIAL_LIST})
_WATCHED = frozenset({Form.TABLE, Form.PARTIAL})
_MAX_WARNING = 1024


@dataclass(slots=True)
class Call:
    """One request for a resource, understood."""

    request: web.BaseRequest
    id: str
    user: User
    target: Target
    query: Query
    warnings: list[str] = field(default_factory=list)
    made: str = ""
    """Name of the object that was created."""
    veil: Veil | None = None
    """What the answer must pass; None where the kind hides nothing."""

    @property
    def accept(self) -> str:
        return self.request.headers.get("Accept", "")

    def accepted(self, forms: frozenset[Form]) -> Accepted:
        """Raises NotAcceptable."""
        kind = self.target.kind
        speaks_protobuf = kind.core and protobuf.speaks(kind.kind)
        return negotiate.negotiate(self.accept, forms, protobuf=speaks_protobuf)

    def watch_form(self) -> Accepted:
        """Watches stream JSON. Raises NotAcceptable."""
        return negotiate.negotiate(self.accept, _WATCHED)


def send(call: Call, body: bytes, *, status: int = 200, content_type: str = JSON) -> web.Response:
    """Bytes as they are, with the request's id and warnings."""
    response = web.Response(body=body, status=status, headers={"Content-Type": content_type, REQUEST_ID: call.id})
    for warning in call.warnings:
        response.headers.add("Warning", warning_header(warning))
    return response


async def item(call: Call, item: Item, *, status: int = 200) -> web.Response:
    """One object."""
    if call.veil is not None:
        item = await call.veil.over(item)
    accepted = call.accepted(_ONE)
    if accepted is PLAIN:
        return send(call, item.raw, status=status)
    if accepted.form is not Form.OBJECT:
        include = tables.include_object(call.query.get("includeObject"))
        return send(call, tables.Formatter(call.target.kind, accepted, include).one(item), status=status)
    return await _encoded(call, accepted, item.object(), status)


async def listing(call: Call, found: Listing) -> web.Response:
    """A list, joined from the items' bytes."""
    if call.veil is not None:
        found = replace(found, items=await call.veil.over_all(found.items))
    kind = call.target.kind
    accepted = call.accepted(_MANY)
    metadata: Object = {"resourceVersion": found.resource_version}
    if found.continue_token:
        metadata["continue"] = found.continue_token
        if found.remaining is not None:
            metadata["remainingItemCount"] = found.remaining
    if accepted.form is not Form.OBJECT:
        include = tables.include_object(call.query.get("includeObject"))
        formatter = tables.Formatter(kind, accepted, include)
        if len(found.items) > _OFF_LOOP_ITEMS:
            return send(call, await asyncio.to_thread(formatter.many, found.items, metadata))
        return send(call, formatter.many(found.items, metadata))
    head = {"kind": kind.list_kind, "apiVersion": kind.api_version, "metadata": metadata}
    if accepted is PLAIN:
        return send(call, join(head, found.items))
    return await _encoded(call, accepted, head | {"items": [one.object() for one in found.items]}, 200)


def join(head: Object, items: Sequence[Item]) -> bytes:
    """A list's JSON without parsing its items."""
    return b"".join((orjson.dumps(head)[:-1], b',"items":[', b",".join([one.raw for one in items]), b"]}"))


async def _encoded(call: Call, accepted: Accepted, obj: Object, status: int) -> web.Response:
    if accepted.media_type == YAML:
        return send(call, await asyncio.to_thread(_yaml, obj), status=status, content_type=YAML)
    if accepted.media_type == protobuf.MEDIA_TYPE:
        return send(call, protobuf.encode(obj), status=status, content_type=protobuf.MEDIA_TYPE)
    return send(call, orjson.dumps(obj), status=status)


def _yaml(obj: Object) -> bytes:
    from hyperd.api import yamlcode

    return yamlcode.dump(obj)


def success(call: Call, deleted: Item) -> web.Response:
    """The Status that answers a completed delete."""
    kind = call.target.kind
    details = {"name": deleted.name, "group": kind.group, "kind": kind.plural, "uid": deleted.uid}
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {key: value for key, value in details.items() if value},
    }
    return send(call, orjson.dumps(status))


def document(value: Any, request_id: str, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON document that is no resource."""
    return web.Response(
        body=value if isinstance(value, bytes) else orjson.dumps(value),
        headers={"Content-Type": JSON, REQUEST_ID: request_id, **(headers or {})},
    )


async def deliver(request: web.BaseRequest, response: web.Response) -> None:
    """Send a large answer, and drop a reader that does not take it. Raises ConnectionError then."""
    try:
        async with asyncio.timeout(SLOW_READER_SECONDS):
            await response.prepare(request)
            await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionAbortedError("the client does not read its answer") from None


def is_large(response: web.StreamResponse) -> TypeGuard[web.Response]:
    """Whether ``response`` is more than the socket takes at once."""
    body = response.body if isinstance(response, web.Response) else None
    return isinstance(body, bytes) and len(body) > _LARGE_BYTES


def text(value: str, request_id: str, *, content_type: str = "text/plain; charset=utf-8") -> web.Response:
    return web.Response(body=value.encode(), headers={"Content-Type": content_type, REQUEST_ID: request_id})


def failure(error: HyperdError, request: web.BaseRequest, request_id: str, *, allow: str = "") -> web.Response:
    """An error as a Status, or as an RFC 9457 document where that is asked for."""
    status = error.status()
    content_type = JSON
    if negotiate.wants_problem(request.headers.get("Accept", "")):
        content_type = PROBLEM
        status = _problem(status, request_id)
    headers = {"Content-Type": content_type, REQUEST_ID: request_id}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="hyperd"'
    if allow:
        headers["Allow"] = allow
    return web.Response(body=orjson.dumps(status), status=error.code, headers=headers)


def _problem(status: Object, request_id: str) -> Object:
    problem = {
        "type": "about:blank",
        "title": status["reason"],
        "status": status["code"],
        "detail": status["message"],
        "instance": request_id,
    }
    return problem | ({"details": status["details"]} if "details" in status else {})


def warning_header(message: str) -> str:
    """RFC 7234's form, which kubectl prints: code 299, no agent, the sentence quoted."""
    clean = re.sub(r"[\x00-\x1f\x7f]+", " ", message)[:_MAX_WARNING]
    escaped = clean.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{escaped}"'
