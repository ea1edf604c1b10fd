"""``hv explain``: what a kind's fields mean, from the server's own OpenAPI document."""

from __future__ import annotations

import argparse

from hyperd.cli.options import client_of
from hyperd.cli.printing import emit
from hyperd.client import kinds, sanitize
from hyperd.client.openapi import entries, path, resolved, schema_of, schemas_of
from hyperd.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from hyperd.client.resource import Resource
    from hyperd.resources.schema.kind import Object

EXAMPLES = """\
  hv explain vm
  hv explain vm.spec.cpu
  hv explain vd.spec.dataSource --recursive
"""
_DEEPEST = 12
_WIDTH = 100


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("path", help="a kind by any name, and a field: vm.spec.cpu")
    parser.add_argument("--recursive", action="store_true", help="all fields below, without their texts")


def run(args: argparse.Namespace) -> int:
    """Print the field's text and what is in it."""
    client = client_of(args)
    word, *fields = args.path.split(".")
    resource = kinds.resolve(word, client)[0]
    schemas = schemas_of(client.call("GET", path(resource)))
    schema = resolved(schema_of(schemas, resource), schemas)
    required: list[str] = []
    for done, field in enumerate(fields):
        schema, required = entries(schema, schemas), list(entries(schema, schemas).get("required") or ())
        found = (schema.get("properties") or {}).get(field)
        if not isinstance(found, dict):
            known = ", ".join(schema.get("properties") or ()) or "none"
            where = ".".join([word, *fields[:done]])
            raise NotFound(f"{where} has no field {field}; there are: {known}.")
        schema = resolved(found, schemas)
    emit(_told(resource, fields, schema, schemas, required, recursive=args.recursive))
    return 0


def _told(
    resource: Resource, fields: list[str], schema: Object, schemas: Object, required: list[str], *, recursive: bool
) -> Iterator[str]:
    yield f"KIND:     {sanitize.line(resource.kind)}"
    yield f"VERSION:  {sanitize.line(resource.api_version)}"
    if fields:
        needed = "  required" if fields[-1] in required else ""
        yield f"FIELD:    {sanitize.line('.'.join(fields))} <{_type(schema, schemas)}>{needed}"
    yield ""
    yield from _paragraph(str(schema.get("description") or "It has no text."), "")
    yield from _limits(schema)
    inner = entries(schema, schemas)
    if inner.get("properties"):
        yield ""
        yield "FIELDS:"
        yield from _fields(inner, schemas, "  ", recursive=recursive, above=())


def _fields(
    schema: Object, schemas: Object, indent: str, *, recursive: bool, above: tuple[int, ...]
) -> Iterator[str]:
    """``above`` are the fields that these are in: a schema that is in itself is told once."""
    required = schema.get("required") or ()
    above = (*above, id(schema.get("properties")))
    for name, raw in (schema.get("properties") or {}).items():
        if not isinstance(raw, dict):
            continue
        found = resolved(raw, schemas)
        needed = "  required" if name in required else ""
        yield f"{indent}{sanitize.line(str(name))} <{_type(found, schemas)}>{needed}"
        if not recursive:
            yield from _paragraph(str(raw.get("description") or found.get("description") or ""), f"{indent}  ")
            yield from (f"{indent}  {line}" for line in _limits(found))
        elif len(above) <= _DEEPEST and id((inner := entries(found, schemas)).get("properties")) not in above:
            yield from _fields(inner, schemas, f"{indent}  ", recursive=True, above=above)


def _limits(schema: Object) -> Iterator[str]:
    if isinstance(values := schema.get("enum"), list):
        yield f"One of: {sanitize.line(', '.join(map(str, values)))}."
    if "default" in schema:
        yield f"Default: {sanitize.line(str(schema['default']))}."


def _type(schema: Object, schemas: Object) -> str:
    kind = str(schema.get("type") or ("IntOrString" if schema.get("x-kubernetes-int-or-string") else "Object"))
    if kind == "array":
        return f"[]{_type(resolved(schema.get('items') or {}, schemas), schemas)}"
    if kind == "object" and isinstance(values := schema.get("additionalProperties"), dict):
        return f"map[string]{_type(resolved(values, schemas), schemas)}"
    return sanitize.line(kind)


def _paragraph(text: str, indent: str) -> Iterator[str]:
    from textwrap import wrap

    for line in sanitize.text(text).splitlines():
        yield from (f"{indent}{part}" for part in (wrap(line, _WIDTH - len(indent)) or [""]))
