"""From the bytes of a body to JSON values: JSON, YAML and the core kinds' protobuf.

Bytes come from anybody. Syntax, nesting, doubled keys and the number of values are judged here, in time linear in
the size; what is large is read by another process than the daemon (``hyperd.offload``).
"""

from __future__ import annotations

import json
from typing import Final

import orjson

from hyperd.api.wire import protobuf
from hyperd.errors import BadRequest
from hyperd.jsontypes import Json
from hyperd.offload import Answer, Options
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.limits import MAX_DEPTH, MAX_VALUES, too_deep, too_many_values

MAX_DUPLICATES: Final = 100
"""So many doubled keys are named."""


def read_json(body: bytes) -> tuple[Json, list[str]]:
    """A JSON value and the paths of its duplicate keys. Raises BadRequest, RequestEntityTooLarge."""
    if not body.strip():
        raise BadRequest("the request needs a body: a JSON or YAML object")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as err:
        raise BadRequest(f"the body is not valid JSON: {err}") from err
    return value, _duplicates(body)


def read_yaml(body: bytes) -> tuple[Json, list[str]]:
    """One YAML document as JSON values, and its duplicate keys. Raises BadRequest, RequestEntityTooLarge."""
    # Most clients send JSON, and the daemon without YAML is smaller.
    from hyperd.api.wire import yamlcode

    return yamlcode.load(body)


def read_config(body: bytes) -> tuple[Json, list[str]]:
    """What is to be applied, JSON or YAML. Raises BadRequest, RequestEntityTooLarge."""
    if body.lstrip()[:1] == b"{":
        # JSON is YAML, but much cheaper to read as what it is.
        try:
            return read_json(body)
        except BadRequest:
            return read_yaml(body)
    return read_yaml(body)


def read_protobuf(body: bytes) -> tuple[Json, list[str]]:
    """An object of a core kind. Raises BadRequest, RequestEntityTooLarge, UnsupportedMediaType."""
    return protobuf.decode(body), []


READERS: Final = {"json": read_json, "yaml": read_yaml, "config": read_config, "protobuf": read_protobuf}


def parsed(options: Options, body: bytes) -> Answer:
    """For ``Offload``: the JSON of a body in ``options["form"]``, and its duplicate keys."""
    form = options["form"]
    value, duplicates = READERS[form](body)
    words = {"duplicates": duplicates}
    # JSON that is known to be in order is read again by who has it, rather than sent back.
    return words, () if form == "json" else (orjson.dumps(value),)


def written(options: Options, content: bytes) -> Answer:
    """For ``Offload``: JSON in the form ``options["form"]`` of an answer."""
    form = options["form"]
    if form == "indented":
        return {}, (orjson.dumps(orjson.loads(content), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),)
    obj: Object = orjson.loads(content)
    from hyperd.api.wire import yamlcode

    return {}, (yamlcode.dump(obj) if form == "yaml" else protobuf.encode(obj),)


def warm() -> None:
    """Load what the functions load when they first run: later the process cannot read files."""
    read_yaml(b"a: 1.5")
    written({"form": "yaml"}, b"{}")


OFFLOADED: Final = (parsed, written)


class _Pairs(list[tuple[str, Json]]):
    """An object as its pairs, so that a key that comes twice is seen."""

    __slots__ = ()


def _duplicates(body: bytes) -> list[str]:
    """The paths of doubled keys, of which the first are enough."""
    try:
        # Numbers are not looked at, and Python refuses long ones.
        root = json.loads(body, object_pairs_hook=_Pairs, parse_int=_nothing, parse_float=_nothing)
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    found: list[str] = []
    if isinstance(root, list):
        _walk(root, [], found, [MAX_VALUES])
    return found


def _nothing(_: str) -> None:
    return


def _walk(value: list[Json], path: list[str], found: list[str], left: list[int]) -> None:
    left[0] -= len(value)
    if left[0] < 0:
        raise too_many_values("the body")
    if len(path) > MAX_DEPTH:
        raise too_deep("".join(path))
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, content in value:
            if key in seen and len(found) < MAX_DUPLICATES:
                found.append("".join([*path, f".{key}"]).removeprefix("."))
            seen.add(key)
            if isinstance(content, list):
                path.append(f".{key}")
                _walk(content, path, found, left)
                path.pop()
        return
    for index, content in enumerate(value):
        if isinstance(content, list):
            path.append(f"[{index}]")
            _walk(content, path, found, left)
            path.pop()
