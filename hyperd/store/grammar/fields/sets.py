"""Sets of fields, in the form that ``managedFields`` has on the wire (fieldsV1).

A set is nested dictionaries. Keys are path elements: ``f:name`` for a field, ``k:{"name":"a"}`` for an item of a
list that is a map, ``v:"x"`` for an item of a set; below a path element are its own. A field is a member where its
dictionary is empty or has the key ``"."``; at the top, an empty dictionary is the empty set. No function changes
what it gets, and results share parts with it: nobody may change a set in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

Fields = dict[str, Any]
"""A set, or the part of one below a path element."""

MEMBER: Final = "."
LEAF: Final[Fields] = {}
"""The part below a field that is a member and has nothing below."""
_MAX_DEPTH: Final = 200


def named(name: str) -> str:
    """The path element of a field."""
    return f"f:{name}"


def keyed(keys: dict[str, Any]) -> str:
    """The path element of an item that ``keys`` tell apart; they come sorted by name."""
    return f"k:{_json(keys)}"


def valued(value: Any) -> str:
    """The path element of an item of a set."""
    return f"v:{_json(value)}"


def _json(value: Any) -> str:
    text = orjson.dumps(_plain(value)).decode()
    # As Go writes JSON: safe within HTML.
    for char, escaped in (("&", "\\u0026"), ("<", "\\u003c"), (">", "\\u003e")):
        if char in text:
            text = text.replace(char, escaped)
    return text


def _plain(value: Any) -> Any:
    """Whole floats as integers, as Go writes them."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    return value


def _open(part: Fields) -> Fields:
    return part or {MEMBER: LEAF}


def _closed(part: Fields) -> Fields:
    return LEAF if len(part) == 1 and MEMBER in part else part


def union(left: Fields, right: Fields) -> Fields:
    """Members of either."""
    if not left or not right:
        return left or right
    out = dict(left)
    for element, part in right.items():
        present = out.get(element)
        if present is None:
            out[element] = part
        elif element != MEMBER and present != part:
            out[element] = _closed(union(_open(present), _open(part)))
    return out


def union_all(parts: Iterable[Fields]) -> Fields:
    """Members of any: what ``union`` of one after the other gives, in time linear in their sizes."""
    sets = [part for part in parts if part]
    if len(sets) < 3:
        return union(sets[0], sets[-1]) if sets else LEAF
    found: dict[str, list[Fields]] = {}
    for part in sets:
        for element, inner in part.items():
            found.setdefault(element, []).append(inner)
    return {
        element: inner[0] if element == MEMBER or len(inner) == 1 else _closed(union_all(map(_open, inner)))
        for element, inner in found.items()
    }


def difference(left: Fields, right: Fields) -> Fields:
    """Members of ``left`` that ``right`` does not have."""
    if not right:
        return left
    out = {}
    for element, part in left.items():
        other = right.get(element)
        if other is None:
            out[element] = part
        elif element != MEMBER and (rest := difference(_open(part), _open(other))):
            out[element] = _closed(rest)
    return out


def intersection(left: Fields, right: Fields) -> Fields:
    """Members of both."""
    out = {}
    for element, part in left.items():
        other = right.get(element)
        if other is None:
            continue
        if element == MEMBER:
            out[element] = LEAF
        elif common := intersection(_open(part), _open(other)):
            out[element] = _closed(common)
    return out


def without(fields: Fields, element: str) -> Fields:
    """``fields`` without ``element`` and all below it."""
    if element not in fields:
        return fields
    return {other: part for other, part in fields.items() if other != element}


def is_member(fields: Fields, element: str) -> bool:
    """Whether the field ``element``, at the top of ``fields``, belongs to the set."""
    part = fields.get(element)
    return part is not None and (not part or MEMBER in part)


def has(fields: Fields, path: tuple[str, ...]) -> bool:
    """Whether the field at ``path`` belongs to the set."""
    for element in path[:-1]:
        fields = fields.get(element, LEAF)
    return is_member(fields, path[-1])


def of_path(path: tuple[str, ...]) -> Fields:
    """The set of one field."""
    fields = LEAF
    for element in reversed(path):
        fields = {element: fields}
    return fields


def paths(fields: Fields, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every member, as a kube-apiserver lists them: those of a level before those below it."""
    elements = sorted((element for element in fields if element != MEMBER), key=order)
    yield from ((*path, element) for element in elements if is_member(fields, element))
    for element in elements:
        yield from paths(fields[element], (*path, element))


def ordered(fields: Fields) -> Fields:
    """The same set with its path elements in the order of the wire."""
    elements = sorted(fields)
    if elements and elements[-1][0] in "kv":
        elements.sort(key=order)
    return {element: ordered(part) if (part := fields[element]) else part for element in elements}


def order(element: str) -> tuple[Any, ...]:
    """Sorts path elements: fields by name, then items by their keys, then values."""
    if element[:2] == "k:":
        return (2, [(name, _rank(value)) for name, value in sorted(orjson.loads(element[2:]).items())])
    if element[:2] == "v:":
        return (3, _rank(orjson.loads(element[2:])))
    return (0,) if element == MEMBER else (1, element)


def _rank(value: Any) -> tuple[int, Any]:
    if isinstance(value, bool):
        return (2, value)
    if isinstance(value, int | float):
        return (0, value)
    return (1, value) if isinstance(value, str) else (3, orjson.dumps(value))


def shown(path: tuple[str, ...]) -> str:
    """``.spec.ports[port=80,protocol="TCP"].name``."""
    return "".join(map(_shown, path))


def _shown(element: str) -> str:
    if element[:2] == "k:":
        pairs = sorted(orjson.loads(element[2:]).items())
        return f"[{','.join(f'{name}={orjson.dumps(value).decode()}' for name, value in pairs)}]"
    if element[:2] == "v:":
        return f"[={orjson.dumps(orjson.loads(element[2:])).decode()}]"
    return f".{element[2:]}"


def parse(raw: Any, depth: int = 0) -> Fields:
    """A set as a client wrote it, in canonical form; what a newer server may have put there is dropped.

    Raises ValueError when it is none.
    """
    if not isinstance(raw, dict):
        raise ValueError("fieldsV1 must be an object")
    if depth > _MAX_DEPTH:
        raise ValueError("fieldsV1 is nested too deeply")
    out: Fields = {}
    for key, part in raw.items():
        if key == MEMBER:
            if depth:
                out[MEMBER] = LEAF
            continue
        element = _canonical(key)
        if element:
            out[element] = _closed(parse(part, depth + 1))
    return out


def _canonical(key: str) -> str:
    kind, text = key[:2], key[2:]
    if len(kind) < 2 or kind[1] != ":":
        raise ValueError(f"fieldsV1 has a path element without a colon: {key[:64]}")
    if kind == "f:":
        return key
    if kind in ("v:", "k:"):
        value = orjson.loads(text)
        if kind == "v:":
            return valued(value)
        if not isinstance(value, dict):
            raise ValueError(f"fieldsV1 has a key that is no object: {key[:64]}")
        return keyed({name: value[name] for name in sorted(value)})
    if kind == "i:":
        return f"i:{int(text)}"
    return ""
