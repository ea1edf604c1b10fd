"""Request bodies, from the wire to JSON values.

Bodies come from anybody. Their size is judged here; what they say is read by ``parsing``, in a process of its own
where it is large.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from hyperd.api.wire import parsing, protobuf
from hyperd.api.wire.grain import too_fine
from hyperd.api.wire.negotiate import JSON
from hyperd.errors import BadRequest, RequestEntityTooLarge, RequestTimeout, UnsupportedMediaType
from hyperd.offload import Share, is_large, is_large_text
from hyperd.resources.schema.kind import Object

_YAML_TYPES = ("application/yaml", "application/yml", "text/yaml", "text/x-yaml", "application/x-yaml")
_READ_TIMEOUT = 60.0
"""Between two pieces, which does not count the turns that are waited for."""
_EXTENDED_SECONDS = 1.0
_WHOLE_TIMEOUT = 600.0
_MAX_SHOWN = 200
_CHUNKS_A_STEP = 64


async def read(request: web.BaseRequest, limit: int) -> bytes:
    """The whole body.

    Raises RequestEntityTooLarge beyond ``limit`` bytes, RequestTimeout when it does not come, BadRequest when its
    chunks are broken, UnsupportedMediaType when it is compressed.
    """
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise UnsupportedMediaType(
            f"bodies of the Content-Encoding {encoding[:64]!r} are not taken; send identity"
        )
    too_large = RequestEntityTooLarge(f"the request body is larger than the limit of {limit} bytes")
    if (request.content_length or 0) > limit:
        raise too_large
    if not request.can_read_body:
        return b""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        async with asyncio.timeout(_WHOLE_TIMEOUT):
            async with asyncio.timeout(_READ_TIMEOUT) as scope:
                return await _joined(request, limit, too_large, scope)
    except TimeoutError:
        raise RequestTimeout(
            f"the request body did not arrive within {_WHOLE_TIMEOUT:.0f} seconds, or nothing of it within "
            f"{_READ_TIMEOUT:.0f}"
        ) from None
    except (HttpProcessingError, web.RequestPayloadError) as err:
        raise BadRequest(f"the request body cannot be read: {_one_line(str(err))}") from err


async def _joined(
    request: web.BaseRequest, limit: int, too_large: RequestEntityTooLarge, scope: asyncio.Timeout
) -> bytes:
    """Piece by piece, some in a step; ``scope``, which ends the wait for one, is put off with those that come."""
    pieces: list[bytes] = []
    size = chunks = 0
    loop = asyncio.get_running_loop()
    extended = loop.time()
    while True:
        piece, ends = await request.content.readchunk()
        if (now := loop.time()) - extended > _EXTENDED_SECONDS:  # not for each: a timer costs more than a chunk
            extended = now
            scope.reschedule(now + _READ_TIMEOUT)
        if not piece and not ends:
            return b"".join(pieces)
        size, chunks = size + len(piece), chunks + ends
        if size > limit:
            request.protocol.close()  # what is still to come is not parsed
            raise too_large
        if too_fine(size, chunks):
            request.protocol.close()
            raise BadRequest(
                f"the request body comes in {chunks} chunks of {size // chunks} bytes on average; send larger ones"
            )
        pieces.append(piece)
        if not ends or chunks % _CHUNKS_A_STEP == 0:
            scope.reschedule(None)
            await asyncio.sleep(0)
            extended = loop.time()
            scope.reschedule(extended + _READ_TIMEOUT)


async def parse_object(
    body: bytes, content_type: str, *, protobuf_allowed: bool, share: Share | None = None
) -> tuple[Object, list[str]]:
    """An API object and the paths of its duplicate keys; ``share`` has processes for what is large.

    Raises BadRequest when it is not an object, RequestEntityTooLarge when it is more than can be worked off,
    UnsupportedMediaType for other types.
    """
    if content_type == protobuf.MEDIA_TYPE:
        if not protobuf_allowed:
            raise UnsupportedMediaType("This resource takes application/json or application/yaml, not protobuf.")
        value, duplicates = await _parse(body, "protobuf", share)
    elif content_type in _YAML_TYPES:
        value, duplicates = await _parse(body, "yaml", share)
    elif content_type in ("", JSON, "application/octet-stream", "application/x-www-form-urlencoded"):
        # curl -d sends its own default type; a body without a known type is read as JSON, as kube-apiserver does.
        value, duplicates = await parse_json(body, share)
    else:
        raise UnsupportedMediaType(
            f"The body's type {content_type!r} is not supported; send {JSON} or application/yaml."
        )
    if not isinstance(value, dict):
        raise BadRequest(f"the body must be an object, not {_json_type(value)}")
    return value, duplicates


async def parse_json(body: bytes, share: Share | None = None) -> tuple[Any, list[str]]:
    """A JSON value and the paths of its duplicate keys. Raises BadRequest, RequestEntityTooLarge."""
    return await _parse(body, "json", share)


async def parse_config(body: bytes, share: Share | None = None) -> tuple[Any, list[str]]:
    """What is to be applied, JSON or YAML. Raises BadRequest, RequestEntityTooLarge."""
    return await _parse(body, "config", share)


async def _parse(body: bytes, form: str, share: Share | None) -> tuple[Any, list[str]]:
    if not (is_large if form == "json" else is_large_text)(body):
        return parsing.READERS[form](body)
    if share is None:
        return await asyncio.to_thread(parsing.READERS[form], body)
    words, parts = await share.run("hyperd.api.wire.parsing:parsed", {"form": form}, body)
    return orjson.loads(parts[0] if parts else body), words["duplicates"]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_MAX_SHOWN]


def _json_type(value: Any) -> str:
    names: dict[type, str] = {
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")
