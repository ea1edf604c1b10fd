"""A server's OpenAPI document: where a kind's schema is in it, and what its references lead to.

Schemas are mappings as the server sent them; what is no mapping is as good as not there.
"""

from __future__ import annotations

from hyperd.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.client.resource import Resource
    from hyperd.resources.schema.kind import Object

_DEEPEST = 12
"""So many references lead to each other at most."""


def entries(schema: Object, schemas: Object) -> Object:
    """What the fields of a field are in: itself, or its entries."""
    for name in ("items", "additionalProperties"):
        if isinstance(inner := schema.get(name), dict) and not schema.get("properties"):
            return entries(resolved(inner, schemas), schemas)
    return schema


def resolved(schema: Object, schemas: Object) -> Object:
    """``schema`` without references; what stands beside one goes before it."""
    for _ in range(_DEEPEST):
        reference = schema.get("$ref")
        every = schema.get("allOf")
        if reference is None and isinstance(every, list) and len(every) == 1 and isinstance(every[0], dict):
            schema = {**every[0], **{key: value for key, value in schema.items() if key != "allOf"}}
            continue
        if not isinstance(reference, str):
            break
        target = schemas.get(reference.rpartition("/")[2])
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**(target if isinstance(target, dict) else {}), **beside}
    return schema


def path(resource: Resource) -> str:
    """Where the document is that has a kind."""
    where = f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"
    return f"/openapi/v3/{where}"


def schemas_of(document: Object) -> Object:
    """All schemas of a document, by name."""
    found: object = document
    for name in ("components", "schemas"):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def schema_of(schemas: Object, resource: Resource) -> Object:
    """A kind's schema among ``schemas``. Raises NotFound."""
    for schema in schemas.values():
        names = schema.get("x-kubernetes-group-version-kind") if isinstance(schema, dict) else None
        for named in names if isinstance(names, list) else ():
            if isinstance(named, dict) and (named.get("group"), named.get("version"), named.get("kind")) == (
                resource.group, resource.version, resource.kind,
            ):  # fmt: skip
                found: Object = schema
                return found
    raise NotFound(f"The server's OpenAPI document has nothing of {resource.kind}.")
