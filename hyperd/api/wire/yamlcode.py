"""YAML in and out, as Kubernetes reads it.

Documents are built from the parser's events, one at a time and without recursion: a tree of nodes would take a
kilobyte for each value. Scalars are what Kubernetes' own reader makes of them, which knows neither numbers to the
base of sixty nor aliases here.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

import orjson
import yaml

from hyperd.errors import BadRequest
from hyperd.jsontypes import Json, JsonObject
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.limits import MAX_DEPTH, MAX_VALUES, too_deep, too_many_values

_TAG: Final = "tag:yaml.org,2002:"
_WORDS: Final[JsonObject] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_NUMERIC: Final = frozenset("+-.0123456789")
_INTEGER: Final = re.compile(r"([+-]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_BASES: Final = (16, 2, 8, 10)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_MAX_INTEGER: Final = 80
"""Characters: a number that has more is beyond 64 bits, or has very many leading zeros."""
_MAX_WHOLE: Final = 1e21
"""From here on Go writes a float that is whole with an exponent."""
_MAX_DUPLICATES: Final = 100
_MAX_REASON: Final = 500
_MERGE: Final = "<<"


class _Frame:
    """A list or an object that is being read."""

    __slots__ = ("key", "merged", "merging", "name", "seen", "value")

    def __init__(self, value: list[Json] | JsonObject) -> None:
        self.value = value
        self.seen: set[str] | None = set() if isinstance(value, dict) else None
        """The keys so far; None for a list."""
        self.key: str | None = None
        """Of an object, whose value comes next."""
        self.name = ""
        """The last key."""
        self.merging = False
        """Whether what comes next is the value of ``<<``."""
        self.merged: list[Json] = []


class _Reader:
    def __init__(self) -> None:
        self.duplicates: list[str] = []
        self._frames: list[_Frame] = []
        self._root: Json = None
        self._left = MAX_VALUES
        self._documents = 0

    def read(self, loader: Any) -> Json:
        while True:
            event = loader.get_event()
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._scalar(event)
            elif kind is yaml.MappingStartEvent:
                self._begin(event, {}, "map")
            elif kind is yaml.SequenceStartEvent:
                self._begin(event, [], "seq")
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._end()
            elif kind is yaml.AliasEvent:
                raise BadRequest("the body uses YAML aliases, which are not accepted")
            elif kind is yaml.DocumentStartEvent:
                self._documents += 1
                if self._documents > 1:
                    raise _invalid("there is more than one document in it")
            elif kind is yaml.StreamEndEvent:
                return self._root

    def _scalar(self, event: Any) -> None:
        frame = self._frames[-1] if self._frames else None
        value = _scalar(event)
        if frame is not None and frame.seen is not None and frame.key is None and not frame.merging:
            if event.tag is None and event.implicit[0] and event.value == _MERGE:
                frame.merging, frame.name = True, _MERGE
                return
            key = _key(value)
            if key in frame.seen and len(self.duplicates) < _MAX_DUPLICATES:
                self.duplicates.append(self._path(key))
            frame.seen.add(key)
            frame.key = frame.name = key
            return
        self._put(value)

    def _begin(self, event: Any, value: list[Json] | JsonObject, kind: str) -> None:
        if event.tag not in (None, "!", _TAG + kind):
            raise _invalid(f"the tag {event.tag[:64]!r} is not known")
        frame = self._frames[-1] if self._frames else None
        if frame is not None and frame.seen is not None and frame.key is None and not frame.merging:
            raise _invalid("the key of an object must be plain text")
        if len(self._frames) >= MAX_DEPTH:
            raise too_deep(self._path())
        self._put(value)
        self._frames.append(_Frame(value))

    def _end(self) -> None:
        frame = self._frames.pop()
        for more in frame.merged:
            for one in more if isinstance(more, list) else (more,):
                if not isinstance(one, dict) or not isinstance(frame.value, dict):
                    raise _invalid("<< must be followed by an object or a list of objects")
                for key, value in one.items():
                    frame.value.setdefault(key, value)

    def _put(self, value: Json) -> None:
        self._left -= 1
        if self._left < 0:
            raise too_many_values("the body")
        if not self._frames:
            self._root = value
            return
        frame = self._frames[-1]
        if isinstance(frame.value, list):
            frame.value.append(value)
        elif frame.merging:
            frame.merging = False
            frame.merged.append(value)
        else:
            assert frame.key is not None  # noqa: S101  a value follows a key
            frame.value[frame.key] = value
            frame.key = None

    def _path(self, key: str = "") -> str:
        parts = [
            f"[{len(frame.value) - 1}]" if isinstance(frame.value, list) else f".{frame.name}"
            for frame in self._frames[: -1 if key else None]
        ]
        return "".join([*parts, f".{key}" if key else ""]).removeprefix(".")


def load(body: bytes) -> tuple[Json, list[str]]:
    """One document as JSON values, and its duplicate keys. Raises BadRequest, RequestEntityTooLarge."""
    try:
        reader, loader = _Reader(), yaml.CSafeLoader(body)
        try:
            value = reader.read(loader)
        finally:
            loader.dispose()
        # What JSON does not have ends here, such as a lone surrogate.
        orjson.dumps(value)
        return value, reader.duplicates
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as err:
        raise _invalid(str(err)) from err


def _invalid(reason: str) -> BadRequest:
    return BadRequest(f"the body is not valid YAML: {' '.join(reason.split())[:_MAX_REASON]}")


def _scalar(event: Any) -> Json:
    text: str = event.value
    tag = event.tag
    if tag is None:
        return _resolved(text) if event.implicit[0] else text
    if tag in ("!", _TAG + "str", _TAG + "timestamp"):
        return text
    value = _resolved(text)
    kind = {bool: "bool", int: "int", float: "float", type(None): "null"}.get(type(value), "")
    if tag == _TAG + kind or (tag == _TAG + "float" and kind == "int"):
        return value
    raise _invalid(f"{text[:64]!r} is no value with the tag {tag[:64]!r}")


def _resolved(text: str) -> Json:
    """A plain scalar: a number, true, false, null, or text."""
    if not text or text[0] not in _NUMERIC:
        return _WORDS.get(text, text) if len(text) <= 5 else text
    if text in _WORDS:
        value = _WORDS[text]
        if isinstance(value, float) and not math.isfinite(value):
            raise _invalid(f"JSON has no {text}")
        return value
    plain = text.replace("_", "")
    if (found := _INTEGER.fullmatch(plain)) is not None and len(plain) <= _MAX_INTEGER:
        digits, base = next((part, base) for part, base in zip(found.groups()[1:], _BASES, strict=True) if part)
        number = int(found[1] + digits, base)
        if -(1 << 63) <= number < 1 << 64:
            return number
    if _FLOAT.fullmatch(plain) is not None and math.isfinite(real := float(plain)):
        return int(real) if real.is_integer() and abs(real) < _MAX_WHOLE else real
    return text


def _key(value: Json) -> str:
    """Keys become text, as in Kubernetes (``8080: x``)."""
    if isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def dump(obj: Object) -> bytes:
    """``obj`` as a document."""
    text: str = yaml.dump(obj, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)
    return text.encode()
