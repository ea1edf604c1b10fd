"""OpenAPI v3 documents, one for each group and version, made from the kinds and the grammar of routes.

kubectl reads them to explain fields, and to learn that the server validates and rehearses: it looks for
``fieldValidation`` and ``dryRun`` among the parameters of POST, PUT and PATCH.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from hyperd.api import routes
from hyperd.api.discovery import Discovery
from hyperd.api.messages import MESSAGES, Field
from hyperd.resources.kind import Kind, Object
from hyperd.store.interface import PatchType

_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_REF = "#/components/schemas/"
_META_MESSAGES = (
    "ObjectMeta", "ListMeta", "OwnerReference", "ManagedFieldsEntry", "DeleteOptions", "Preconditions", "Status",
    "StatusDetails", "StatusCause",
)  # fmt: skip
_SCALARS: dict[str, Object] = {
    "string": {"type": "string"},
    "int": {"type": "integer", "format": "int64"},
    "bool": {"type": "boolean"},
    "bytes": {"type": "string", "format": "byte"},
    "Time": {"type": "string", "format": "date-time"},
    "MicroTime": {"type": "string", "format": "date-time"},
    "Quantity": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
    "IntOrString": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
    "FieldsV1": {"type": "object"},
}
_WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")
_PARAMETERS: dict[str, tuple[str, str]] = {
    "dryRun": ("string", "When present, indicates that modifications should not be persisted: All."),
    "fieldManager": ("string", "The name of the actor or entity that makes these changes."),
    "fieldValidation": ("string", "What to do about unknown or duplicate fields: Ignore, Warn or Strict."),
    "force": ("boolean", "Force an apply request over conflicts."),
    "labelSelector": ("string", "Restricts the list by labels."),
    "fieldSelector": ("string", "Restricts the list by fields."),
    "limit": ("integer", "The most items to return; the answer's continue token leads to the rest."),
    "continue": ("string", "A continue token of an earlier answer."),
    "resourceVersion": ("string", "The version that the answer may not be older than."),
    "resourceVersionMatch": ("string", "How resourceVersion is applied: Exact or NotOlderThan."),
    "watch": ("boolean", "Stream changes as they happen."),
    "allowWatchBookmarks": ("boolean", "Send bookmarks, by which a watch can be resumed."),
    "sendInitialEvents": ("boolean", "Begin a watch with what exists, then a bookmark."),
    "timeoutSeconds": ("integer", "End the answer after so many seconds."),
    "propagationPolicy": ("string", "What becomes of dependents: Background, Foreground or Orphan."),
}
_LIST_PARAMETERS = (
    "labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "resourceVersionMatch", "watch",
    "allowWatchBookmarks", "sendInitialEvents", "timeoutSeconds",
)  # fmt: skip
_BY_VERB: dict[str, tuple[str, ...]] = {
    "list": _LIST_PARAMETERS,
    "create": _WRITE_PARAMETERS,
    "update": _WRITE_PARAMETERS,
    "patch": (*_WRITE_PARAMETERS, "force"),
    "delete": ("dryRun", "propagationPolicy"),
    "deletecollection": ("dryRun", "propagationPolicy", "labelSelector", "fieldSelector"),
}
_ACTIONS = {"create": "post", "update": "put"}


class OpenApi:
    """The documents by path (``apis/GROUP/VERSION``), each with the hash that makes it cacheable for ever."""

    def __init__(self, discovery: Discovery) -> None:
        self._documents: dict[str, bytes] = {}
        self._hashes: dict[str, str] = {}
        for group, version in discovery.group_versions():
            kinds = discovery.kinds_of(group, version)
            path = routes.prefix(kinds[0]).strip("/")
            document = orjson.dumps(_document(kinds))
            self._documents[path] = document
            self._hashes[path] = hashlib.sha256(document).hexdigest()[:32].upper()

    def index(self) -> Object:
        """``/openapi/v3``."""
        return {
            "paths": {
                path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
                for path, digest in self._hashes.items()
            }
        }

    def document(self, path: str) -> tuple[bytes, str] | None:
        """The document and its hash."""
        if path not in self._documents:
            return None
        return self._documents[path], self._hashes[path]


def _document(kinds: list[Kind]) -> Object:
    schemas: dict[str, Object] = {f"{_META}.{name}": _message(name) for name in _META_MESSAGES}
    paths: dict[str, Object] = {}
    for kind in kinds:
        schemas[schema_name(kind)] = _schema(kind)
        schemas[f"{schema_name(kind)}List"] = _list_schema(kind)
        for operation in routes.operations(kind):
            schemas.setdefault(schema_name(operation.shape), _schema(operation.shape))
            item = paths.setdefault(operation.path, {"parameters": list(_path_parameters(operation))})
            item[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.0.0",
        "info": {"title": "hyperd", "version": kinds[0].version},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def schema_name(kind: Kind) -> str:
    """``io.deckhouse.virtualization.v1alpha2.VirtualMachine``; core kinds as Kubernetes names them."""
    if "." in kind.group and not kind.group.endswith("k8s.io"):
        return ".".join((*reversed(kind.group.split(".")), kind.version, kind.kind))
    return f"io.k8s.api.{kind.group.split('.')[0] or 'core'}.{kind.version}.{kind.kind}"


def _gvk(kind: Kind, suffix: str = "") -> Object:
    return {"group": kind.group, "version": kind.version, "kind": f"{kind.kind}{suffix}"}


def _ref(name: str) -> Object:
    return {"$ref": _REF + name}


def _schema(kind: Kind) -> Object:
    schema = dict(kind.schema)
    properties = dict(schema.get("properties") or {})
    properties.setdefault("apiVersion", {"type": "string"})
    properties.setdefault("kind", {"type": "string"})
    description = properties.get("metadata", {}).get("description", "Standard object metadata.")
    properties["metadata"] = {
        "description": description,
        "default": {},
        "allOf": [_ref(f"{_META}.ObjectMeta")],
    }
    return schema | {"type": "object", "properties": properties, "x-kubernetes-group-version-kind": [_gvk(kind)]}


def _list_schema(kind: Kind) -> Object:
    return {
        "description": f"A list of {kind.kind}.",
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"allOf": [_ref(f"{_META}.ListMeta")]},
            "items": {"type": "array", "items": {"allOf": [_ref(schema_name(kind))]}},
        },
        "x-kubernetes-group-version-kind": [_gvk(kind, "List")],
    }


def _message(name: str) -> Object:
    return {
        "type": "object",
        "properties": {field.name: _field(field) for field in MESSAGES[name].fields},
    }


def _field(field: Field) -> Object:
    one = dict(_SCALARS[field.type]) if field.type in _SCALARS else {"allOf": [_ref(f"{_META}.{field.type}")]}
    if field.shape == "list":
        return {"type": "array", "items": one}
    if field.shape == "map":
        return {"type": "object", "additionalProperties": one}
    return one


def _path_parameters(operation: routes.Operation) -> Iterator[Object]:
    for name in operation.parameters:
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(verb: str) -> Iterable[Object]:
    for name in _BY_VERB.get(verb, ()):
        type_, description = _PARAMETERS[name]
        yield {
            "name": name,
            "in": "query",
            "description": description,
            "schema": {"type": type_, "uniqueItems": True},
        }


def _body_types(operation: routes.Operation) -> dict[str, Any]:
    if operation.verb == "patch":
        strategic = () if operation.kind.model is not None else (PatchType.STRATEGIC,)
        types = (PatchType.JSON, PatchType.MERGE, *strategic, PatchType.APPLY)
        return {type_.value: {"schema": {"type": "object"}} for type_ in types}
    name = f"{_META}.DeleteOptions" if operation.method == "DELETE" else schema_name(operation.shape)
    return {"application/json": {"schema": _ref(name)}, "application/yaml": {"schema": _ref(name)}}


def _operation(operation: routes.Operation) -> Object:
    kind = operation.kind
    answer = schema_name(operation.shape)
    if operation.verb == "list":
        answer += "List"
    elif operation.method == "DELETE":
        answer = f"{_META}.Status"
    scope = "Namespaced" if "{namespace}" in operation.path else ""
    suffix = operation.subresource.capitalize()
    across = "ForAllNamespaces" if kind.namespaced and not scope else ""
    out: Object = {
        "operationId": f"{operation.verb}{kind.version.capitalize()}{scope}{kind.kind}{suffix}{across}",
        "parameters": list(_query_parameters(operation.verb)),
        "responses": {
            "200": {"description": "OK", "content": {"application/json": {"schema": _ref(answer)}}},
            "401": {"description": "Unauthorized"},
        },
        "x-kubernetes-action": _ACTIONS.get(operation.verb, operation.verb),
        "x-kubernetes-group-version-kind": _gvk(operation.shape),
    }
    if operation.method != "GET":
        out["requestBody"] = {"content": _body_types(operation), "required": operation.method != "DELETE"}
    return out
