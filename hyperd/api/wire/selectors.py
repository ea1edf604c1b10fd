"""Label and field selectors, from the wire to ``Selector``.

A selector that is not understood is refused: to ignore one would make ``kubectl delete -l`` delete everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from hyperd.errors import BadRequest
from hyperd.resources.schema.kind import Kind
from hyperd.store.interface import FieldRequirement, Requirement, Selector, whole_number
from hyperd.store.selecting import always_selectable

_TOKEN = re.compile(r"\s*(?:(==|!=|=|!|\(|\)|,|<|>)|([^\s=!(),<>]+))")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_REMEMBERED_CHARS = 512
MAX_TERMS = 32
"""Each is asked of every object of a list and of every event of a watch, on the event loop."""
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def parse(kind: Kind, labels: str, fields: str) -> Selector:
    """Both selectors of a request. Raises BadRequest with kube-apiserver's words."""
    return Selector(parse_labels(labels) if labels else (), parse_fields(kind, fields) if fields else ())


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """``a=b,c!=d,e in (f,g),h notin (i),j,!k`` in full."""
    # Long ones are rare, and enough of them would fill the memory.
    return _remembered(text) if len(text) <= _REMEMBERED_CHARS else _parse_labels(text)


def _parse_labels(text: str) -> tuple[Requirement, ...]:
    requirements: dict[Requirement, None] = {}
    for requirement in _Parser(text).requirements():
        requirements[requirement] = None
        if len(requirements) > MAX_TERMS:
            raise _too_many("label")
    return tuple(requirements)


_remembered = lru_cache(maxsize=256)(_parse_labels)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._scan(text))
        self._at = 0

    def _scan(self, text: str) -> Iterator[str]:
        for symbol, word in _TOKEN.findall(text):
            yield symbol or word

    def _error(self, why: str) -> BadRequest:
        return BadRequest(f"unable to parse requirement: {why} in label selector {self._text!r}")

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def requirements(self) -> Iterator[Requirement]:
        while self._peek():
            yield self._requirement()
            separator = self._next()
            if separator == "":
                return
            if separator != "," or not self._peek():
                raise self._error(f"found {separator!r}, expected: ',' or 'end of string'")

    def _requirement(self) -> Requirement:
        if self._peek() == "!":
            self._next()
            return Requirement(self._key(), "!exists")
        key = self._key()
        operator = self._peek()
        if operator in ("", ","):
            return Requirement(key, "exists")
        self._next()
        if operator in ("=", "==", "!="):
            value = "" if self._peek() in ("", ",") else self._value(self._next())
            return Requirement(key, "notin" if operator == "!=" else "in", frozenset({value}))
        if operator == "in":
            return Requirement(key, "in", self._set())
        if operator == "notin":
            return Requirement(key, "notin", self._set())
        if operator in ("<", ">"):
            return Requirement(key, "gt" if operator == ">" else "lt", frozenset({self._number(self._next())}))
        raise self._error(f"found {operator!r}, expected: in, notin, =, ==, !=, <, >")

    def _key(self) -> str:
        key = self._next()
        prefix, slash, name = key.rpartition("/")
        if not _NAME.fullmatch(name) or (slash and not _PREFIX.fullmatch(prefix)):
            raise self._error(f"{key!r} is not a label key")
        return key

    def _value(self, value: str) -> str:
        if value and not _NAME.fullmatch(value):
            raise self._error(f"{value!r} is not a label value")
        return value

    def _number(self, value: str) -> str:
        if whole_number(self._value(value)) is None:
            raise self._error(f"{value!r} is not a whole number, which '<' and '>' compare with")
        return value

    def _set(self) -> frozenset[str]:
        if self._next() != "(":
            raise self._error("expected: '('")
        values: set[str] = set()
        while True:
            word = self._next()
            if word in (",", ")"):
                values.add("")
            else:
                values.add(self._value(word))
                word = self._next()
            if word == ")":
                return frozenset(values)
            if word != ",":
                raise self._error(f"found {word!r}, expected: ',' or ')'")


def parse_fields(kind: Kind, text: str) -> tuple[FieldRequirement, ...]:
    """``metadata.name=x,status.phase!=Failed``; only what ``kind`` declares."""
    requirements: dict[FieldRequirement, None] = {}
    for term in _split_unescaped(text):
        match = re.fullmatch(r"([^=!]+)(!=|==|=)(.*)", term, re.DOTALL)
        if match is None:
            raise BadRequest(f"invalid field selector {text!r}: {term!r} has no '=', '==' or '!='")
        path, operator, value = match.groups()
        known = always_selectable(kind)
        if path not in known and path not in kind.selectable_fields:
            raise BadRequest(
                f'field label not supported: "{path[:64]}"; {kind.plural} can be selected by '
                f"{', '.join(sorted((*known, *kind.selectable_fields)))}"
            )
        requirements[FieldRequirement(path, _unescape(value), operator != "!=")] = None
        if len(requirements) > MAX_TERMS:
            raise _too_many("field")
    return tuple(requirements)


def _too_many(what: str) -> BadRequest:
    hint = "; name many values in one term: key in (a,b)" if what == "label" else ""
    return BadRequest(f"the {what} selector has more than {MAX_TERMS} different terms{hint}")


def _split_unescaped(text: str) -> list[str]:
    return [term for term in re.findall(r"(?:\\.|[^,\\]|\\$)+", text, re.DOTALL) if term]


def _unescape(value: str) -> str:
    if re.search(r"\\[^\\,=]|\\$", value.replace("\\\\", "")):
        raise BadRequest(f"invalid field selector: {value!r} has an invalid escape sequence")
    if re.search(r"(?<!\\)=", value.replace("\\\\", "")):
        raise BadRequest(f"invalid field selector: {value!r} has an unescaped '='")
    return re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
