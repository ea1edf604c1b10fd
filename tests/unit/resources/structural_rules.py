"""The rules of structural schemas, as Kubernetes documents them for CustomResourceDefinitions.

A kube-apiserver refuses a CRD that breaks one; this is the same check without a cluster.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hyperd.resources.schema.formats import compile_pattern
from hyperd.resources.schema.structural import apply_defaults, prune, validate

FORBIDDEN = {
    "$ref", "definitions", "dependencies", "deprecated", "discriminator", "id", "patternProperties", "readOnly",
    "writeOnly", "xml", "title", "uniqueItems", "additionalItems", "const", "examples", "exclusiveMinimum",
}  # fmt: skip
ALLOWED_TYPES = {"object", "array", "string", "integer", "number", "boolean"}
INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]


def faults(schema: dict[str, Any]) -> list[str]:
    """What breaks the rules, a sentence each."""
    return [*_faults(schema, "", at_root=True)]


def _faults(node: dict[str, Any], path: str, *, at_root: bool = False) -> Iterator[str]:
    where = path or "<root>"
    for key in FORBIDDEN & node.keys():
        yield f"{where}: {key} is forbidden"
    yield from _type_faults(node, where)
    if "properties" in node and "additionalProperties" in node:
        yield f"{where}: properties and additionalProperties exclude each other"
    if node.get("additionalProperties") is False:
        yield f"{where}: additionalProperties may not be false"
    if not path or path == "metadata":
        if "default" in node:
            yield f"{where}: may have no default"
        if path and node.keys() - {"type", "description", "properties"}:
            yield f"{where}: may not be restricted"
    if "pattern" in node:
        compile_pattern(node["pattern"])
    yield from _default_faults(node, where)
    yield from _list_faults(node, where)
    for name, child in node.get("properties", {}).items():
        yield from _faults(child, f"{path}.{name}" if path else name)
    if isinstance(node.get("additionalProperties"), dict):
        yield from _faults(node["additionalProperties"], f"{path}{{}}")
    if "items" in node:
        yield from _faults(node["items"], f"{path}[]")
    for name in set(node.get("required", ())) - node.get("properties", {}).keys():
        yield f"{where}: requires {name}, which is no property"
    if at_root and node.get("type") != "object":
        yield "<root>: must be an object"


def _type_faults(node: dict[str, Any], where: str) -> Iterator[str]:
    if node.get("x-kubernetes-int-or-string"):
        if "type" in node:
            yield f"{where}: int-or-string may have no type"
        if node.get("anyOf", INT_OR_STRING) != INT_OR_STRING:
            yield f"{where}: int-or-string has another anyOf"
    elif "anyOf" in node or "oneOf" in node or "allOf" in node or "not" in node:
        yield f"{where}: unions are not used here"
    elif "type" not in node and not node.get("x-kubernetes-preserve-unknown-fields"):
        yield f"{where}: has no type"
    if "type" in node and node["type"] not in ALLOWED_TYPES:
        yield f"{where}: has type {node['type']}"
    if node.get("type") == "array" and "items" not in node:
        yield f"{where}: an array needs items"


def _default_faults(node: dict[str, Any], where: str) -> Iterator[str]:
    if "default" not in node:
        return
    wrapped = {"type": "object", "properties": {"value": node}}
    value = {"value": copy.deepcopy(node["default"])}
    if prune(wrapped, value):
        yield f"{where}: its default is not pruned"
    apply_defaults(wrapped, value)
    if value["value"] != node["default"]:
        yield f"{where}: its default is not whole"
    if validate(wrapped, value):
        yield f"{where}: its default is not valid"


def _list_faults(node: dict[str, Any], where: str) -> Iterator[str]:
    list_type = node.get("x-kubernetes-list-type")
    if list_type is None:
        return
    if node.get("type") != "array" or list_type not in ("map", "set", "atomic"):
        yield f"{where}: list type {list_type} does not fit"
    keys = node.get("x-kubernetes-list-map-keys", ())
    if (list_type == "map") != bool(keys):
        yield f"{where}: map keys do not fit"
    items = node["items"]
    for key in keys:
        child = items.get("properties", {}).get(key)
        if child is None or child["type"] not in ("string", "integer", "boolean"):
            yield f"{where}: map key {key} is no scalar property"
        elif key not in items.get("required", ()) and "default" not in child:
            yield f"{where}: map key {key} must be required or have a default"
    if list_type == "set" and items.get("type") not in ("string", "integer", "boolean", "number"):
        yield f"{where}: a set of {items.get('type')} must be atomic inside"
