"""What a value has, and what differs between two: as sets of fields.

Values that do not fit their type are looked at as far as they go, because a write is judged elsewhere; only what
is applied is held to its type first (``check``).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from hyperd.resources.values.equality import same
from hyperd.store.grammar.fields.sets import LEAF, MEMBER, Fields, keyed, named, valued
from hyperd.store.grammar.fields.types import LIST, MAP, UNTYPED, Type

MISSING: Final = object()
"""In the place of a value that is not there; null is one that is."""


class Comparison(NamedTuple):
    """The fields that differ between an object and what replaces it."""

    added: Fields
    modified: Fields
    removed: Fields


def compare(type_: Type, old: object, new: object) -> Comparison:
    """How the object ``new`` differs from the object ``old``."""
    found = Comparison({}, {}, {})
    _visit(type_, MAP, old, new, found)
    return found


def _note(element: str, type_: Type, old: object, new: object, into: Comparison) -> None:
    """Compare what stands at ``element``; one of both may be missing."""
    if old is MISSING:
        into.added[element] = _everything(type_, new)
        return
    if new is MISSING:
        into.removed[element] = _everything(type_, old)
        return
    if type(old) is type(new) and old == new:
        return
    shape, other = type_.shape(old), type_.shape(new)
    below = Comparison({}, {}, {})
    leaf = _visit(type_, shape, old, new, below)
    if shape != other:
        leaf = _visit(type_, other, old, new, below) or leaf
    if leaf and not same(old, new):
        below.modified[MEMBER] = LEAF
    for part, whole in zip(below, into, strict=True):
        if part:
            whole[element] = LEAF if len(part) == 1 and MEMBER in part else part


def _everything(type_: Type, value: object) -> Fields:
    """The field that holds ``value``, and all within."""
    shape = type_.shape(value)
    if shape is MAP:
        if type(value) is not dict or type_.whole_map or not value:
            return LEAF
        out: Fields = {MEMBER: LEAF}
        for name, child in value.items():
            out[f"f:{name}"] = _everything(type_.field(name), child) if type(child) in (dict, list) else LEAF
        return out
    if shape is LIST and type(value) is list and not type_.whole_list:
        item = type_.item or UNTYPED
        out = {MEMBER: LEAF}
        for element, items in _by_element(type_, value).items():
            out[element] = _everything(item, items[0]) if len(items) == 1 else LEAF
        return out if len(out) > 1 else LEAF
    return LEAF


def _visit(type_: Type, shape: str, old: object, new: object, below: Comparison) -> bool:
    """Compare what is within; True when there is nothing within to be told apart."""
    if shape is MAP:
        left = old if type(old) is dict else {}
        right = new if type(new) is dict else {}
        if type_.whole_map or not (left or right):
            return True
        for name, value in right.items():
            before = left.get(name, MISSING)
            # Most of what a write brings is as it was.
            if type(before) is not type(value) or before != value:
                _note(named(name), type_.field(name), before, value, below)
        for name, value in left.items():
            if name not in right:
                _note(named(name), type_.field(name), value, MISSING, below)
        return False
    if shape is LIST:
        before = old if type(old) is list else []
        after = new if type(new) is list else []
        if type_.whole_list or not (before or after):
            return True
        _compare_items(type_, before, after, below)
        return False
    return True


def _compare_items(type_: Type, old: list[object], new: list[object], below: Comparison) -> None:
    left, right = _by_element(type_, old), _by_element(type_, new)
    item = type_.item or UNTYPED
    for element in left | right:
        before, after = left.get(element, ()), right.get(element, ())
        if len(before) < 2 and len(after) < 2:
            _note(element, item, before[0] if before else MISSING, after[0] if after else MISSING, below)
        elif len(before) > 1 and len(after) > 1:
            if not same([*before], [*after]):
                below.modified[element] = LEAF
        elif len(before) > 1:
            # Doubled items are one field; what is left of them is new.
            if after:
                _note(element, item, MISSING, after[0], below)
            below.removed[element] = LEAF
        else:
            if before:
                _note(element, item, before[0], MISSING, below)
            below.added[element] = LEAF


def _by_element(type_: Type, items: list[object]) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {}
    for item in items:
        element = element_of(type_, item)
        if element:
            found.setdefault(element, []).append(item)
    return found


def element_of(type_: Type, item: object) -> str:
    """The path element of an item of a list that is a map or a set; "" for one that cannot be told apart."""
    if not type_.keys:
        return "" if item is None or isinstance(item, dict | list) else valued(item)
    if type(item) is not dict:
        return ""
    defaults = type_.item.defaults if type_.item is not None else {}
    keys = {key: item.get(key, defaults.get(key)) for key in sorted(type_.keys) if key in item or key in defaults}
    return keyed(keys) if keys else ""


def fields_of(type_: Type, obj: object) -> Fields:
    """The fields that whoever applies ``obj`` owns."""
    return _fields_within(type_, type_.shape(obj), obj)


def _fields_within(type_: Type, shape: str, value: object) -> Fields:
    out: Fields = {}
    if shape is MAP and type(value) is dict:
        for name, child in value.items():
            known = name in type_.fields
            part = _fields_at(type_.field(name), child, member=child is None or child == {} or not known)
            if part is not None:
                out[named(name)] = part
    elif shape is LIST and type(value) is list:
        for element, items in _by_element(type_, value).items():
            alone = len(items) == 1
            out[element] = (_fields_at(type_.item or UNTYPED, items[0], member=True) or LEAF) if alone else LEAF
    return out


def _fields_at(type_: Type, value: object, *, member: bool) -> Fields | None:
    """What is owned at a place and below; None for nothing."""
    shape = type_.shape(value)
    whole = type_.whole_map if shape is MAP else type_.whole_list if shape is LIST else True
    if whole:
        return LEAF
    within = _fields_within(type_, shape, value)
    if not within:
        return LEAF if member else None
    return {MEMBER: LEAF, **within} if member else within


def with_named_fields(type_: Type, fields: Fields) -> Fields:
    """``fields`` and each field of a schema that has members below."""
    out: Fields = {}
    for element, part in fields.items():
        if element == MEMBER:
            out[element] = part
            continue
        below = type_.field(element[2:]) if element[:2] == "f:" and type_.is_map else type_.item or UNTYPED
        inner = with_named_fields(below, part)
        if inner and MEMBER not in inner and element[:2] == "f:" and element[2:] in type_.fields:
            inner = {MEMBER: LEAF, **inner}
        out[element] = inner
    return out
