"""OpenAPI v3 documents, one for each group and version, made from the kinds and the grammar of routes.

kubectl reads them to explain fields and to validate.
"""

from __future__ import annotations

import hashlib

import orjson

from hyperd.api.endpoints import openapi_operations
from hyperd.api.endpoints.discovery import Discovery
from hyperd.api.wire import routes
from hyperd.api.wire.messages import MESSAGES, Field
from hyperd.resources.schema.kind import Kind, Object

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


V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_V2_PROTOBUF_TYPE = V2_PROTOBUF.replace("@", ".")
"""What is asked for with an @ is answered with a dot: no media type has one, and Go's parser says so."""
_V2_INFO = {"title": "hyperd", "version": "v1", "description": "The API is described at /openapi/v3."}


def version_two(*, protobuf: bool) -> tuple[bytes, str]:
    """An OpenAPI v2 document without definitions, and its media type.

    kubectl reads it to judge a kind that this server does not have. Finding the kind in no definition, it goes on,
    and tells its user that there is no such kind.
    """
    if not protobuf:
        return orjson.dumps({"swagger": "2.0", "info": _V2_INFO, "paths": {}}), "application/json"
    info = b"".join(_text(number, text) for number, text in enumerate(_V2_INFO.values(), start=1))
    return _text(1, "2.0") + _bytes(2, info), _V2_PROTOBUF_TYPE


def _text(number: int, text: str) -> bytes:
    return _bytes(number, text.encode())


def _bytes(number: int, content: bytes) -> bytes:
    """A protobuf field of bytes, shorter than 128."""
    return bytes((number << 3 | 2, len(content))) + content


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
            shape = operation.shape
            schemas.setdefault(schema_name(shape), _schema(shape))
            parameters = openapi_operations.path_parameters(operation)
            item = paths.setdefault(operation.path, {"parameters": list(parameters)})
            item[operation.method.lower()] = openapi_operations.operation(operation, names=_names(shape))
    return {
        "openapi": "3.0.0",
        "info": {"title": "hyperd", "version": kinds[0].version},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": openapi_operations.refusals(_ref(f"{_META}.Status")),
        },
    }


def _names(kind: Kind) -> dict[str, str]:
    own = schema_name(kind)
    named = {"object": own, "list": f"{own}List", "options": f"{_META}.DeleteOptions", "status": f"{_META}.Status"}
    return {role: _REF + name for role, name in named.items()}


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
