"""Kubernetes' protobuf envelope of core kinds, driven by the field tables.

``kubectl create namespace`` and Go programs send core kinds as ``k8s\\0`` plus ``runtime.Unknown`` and do not ask
again in JSON. Bodies come from outside: every length is checked and nesting is bounded.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from hyperd.api.wire.messages import MESSAGES, SPECIAL, Field, Message
from hyperd.errors import BadRequest, NotAcceptable, UnsupportedMediaType
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.limits import MAX_VALUES, too_many_values

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"
_MAX_DEPTH = 16
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Malformed(Exception):
    """The bytes are not protobuf."""


def speaks(kind: str) -> bool:
    """Whether ``kind`` has a table."""
    return kind in MESSAGES


def decode(body: bytes) -> Object:
    """The object inside an envelope. Raises BadRequest, or UnsupportedMediaType for a kind without a table."""
    if not body.startswith(MAGIC):
        raise BadRequest("The body is not Kubernetes protobuf: it does not start with the magic number.")
    try:
        left = [MAX_VALUES]
        envelope = _decode(MESSAGES["Unknown"], memoryview(body)[len(MAGIC) :], 0, left)
        type_meta = envelope.get("typeMeta", {})
        kind = type_meta.get("kind", "")
        message = MESSAGES.get(_named(type_meta.get("apiVersion", ""), kind))
        if message is None:
            raise UnsupportedMediaType(f"Objects of kind {kind!r} are not accepted as protobuf; send JSON.")
        raw = base64.b64decode(envelope.get("raw", ""))
        obj = _decode(message, memoryview(raw), 0, left)
    except (_Malformed, ValueError, OverflowError) as err:
        raise BadRequest(f"The protobuf body cannot be read: {err}.") from err
    return {"kind": kind, "apiVersion": type_meta.get("apiVersion", ""), **obj}


def encode(obj: Object) -> bytes:
    """The envelope of an object, a list or a Status. Raises NotAcceptable for a kind without a table."""
    kind = str(obj.get("kind", ""))
    named = _named(str(obj.get("apiVersion", "")), kind)
    message = MESSAGES.get(named) or _list_message(named)
    if message is None:
        raise NotAcceptable(f"Objects of kind {kind!r} are not served as protobuf; accept application/json.")
    try:
        raw = _encode(message, obj)
    except (TypeError, ValueError, AttributeError, binascii.Error) as err:
        raise NotAcceptable(f"This {kind} cannot be written as protobuf: {err}.") from err
    type_meta = {"apiVersion": obj.get("apiVersion", ""), "kind": kind}
    envelope = {"typeMeta": type_meta, "raw": base64.b64encode(raw).decode(), "contentType": ""}
    return MAGIC + _encode(MESSAGES["Unknown"], envelope)


def _named(api_version: str, kind: str) -> str:
    """The table of a kind: events of the group of that name are told from core's."""
    return f"Events{kind}" if api_version.startswith("events.k8s.io/") else kind


def _list_message(kind: str) -> Message | None:
    item = kind.removesuffix("List")
    if item == kind or item not in MESSAGES:
        return None
    return Message(kind, (Field("metadata", 1, "ListMeta"), Field("items", 2, item, "list")))


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise _Malformed("a number is cut off or too long")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7


def _entries(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise _Malformed(f"wire type {wire} is unknown")
        if at + length > len(data):
            raise _Malformed("a field is longer than the message")
        yield tag >> 3, data[at : at + length]
        at += length


def _decode(message: Message, data: memoryview, depth: int, left: list[int]) -> Object:
    """``left`` counts down how many fields there may be yet."""
    if depth > _MAX_DEPTH:
        raise _Malformed("messages are nested too deeply")
    obj: Object = {}
    for number, value in _entries(data):
        left[0] -= 1
        if left[0] < 0:
            raise too_many_values("the body")
        field = message.by_number.get(number)
        if field is None:
            continue
        if field.shape == "map":
            key, content = _map_entry(field, value, depth, left)
            obj.setdefault(field.name, {})[key] = content
        elif field.shape == "list":
            obj.setdefault(field.name, []).append(_value(field, value, depth, left))
        else:
            content = _value(field, value, depth, left)
            if content or field.optional or field.name == "metadata":
                obj[field.name] = content
    return obj


def _map_entry(field: Field, entry: int | memoryview, depth: int, left: list[int]) -> tuple[str, Any]:
    if isinstance(entry, int):
        raise _Malformed(f"{field.name} is not a map")
    key, content = "", _value(field, memoryview(b""), depth, left)
    for number, value in _entries(entry):
        if number == 1 and not isinstance(value, int):
            key = str(value, "utf-8")
        elif number == 2:
            content = _value(field, value, depth, left)
    return key, content


def _value(field: Field, value: int | memoryview, depth: int, left: list[int]) -> Any:
    if field.type in ("int", "bool"):
        if not isinstance(value, int):
            raise _Malformed(f"{field.name} is not a number")
        if field.type == "bool":
            return bool(value)
        return value - (1 << 64) if value >> 63 else value
    if isinstance(value, int):
        raise _Malformed(f"{field.name} is a number")
    if field.type == "string":
        return str(value, "utf-8")
    if field.type == "bytes":
        return base64.b64encode(value).decode()
    if field.type == "ExtraValue":
        texts = [str(one, "utf-8") for number, one in _entries(value) if number == 1 and not isinstance(one, int)]
        left[0] -= len(texts)
        return texts
    if field.type in SPECIAL:
        return _special(field.type, dict(_entries(value)))
    return _decode(MESSAGES[field.type], value, depth + 1, left)


def _special(type_: str, fields: dict[int, int | memoryview]) -> Any:
    first = fields.get(1)
    if type_ == "IntOrString":
        text = fields.get(3, b"")
        return str(text, "utf-8") if first and not isinstance(text, int) else _signed(fields.get(2, 0))
    if type_ in ("Time", "MicroTime"):
        return _time(_signed(first or 0), _signed(fields.get(2, 0)), type_) if fields else None
    if first is None or isinstance(first, int):
        return None
    return orjson.loads(first) if type_ == "FieldsV1" else str(first, "utf-8")


def _signed(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise _Malformed("a number was expected")
    return value - (1 << 64) if value >> 63 else value


def _time(seconds: int, nanos: int, type_: str) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    if type_ == "Time":
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return moment.replace(microsecond=nanos // 1000).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _put_varint(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _put_bytes(number: int, content: bytes) -> bytes:
    return _put_varint(number << 3 | _BYTES) + _put_varint(len(content)) + content


def _encode(message: Message, obj: Object) -> bytes:
    out = bytearray()
    for field in message.fields:
        value = obj.get(field.name)
        if value is None:
            continue
        if field.shape == "list":
            for one in value:
                out += _put(field, field.number, one)
        elif field.shape == "map":
            for key, one in value.items():
                entry = _put_bytes(1, key.encode()) + _put(field, 2, one)
                out += _put_bytes(field.number, entry)
        else:
            out += _put(field, field.number, value)
    return bytes(out)


def _put(field: Field, number: int, value: Any) -> bytes:
    if field.type in ("int", "bool"):
        return _put_varint(number << 3 | _VARINT) + _put_varint(int(value))
    if field.type == "string":
        return _put_bytes(number, str(value).encode())
    if field.type == "bytes":
        return _put_bytes(number, base64.b64decode(value, validate=True))
    if field.type in SPECIAL:
        return _put_bytes(number, _encode_special(field.type, value))
    return _put_bytes(number, _encode(MESSAGES[field.type], value))


def _encode_special(type_: str, value: Any) -> bytes:
    if type_ == "ExtraValue":
        return b"".join(_put_bytes(1, str(one).encode()) for one in value)
    if type_ == "IntOrString":
        if isinstance(value, int):
            return b"\x08\x00\x10" + _put_varint(value)
        return b"\x08\x01" + _put_bytes(3, str(value).encode())
    if type_ in ("Time", "MicroTime"):
        moment = datetime.fromisoformat(value)
        return b"\x08" + _put_varint(int(moment.timestamp())) + b"\x10" + _put_varint(moment.microsecond * 1000)
    return _put_bytes(1, orjson.dumps(value) if type_ == "FieldsV1" else str(value).encode())
