"""Request bodies, from bytes to JSON values: JSON, YAML and the core kinds' protobuf.

Bodies come from anybody. Size, nesting and duplicate keys are judged here, before anything else looks at them.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from hyperd.api import protobuf
from hyperd.api.negotiate import JSON
from hyperd.errors import BadRequest, RequestEntityTooLarge, RequestTimeout, UnsupportedMediaType
from hyperd.resources.kind import Object

_YAML_TYPES = ("application/yaml", "application/yml", "text/yaml", "text/x-yaml", "application/x-yaml")
_OFF_LOOP_BYTES = 64 << 10
_MAX_DEPTH = 200
_READ_TIMEOUT = 60.0
_MAX_SHOWN = 200


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
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_READ_TIMEOUT):
            while chunk := await request.content.readany():
                size += len(chunk)
                if size > limit:
                    raise too_large
                chunks.append(chunk)
    except TimeoutError:
        raise RequestTimeout(f"the request body did not arrive within {_READ_TIMEOUT:.0f} seconds") from None
    except (HttpProcessingError, web.RequestPayloadError) as err:
        raise BadRequest(f"the request body cannot be read: {_one_line(str(err))}") from err
    return b"".join(chunks)


async def parse_object(body: bytes, content_type: str, *, protobuf_allowed: bool) -> tuple[Object, list[str]]:
    """An API object and the paths of its duplicate keys.

    Raises BadRequest when it is not an object, UnsupportedMediaType for other types.
    """
    if content_type == protobuf.MEDIA_TYPE:
        if not protobuf_allowed:
            raise UnsupportedMediaType("This resource takes application/json or application/yaml, not protobuf.")
        return protobuf.decode(body), []
    if content_type in _YAML_TYPES:
        value, duplicates = await parse_yaml(body)
    elif content_type in ("", JSON, "application/octet-stream", "application/x-www-form-urlencoded"):
        # curl -d sends its own default type; a body without a known type is read as JSON, as kube-apiserver does.
        value, duplicates = await parse_json(body)
    else:
        raise UnsupportedMediaType(
            f"The body's type {content_type!r} is not supported; send {JSON} or application/yaml."
        )
    if not isinstance(value, dict):
        raise BadRequest(f"the body must be an object, not {_json_type(value)}")
    return value, duplicates


async def parse_json(body: bytes) -> tuple[Any, list[str]]:
    """A JSON value and the paths of its duplicate keys. Raises BadRequest."""
    if not body.strip():
        raise BadRequest("the request needs a body: a JSON or YAML object")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as err:
        raise BadRequest(f"the body is not valid JSON: {err}") from err
    if len(body) > _OFF_LOOP_BYTES:
        return value, await asyncio.to_thread(_duplicates, body)
    return value, _duplicates(body)


async def parse_config(body: bytes) -> tuple[Any, list[str]]:
    """What is to be applied, JSON or YAML, and the paths of its duplicate keys. Raises BadRequest."""
    if body.lstrip()[:1] == b"{":
        # JSON is YAML, but much cheaper to read as what it is.
        try:
            return await parse_json(body)
        except BadRequest:
            return await parse_yaml(body)
    return await parse_yaml(body)


class _Pairs(list[tuple[str, Any]]):
    """An object as its pairs, so that a key that comes twice is seen."""


def _duplicates(body: bytes) -> list[str]:
    found: list[str] = []
    try:
        _walk(json.loads(body, object_pairs_hook=_Pairs), "", found, 0)
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    return found


def _walk(value: Any, path: str, found: list[str], depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise BadRequest(f"the body is nested too deeply at {path[:80]}")
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, content in value:
            here = f"{path}.{key}" if path else key
            if key in seen:
                found.append(here)
            seen.add(key)
            _walk(content, here, found, depth + 1)
    elif isinstance(value, list):
        for index, content in enumerate(value):
            _walk(content, f"{path}[{index}]", found, depth + 1)


async def parse_yaml(body: bytes) -> tuple[Any, list[str]]:
    """A YAML document as JSON values. Raises BadRequest."""
    return await asyncio.to_thread(_load_yaml, body)


def _load_yaml(body: bytes) -> tuple[Any, list[str]]:
    from hyperd.api import yamlcode

    return yamlcode.load(body)


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
