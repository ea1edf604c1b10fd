"""From a pydantic model to a Kubernetes *structural* OpenAPI v3 schema.

pydantic speaks JSON Schema: references, titles, ``anyOf`` with null. A CRD wants one tree in which every node has
a type. This is the single place where the one becomes the other.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from hyperd.resources.schema.applies import Field
from hyperd.resources.schema.rule import Rule

if TYPE_CHECKING:
    from pydantic import BaseModel

JsonSchema = dict[str, Any]

_KEPT: Final = (
    "type", "format", "enum", "pattern", "minLength", "maxLength", "minItems", "maxItems", "minProperties",
    "maxProperties", "default", "nullable", "x-kubernetes-int-or-string", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-preserve-unknown-fields",
)  # fmt: skip
_API_VERSION_DOC: Final = (
    "APIVersion defines the versioned schema of this representation of an object. Servers should convert "
    "recognized schemas to the latest internal value, and may reject unrecognized values."
)
_KIND_DOC: Final = (
    "Kind is a string value representing the REST resource this object represents. Servers may infer this from "
    "the endpoint the client submits requests to. Cannot be updated. In CamelCase."
)


def structural_schema(model: type[BaseModel], fields: Iterable[Field], rules: Iterable[Rule]) -> JsonSchema:
    """The schema of a kind: apiVersion, kind, metadata, and what its ``model`` adds.

    What changes of ``fields`` do is said in their descriptions, and ``rules`` hang where they apply.
    """
    raw = model.model_json_schema(by_alias=True, mode="validation")
    definitions = raw.get("$defs", {})
    own = {
        name: node for name, node in raw["properties"].items() if name not in ("apiVersion", "kind", "metadata")
    }
    schema: JsonSchema = {
        "description": inspect.cleandoc(model.__doc__ or ""),
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string", "description": _API_VERSION_DOC},
            "kind": {"type": "string", "description": _KIND_DOC},
            "metadata": {"type": "object"},
            **{name: _convert(node, definitions) for name, node in own.items()},
        },
    }
    required = [name for name in raw.get("required", ()) if name in own]
    if required:
        schema["required"] = required
    for field in fields:
        if field.own and field.applies.sentence:
            node = _at(schema, field.path)
            node["description"] = f"{node['description']} {field.applies.sentence}"
    for rule in rules:
        validations = _at(schema, rule.path).setdefault("x-kubernetes-validations", [])
        validations.append({"rule": rule.cel, "message": rule.message})
    return schema


def _convert(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> JsonSchema:
    """One node, references inlined; what stands beside a reference wins over the referred."""
    merged = _resolve(node, definitions)
    out: JsonSchema = {}
    if merged.get("description"):
        out["description"] = inspect.cleandoc(merged["description"])
    for key in _KEPT:
        if key in merged and not (key == "default" and merged[key] is None):
            out[key] = _without_nulls(merged[key])
    if "const" in merged:
        out["enum"] = [merged["const"]]
    for key in ("minimum", "maximum"):
        if key in merged:
            out[key] = merged[key]
    if merged.get("x-kubernetes-int-or-string"):
        out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
        out.pop("type", None)
    if "properties" in merged:
        out["properties"] = {name: _convert(child, definitions) for name, child in merged["properties"].items()}
        if merged.get("required"):
            out["required"] = list(merged["required"])
    extra = merged.get("additionalProperties")
    if isinstance(extra, Mapping):
        out["additionalProperties"] = _convert(extra, definitions)
    elif extra is True and "properties" not in merged:
        out["x-kubernetes-preserve-unknown-fields"] = True
    if "items" in merged:
        out["items"] = _convert(merged["items"], definitions)
    return out


def _without_nulls(value: Any) -> Any:
    """A default's optional fields are absent, not null."""
    if isinstance(value, dict):
        return {key: _without_nulls(child) for key, child in value.items() if child is not None}
    return value


def _resolve(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> JsonSchema:
    """``node`` with its reference, its single ``allOf`` and its Optional unfolded."""
    merged: JsonSchema = {}
    if "$ref" in node:
        merged.update(_resolve(definitions[node["$ref"].removeprefix("#/$defs/")], definitions))
    if len(node.get("allOf", ())) == 1:
        merged.update(_resolve(node["allOf"][0], definitions))
    if not node.get("x-kubernetes-int-or-string"):
        options = [option for option in node.get("anyOf", ()) if option.get("type") != "null"]
        if len(options) == 1:
            merged.update(_resolve(options[0], definitions))
        elif options:
            raise TypeError(f"A structural schema has no unions; found {options}.")
    merged.update({key: value for key, value in node.items() if key not in ("$ref", "allOf", "title")})
    return merged


def _at(schema: JsonSchema, path: str) -> JsonSchema:
    """The node of the field at ``path``."""
    node = schema
    for part in path.split("."):
        node = node["properties"][part.removesuffix("[]")]
        if part.endswith("[]"):
            node = node["items"]
    return node
