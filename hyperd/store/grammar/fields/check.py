"""Whether an applied configuration fits its type: what does not cannot be owned field by field."""

from __future__ import annotations

import json

from hyperd.jsontypes import Json
from hyperd.store.grammar.fields.compare import element_of
from hyperd.store.grammar.fields.sets import shown
from hyperd.store.grammar.fields.types import LIST, MAP, UNTYPED, Type

_GO_TYPES = {str: "string", bool: "bool", int: "int64", float: "float64", dict: "map", list: "list"}


def faults(type_: Type, value: Json, path: str = "") -> list[str]:
    """What does not fit, each with its path, worded as a kube-apiserver does."""
    shape = type_.shape(value)
    if value is None:
        return []
    if shape is MAP:
        return _map_faults(type_, value, path)
    if shape is LIST:
        return _list_faults(type_, value, path)
    return _scalar_faults(type_.scalar, value, path)


def _map_faults(type_: Type, value: Json, path: str) -> list[str]:
    if type(value) is not dict:
        return [f"{path}: expected map, got {_go(value)}"]
    found: list[str] = []
    for name, child in value.items():
        below = type_.fields.get(name) or type_.element
        if below is None:
            found.append(f"{path}.{name}: field not declared in schema")
        else:
            found += faults(below, child, f"{path}.{name}")
    return found


def _list_faults(type_: Type, value: Json, path: str) -> list[str]:
    if type(value) is not list:
        return [f"{path}: expected list, got {_go(value)}"]
    found: list[str] = []
    seen: set[str] = set()
    for index, child in enumerate(value):
        element = f"i:{index}"
        where = f"[{index}]"
        if not type_.whole_list:
            element = element_of(type_, child)
            if not element:
                found.append(f"{path}: element {index}: {_why_not(type_, child)}")
                break
            where = shown((element,))
            if element in seen:
                found.append(f"{path}: duplicate entries for key {where}")
            seen.add(element)
        found += faults(type_.item or UNTYPED, child, f"{path}{where}")
    return found


def _why_not(type_: Type, item: Json) -> str:
    if not type_.keys:
        return "associative list without keys has an element that's no plain value"
    if type(item) is not dict:
        return "associative list with keys may not have non-map elements"
    names = " ".join(json.dumps(key) for key in type_.keys)
    return (
        f"associative list with keys has an element that omits all key fields [{names}] "
        "(and doesn't have default values for any key fields)"
    )


def _scalar_faults(wanted: str, value: Json, path: str) -> list[str]:
    kind = type(value)
    if wanted == "numeric":
        fits, expected = kind in (int, float), "numeric (int or float)"
    elif wanted == "string":
        fits, expected = kind is str, "string"
    elif wanted == "boolean":
        fits, expected = kind is bool, "boolean"
    else:
        fits, expected = kind not in (dict, list), "any scalar"
    return [] if fits else [f"{path}: expected {expected}, got {_go(value)}"]


def _go(value: Json) -> str:
    return _GO_TYPES.get(type(value), "null")
