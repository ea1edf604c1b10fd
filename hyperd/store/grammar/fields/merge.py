"""Objects put together and cut by fields: an applied configuration over what is there, and what nobody wants gone.

The results agree with a kube-apiserver's item by item, in the order of lists too. Values passed in are never
changed, and results share parts with them.
"""

from __future__ import annotations

from hyperd.resources.schema.kind import Object
from hyperd.store.grammar.fields.compare import MISSING, element_of
from hyperd.store.grammar.fields.sets import LEAF, Fields, is_member, named
from hyperd.store.grammar.fields.types import DEDUCED, LIST, MAP, UNTYPED, Type


def merged(type_: Type, live: object, applied: object) -> object:
    """``live`` with ``applied`` over it; ``MISSING`` stands for one that is not there, and for no result."""
    if applied is MISSING:
        shape = type_.shape(live)
    else:
        # Of two that differ in kind, the applied one stays.
        shape = type_.shape(applied)
        if live is not MISSING and applied is None and live is not None:
            shape = type_.shape(live)
    if shape is MAP:
        left = live if type(live) is dict else {}
        right = applied if type(applied) is dict else {}
        if type_.whole_map or not (left or right):
            return live if applied is MISSING else applied
        return _merged_map(type_, left, right)
    if shape is LIST:
        before = live if type(live) is list else []
        after = applied if type(applied) is list else []
        if type_.whole_list or not (before or after):
            return live if applied is MISSING else applied
        return _merged_list(type_, before, after)
    return live if applied is MISSING else applied


def _merged_map(type_: Type, live: Object, applied: Object) -> object:
    out = {}
    for name in [*live, *(name for name in applied if name not in live)]:
        value = merged(type_.field(name), live.get(name, MISSING), applied.get(name, MISSING))
        if value is not MISSING:
            out[name] = value
    return out or MISSING


def _merged_list(type_: Type, live: list[object], applied: list[object]) -> object:
    """Items keep the order of ``applied``; those that only ``live`` has keep their places between them."""
    left = [(element, item) for item in live if (element := element_of(type_, item))]
    right = [(element, item) for item in applied if (element := element_of(type_, item))]
    present = _singles(left)
    wanted = dict(right)
    item = type_.item or UNTYPED
    shared = [element for element, _ in right if element in present]
    shared.reverse()
    done: set[str] = set()
    out: list[object] = []

    def take(element: str, old: object, new: object) -> None:
        value = merged(item, old, new)
        if value is not MISSING:
            out.append(value)
        if new is not MISSING:
            done.add(element)
            if shared and shared[-1] == element:
                shared.pop()

    at = to = 0
    while at < len(left) or to < len(right):
        if at < len(left):
            element, value = left[at]
            if to < len(right) and element == right[to][0]:
                take(element, present[element], right[to][1])
                at, to = at + 1, to + 1
                continue
            if to < len(right) and element in wanted and shared and shared[-1] != element:
                at += 1
                continue
            if element not in wanted:
                take(element, value, MISSING)
                at += 1
                continue
            if element in done:
                at += 1
        if to < len(right):
            element, value = right[to]
            take(element, present.get(element, MISSING), value)
            to += 1
    return out or MISSING


def _singles(items: list[tuple[str, object]]) -> Object:
    """Items by path element; one that is there twice counts as null, which anything replaces."""
    found: Object = {}
    for element, item in items:
        found[element] = None if element in found else item
    return found


def cut(type_: Type, value: object, gone: Fields) -> object:
    """``value`` without the fields of ``gone``; null where nothing is left."""
    shape = type_.shape(value)
    if shape is MAP:
        if type(value) is not dict or not value or type_.whole_map:
            return None
        left = {}
        for name, child in value.items():
            element = named(name)
            if is_member(gone, element):
                continue
            below = gone.get(element, LEAF)
            left[name] = cut(type_.field(name), child, below) if below else child
        return left or None
    if shape is LIST:
        if type(value) is not list or not value or type_.whole_list:
            return None
        items = []
        for child in value:
            element = element_of(type_, child)
            if is_member(gone, element):
                continue
            below = gone.get(element, LEAF)
            items.append(cut(type_.item or DEDUCED, child, below) if below else child)
        return items or None
    return value
