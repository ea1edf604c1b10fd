"""From items, lists and errors to HTTP answers, in the form the client accepts.

The common case (JSON, whole objects) sends the store's bytes as they are; a list is a join.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

import orjson
from aiohttp import web
from aiohttp.http import StreamWriter

from hyperd.api.access.redaction import Redaction
from hyperd.api.wire import compression, negotiate, parsing, protobuf, tables
from hyperd.api.wire.negotiate import JSON, PLAIN, PROBLEM, YAML, Accepted, Form
from hyperd.api.wire.query import Query
from hyperd.api.wire.routes import Target
from hyperd.errors import HyperdError, MethodNotAllowed, NotAcceptable, Unauthorized
from hyperd.offload import LARGE_BYTES, Offload, Share
from hyperd.resources.schema.kind import Object
from hyperd.slices import sliced
from hyperd.store.interface import FieldRequirement, Item, Listing, Selector, User

REQUEST_ID = "X-Request-Id"
SLOW_READER_SECONDS = 30.0
"""How long a client may leave sent bytes unread before it is dropped."""
_LONGEST_ANSWER_SECONDS = 600.0
"""For all of a large answer, to a client that reads it little by little."""
_LARGE_BYTES = 64 << 10
_COMPRESSED_BYTES = 128 << 10
_PIECE_BYTES = 64 << 10
"""Of a large answer: what is copied and handed to the socket in one step."""
_OFF_LOOP_BYTES = 128 << 10
ONE = frozenset({Form.TABLE, Form.PARTIAL})
MANY = frozenset({Form.TABLE, Form.PARTIAL_LIST})
"""The forms in which an object and a list are served."""
_WATCHED = frozenset({Form.TABLE, Form.PARTIAL})
_MAX_WARNING = 1024
_MAX_WARNINGS = 32
_MAX_WARNING_CHARS = 8 << 10
"""Of all warnings together."""


@dataclass(slots=True)
class Call:
    """One request for a resource, understood."""

    request: web.BaseRequest
    id: str
    user: User
    target: Target
    query: Query
    warnings: list[str]
    made: str = ""
    """Name of the object that was created."""
    redaction: Redaction | None = None
    """What the answer must pass; None where the kind hides nothing."""
    left_out: FieldRequirement | None = None
    """What a list or watch over all must also ask of objects, as the user may not see the others."""
    processes: Offload | None = None
    """What reads and writes large bodies; threads do without it."""

    @property
    def share(self) -> Share | None:
        """The processes as this user has them."""
        return None if self.processes is None else Share(self.processes, self.user.name)

    @property
    def accept(self) -> str:
        return self.request.headers.get("Accept", "")

    def accepted(self, forms: frozenset[Form]) -> Accepted:
        """How to answer; asked before a write is made.

        Raises NotAcceptable, and BadRequest for a Table's options.
        """
        kind = self.target.shape
        speaks_protobuf = kind.core and protobuf.speaks(kind.kind)
        accepted = negotiate.negotiate(self.accept, forms, protobuf=speaks_protobuf)
        if accepted.form is not Form.OBJECT:
            self.include_object()
        return accepted

    def within_sight(self, selector: Selector) -> Selector:
        """``selector`` for what the user may see."""
        if self.left_out is None:
            return selector
        return replace(selector, fields=(*selector.fields, self.left_out))

    def include_object(self) -> tables.IncludeObject:
        """How much of an object a Table's row carries. Raises BadRequest."""
        return tables.include_object(self.query.get("includeObject"))

    def watch_form(self) -> Accepted:
        """Watches stream JSON. Raises NotAcceptable."""
        accepted = negotiate.negotiate(self.accept, _WATCHED)
        if accepted.media_type != JSON:
            raise NotAcceptable("only the following media types are accepted for a watch: application/json")
        return accepted


def send(call: Call, body: bytes, *, status: int = 200, content_type: str = JSON) -> web.Response:
    """Bytes as they are, with the request's id and warnings."""
    response = web.Response(body=body, status=status, headers={"Content-Type": content_type, REQUEST_ID: call.id})
    add_warnings(response, call.warnings)
    return response


async def item(call: Call, item: Item, *, status: int = 200) -> web.Response:
    """One object."""
    if call.redaction is not None:
        item = await call.redaction.over(item)
    accepted = call.accepted(ONE)
    if accepted is PLAIN:
        return await _json(call, item.raw, status)
    if accepted.form is not Form.OBJECT:
        formatter = tables.Formatter(call.target.shape, accepted, call.include_object())
        if len(item.raw) > _OFF_LOOP_BYTES:
            return await _json(call, await asyncio.to_thread(formatter.one, item), status)
        return await _json(call, formatter.one(item), status)
    return await _encoded(call, accepted, item.raw, status)


async def listing(call: Call, found: Listing) -> web.StreamResponse:
    """A list, joined from the items' bytes."""
    if call.redaction is not None:
        found = replace(found, items=await call.redaction.over_all(found.items))
    kind = call.target.kind
    accepted = call.accepted(MANY)
    metadata: Object = {"resourceVersion": found.resource_version}
    if found.continue_token:
        metadata["continue"] = found.continue_token
        if found.remaining is not None:
            metadata["remainingItemCount"] = found.remaining
    if accepted.form is not Form.OBJECT:
        formatter = tables.Formatter(kind, accepted, call.include_object())
        entries = await sliced(found.items, formatter.entry, lambda one: len(one.raw))
        return await _joined(call, formatter.head(metadata), entries)
    head = {"kind": kind.list_kind, "apiVersion": kind.api_version, "metadata": metadata}
    ends = (orjson.dumps(head)[:-1] + b',"items":[', b"]}")
    if accepted is PLAIN:
        return await _joined(call, ends, [one.raw for one in found.items])
    whole = b",".join([one.raw for one in found.items]).join(ends)
    return await _encoded(call, accepted, whole, 200)


class Pieces(web.StreamResponse):
    """A large list's JSON; each piece is put together when it is sent."""

    def __init__(
        self, ends: tuple[bytes, bytes], entries: Sequence[bytes], size: int, headers: Mapping[str, str]
    ) -> None:
        """``size`` is that of all ``entries``, of which there is at least one, and ``ends``."""
        super().__init__(headers=headers)
        self._ends = ends
        self._entries = entries
        self.content_length = size + len(entries) - 1

    def pieces(self) -> Iterator[bytes]:
        """What it says."""
        parts, size, before = list[bytes](), 0, self._ends[0]
        for entry in self._entries:
            parts.append(entry)
            size += len(entry)
            if size > _PIECE_BYTES:
                yield before + b",".join(parts)
                parts, size, before = [], 0, b","
        yield (before if parts else b"") + b",".join(parts) + self._ends[1]


async def _joined(call: Call, ends: tuple[bytes, bytes], entries: Sequence[bytes]) -> web.StreamResponse:
    """A list of JSON, in pieces where it is large."""
    size = sum(map(len, entries)) + sum(map(len, ends))
    if not entries or size <= _LARGE_BYTES or call.query.asks("pretty"):
        return await _json(call, b",".join(entries).join(ends))
    pieces = Pieces(ends, entries, size, {"Content-Type": JSON, REQUEST_ID: call.id})
    if size >= _COMPRESSED_BYTES and compression.wanted(call.request):
        return await _compressed(call, pieces.pieces())
    add_warnings(pieces, call.warnings)
    return pieces


async def _json(call: Call, body: bytes, status: int = 200) -> web.Response:
    """JSON as it is; indented, or compressed for a remote reader, when that is asked for."""
    if call.query.asks("pretty"):
        body = await _written(call, "indented", body)
    if len(body) < _COMPRESSED_BYTES or not compression.wanted(call.request):
        return send(call, body, status=status)
    return await _compressed(call, (body,), status)


async def _compressed(call: Call, pieces: Iterable[bytes], status: int = 200) -> web.Response:
    response = send(call, await asyncio.to_thread(compression.compress, pieces), status=status)
    response.headers.update(compression.HEADERS)
    return response


async def _written(call: Call, form: str, content: bytes) -> bytes:
    """JSON in another form, by a process of its own where it is large."""
    if len(content) <= LARGE_BYTES or call.share is None:
        return (await asyncio.to_thread(parsing.written, {"form": form}, content))[1][0]
    return (await call.share.run("hyperd.api.wire.parsing:written", {"form": form}, content))[1][0]


async def _encoded(call: Call, accepted: Accepted, content: bytes, status: int) -> web.Response:
    if accepted.media_type == YAML:
        return send(call, await _written(call, "yaml", content), status=status, content_type=YAML)
    if accepted.media_type == protobuf.MEDIA_TYPE:
        body = await _written(call, "protobuf", content)
        return send(call, body, status=status, content_type=protobuf.MEDIA_TYPE)
    return await _json(call, content, status)


def _yaml(obj: Object) -> bytes:
    from hyperd.api.wire import yamlcode

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


def document(value: object, request_id: str, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON document that is no resource."""
    return web.Response(
        body=value if isinstance(value, bytes) else orjson.dumps(value),
        headers={"Content-Type": JSON, REQUEST_ID: request_id, **(headers or {})},
    )


async def encoded(value: Object, media_type: str) -> bytes:
    """JSON or YAML of a document."""
    return await asyncio.to_thread(_yaml, value) if media_type == YAML else orjson.dumps(value)


def digest(body: bytes) -> str:
    """What names these bytes in an ETag."""
    return hashlib.sha256(body).hexdigest()[:32].upper()


def cacheable(
    request: web.BaseRequest, body: bytes, request_id: str, tag: str, *, headers: Mapping[str, str]
) -> web.Response:
    """A document with its ETag, or 304 for a client that has it."""
    quoted = f'"{tag}"'
    headers = {"ETag": quoted, **headers}
    if quoted in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers={REQUEST_ID: request_id, **headers})
    return document(body, request_id, headers=headers)


async def deliver(request: web.BaseRequest, response: web.Response | Pieces) -> None:
    """Send a large answer, a piece in a step, and drop a reader that does not take it.

    Raises ConnectionError then.
    """
    try:
        async with asyncio.timeout(_LONGEST_ANSWER_SECONDS):
            await _taken(response.prepare(request))
            if request.method != "HEAD":
                for piece in response.pieces() if isinstance(response, Pieces) else _pieces(response):
                    await _taken(response.write(piece))
                    await asyncio.sleep(0)
            await _taken(web.StreamResponse.write_eof(response))
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionAbortedError("the client does not read its answer") from None


async def _taken(sending: Awaitable[object]) -> None:
    """Raises TimeoutError for what the client does not read. The turns between two writes are not its fault."""
    async with asyncio.timeout(SLOW_READER_SECONDS):
        await sending


def _pieces(response: web.Response) -> Iterator[memoryview]:
    body = response.body
    whole = memoryview(body if isinstance(body, bytes) else b"")
    for start in range(0, len(whole), _PIECE_BYTES):
        yield whole[start : start + _PIECE_BYTES]


def begun(request: web.BaseRequest) -> bool:
    """Whether the client has the begin of an answer, or will have: no other one can follow it."""
    writer = request.writer
    assert isinstance(writer, StreamWriter)  # noqa: S101  aiohttp's server makes no others
    return writer.output_size > 0 or writer.chunked or writer.length is not None


def is_large(response: web.StreamResponse) -> TypeGuard[web.Response | Pieces]:
    """Whether ``response`` is more than the socket takes at once."""
    body = response.body if isinstance(response, web.Response) else None
    return isinstance(response, Pieces) or (isinstance(body, bytes) and len(body) > _LARGE_BYTES)


def text(value: str, request_id: str, *, content_type: str = "text/plain; charset=utf-8") -> web.Response:
    return web.Response(body=value.encode(), headers={"Content-Type": content_type, REQUEST_ID: request_id})


def failure(error: HyperdError, request: web.BaseRequest, request_id: str) -> web.Response:
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
    if isinstance(error, MethodNotAllowed) and error.allow:
        headers["Allow"] = error.allow
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


def add_warnings(response: web.StreamResponse, warnings: Iterable[str]) -> None:
    """A header for each, before ``response`` is prepared; what is said twice is told once.

    Clients read no more than a hundred headers, or some kilobytes of them.
    """
    headers = [_warning_header(warning) for warning in dict.fromkeys(warnings)]
    size = 0
    for number, header in enumerate(headers):
        size += len(header)
        if number == _MAX_WARNINGS or size > _MAX_WARNING_CHARS:
            header = _warning_header(f"and {len(headers) - number} more warnings")
        response.headers.add("Warning", header)
        if number == _MAX_WARNINGS or size > _MAX_WARNING_CHARS:
            return


def _warning_header(message: str) -> str:
    """RFC 7234's form, which kubectl prints: code 299, no agent, the sentence quoted."""
    clean = re.sub(r"[\x00-\x1f\x7f]+", " ", message)[:_MAX_WARNING]
    escaped = clean.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{escaped}"'
