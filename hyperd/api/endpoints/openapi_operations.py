"""What OpenAPI says of each operation: parameters, bodies, and every answer that it may give.

Schemathesis holds the server to it. kubectl learns here that the server validates and rehearses: it looks for
``fieldValidation`` and ``dryRun`` among the parameters of POST, PUT and PATCH.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hyperd.api.wire import protobuf, routes
from hyperd.api.wire.negotiate import JSON, PROBLEM, YAML
from hyperd.resources.schema.kind import Object
from hyperd.store.interface import FieldValidation, PatchType, Propagation

_WRITE = ("dryRun", "fieldManager", "fieldValidation", "pretty")
_LIST = (
    "labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "resourceVersionMatch", "watch",
    "allowWatchBookmarks", "sendInitialEvents", "timeoutSeconds", "includeObject", "pretty",
)  # fmt: skip
_DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy", "pretty")
_BY_VERB: Mapping[str, tuple[str, ...]] = {
    "get": ("includeObject", "pretty"),
    "list": _LIST,
    "create": _WRITE,
    "update": _WRITE,
    "patch": (*_WRITE, "force"),
    "delete": _DELETE,
    "deletecollection": (*_DELETE, *(name for name in _LIST if name not in _DELETE and name != "watch")),
}
_TEXT: Object = {"type": "string"}
_NUMBER: Object = {"type": "integer", "format": "int64"}
_FLAG: Object = {"type": "boolean"}
_VERSION: Object = {"type": "string", "pattern": "^[0-9]*$"}


def _one_of(*values: str) -> Object:
    return {"type": "string", "enum": list(values)}


_PARAMETERS: Mapping[str, tuple[Object, str]] = {
    "dryRun": (_one_of("All"), "When present, indicates that modifications should not be persisted: All."),
    "fieldManager": (_TEXT | {"maxLength": 128}, "The name of the actor or entity that makes these changes."),
    "fieldValidation": (_one_of(*FieldValidation), "What to do about unknown or duplicate fields."),
    "force": (_FLAG, "Force an apply request over conflicts."),
    "labelSelector": (_TEXT, "Restricts the list by labels."),
    "fieldSelector": (_TEXT, "Restricts the list by fields."),
    "limit": (_NUMBER, "The most items to return; the answer's continue token leads to the rest."),
    "continue": (_TEXT, "A continue token of an earlier answer."),
    "resourceVersion": (_VERSION, "The version that the answer may not be older than."),
    "resourceVersionMatch": (_one_of("Exact", "NotOlderThan"), "How resourceVersion is applied."),
    "watch": (_FLAG, "Stream changes as they happen, one JSON object a line."),
    "allowWatchBookmarks": (_FLAG, "Send bookmarks, by which a watch can be resumed."),
    "sendInitialEvents": (_FLAG, "Begin a watch with what exists, then a bookmark."),
    "timeoutSeconds": (_NUMBER, "End the answer after so many seconds."),
    "gracePeriodSeconds": (_NUMBER, "Accepted, and without effect: no kind here has a grace period."),
    "orphanDependents": (_FLAG, "Deprecated: use propagationPolicy."),
    "propagationPolicy": (_one_of(*Propagation), "What becomes of dependents."),
    "includeObject": (_one_of("None", "Metadata", "Object"), "How much of an object the row of a Table has."),
    "pretty": (_FLAG, "Indent the answer."),
}

_REFUSALS: Mapping[int, str] = {
    400: "The request cannot be understood.",
    401: "Nothing proves who asks.",
    403: "The user may not do this, or a rule forbids it.",
    404: "There is no such object, or no such namespace.",
    405: "The path has no such method.",
    406: "None of the forms that Accept names is served.",
    408: "The body did not come in time.",
    409: "The object exists, or has changed, or a precondition failed.",
    410: "The version or the continue token is older than what is kept.",
    413: "The body is too large.",
    415: "The body is of a type that is not taken here.",
    422: "The object, or a parameter, breaks a rule.",
    429: "Too many watches are open.",
    503: "The store cannot write now.",
    504: "The version is of the future.",
}
_ALWAYS = (400, 401, 403, 404, 406)
_WRITES = (*_ALWAYS, 408, 409, 413, 415, 422, 503)
_ANSWERED: Mapping[str, Sequence[int]] = {
    "get": (*_ALWAYS, 405),
    "list": (*_ALWAYS, 410, 422, 429, 504),
    "create": _WRITES,
    "update": (*_WRITES, 405),
    "patch": (*_WRITES, 405),
    "delete": (*_WRITES, 405),
    "deletecollection": (*_WRITES, 410, 504),
}
"""Statuses of refusals, by verb; 405 where a name may be empty, which makes the path that of the collection."""
_ACTIONS = {"create": "post", "update": "put"}


def refusals(status_schema: Object) -> Object:
    """``components.responses``: each refusal is a Status, or an RFC 9457 problem for who asks for it."""
    problem = {
        "type": "object",
        "required": ["type", "title", "status"],
        "properties": {
            "type": _TEXT,
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "instance": _TEXT,
            "details": {"type": "object"},
        },
    }
    content = {JSON: {"schema": status_schema}, PROBLEM: {"schema": problem}}
    return {str(code): {"description": text, "content": content} for code, text in _REFUSALS.items()}


def path_parameters(operation: routes.Operation) -> Iterator[Object]:
    """The parameters in braces."""
    for name in operation.parameters:
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def operation(asked: routes.Operation, *, names: Mapping[str, str]) -> Object:
    """One operation; ``names`` are references to the schemas ``object``, ``list``, ``options`` and ``status``."""
    kind = asked.kind
    scope = "Namespaced" if "{namespace}" in asked.path else ""
    across = "ForAllNamespaces" if kind.namespaced and not scope else ""
    suffix = asked.subresource.capitalize()
    out: Object = {
        "operationId": f"{asked.verb}{kind.version.capitalize()}{scope}{kind.kind}{suffix}{across}",
        "parameters": list(_query_parameters(asked.verb)),
        "responses": _responses(asked, names),
        "x-kubernetes-action": _ACTIONS.get(asked.verb, asked.verb),
        "x-kubernetes-group-version-kind": {
            "group": asked.shape.group,
            "version": asked.shape.version,
            "kind": asked.shape.kind,
        },
    }
    if asked.method != "GET":
        out["requestBody"] = {"content": _bodies(asked, names), "required": asked.method != "DELETE"}
    return out


def _query_parameters(verb: str) -> Iterator[Object]:
    for name in _BY_VERB.get(verb, ()):
        schema, description = _PARAMETERS[name]
        yield {"name": name, "in": "query", "description": description, "schema": schema | {"uniqueItems": True}}


def _bodies(asked: routes.Operation, names: Mapping[str, str]) -> Object:
    if asked.verb == "patch":
        strategic = (PatchType.STRATEGIC,) if asked.kind.core else ()
        merged = (PatchType.MERGE, *strategic, PatchType.APPLY)
        json_patch = {"type": "array", "items": {"type": "object", "required": ["op", "path"]}}
        return {PatchType.JSON.value: {"schema": json_patch}} | {
            type_.value: {"schema": {"type": "object"}} for type_ in merged
        }
    schema = {"$ref": names["options" if asked.method == "DELETE" else "object"]}
    types = (JSON, YAML, protobuf.MEDIA_TYPE) if _speaks_protobuf(asked) else (JSON, YAML)
    return {type_: {"schema": schema} for type_ in types}


def _responses(asked: routes.Operation, names: Mapping[str, str]) -> Object:
    found: Object = {"$ref": names["object"]}
    if asked.verb in ("list", "deletecollection"):
        found = {"$ref": names["list"]}
    elif asked.verb == "delete":
        # Finalizers may keep the object; it is the answer then.
        found = {"anyOf": [{"$ref": names["status"]}, {"$ref": names["object"]}]}
    types = (JSON, YAML, protobuf.MEDIA_TYPE) if _speaks_protobuf(asked) else (JSON, YAML)
    success = {"description": "OK", "content": {type_: {"schema": found} for type_ in types}}
    codes = {"create": ("201",), "patch": ("200", "201")}.get(asked.verb, ("200",))
    refused = {str(code): {"$ref": f"#/components/responses/{code}"} for code in sorted(_ANSWERED[asked.verb])}
    return dict.fromkeys(codes, success) | refused


def _speaks_protobuf(asked: routes.Operation) -> bool:
    return asked.shape.core and protobuf.speaks(asked.shape.kind)
