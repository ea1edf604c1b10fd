"""``hv get``: lists and single objects as tables, YAML, JSON or names; ``-w`` goes on with every change."""

from __future__ import annotations

import sys

from hyperd.cli.options import client_of, coloured
from hyperd.cli.printing import TablePrinter, document, emit, object_name
from hyperd.client import kinds, paths
from hyperd.client.sync import TABLE, Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from hyperd.client.resource import Resource
    from hyperd.resources.schema.kind import Object

_FORMS = ("", "wide", "yaml", "json", "name")
_TEMPLATES = ("jsonpath=", "custom-columns=")
"""Forms that take whole objects, and no table of the server's; see ``formats``."""
EXAMPLES = """\
  hv get                         the kinds that the server has
  hv get vm                      machines of the namespace
  hv get vm,vd,vi -A             machines, disks and images of all namespaces
  hv get vm web-7 -o yaml        one machine as YAML
  hv get vm -l app=web -o name   names of those with a label
  hv get vm -w                   and go on with every change
  hv get vm --sort-by .spec.memory.size
  hv get vm -o custom-columns=NAME:.metadata.name,IP:.status.ipAddress
  hv get vm web-7 -o jsonpath='{.status.ipAddress}'
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "kinds", nargs="?", default="", help="kinds by any name, separated by commas; or kind/name"
    )
    parser.add_argument("names", nargs="*", help="names of objects")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    parser.add_argument(
        "-o", "--output", type=_form, default="", metavar="FORM",
        help="wide, yaml, json, name, jsonpath=TEMPLATE or custom-columns=NAME:PATH,…",
    )  # fmt: skip
    parser.add_argument("--sort-by", default="", metavar="PATH", help="JSONPath: .metadata.creationTimestamp")
    parser.add_argument("-l", "--selector", default="", metavar="LABELS", help="label selector: app=web,tier!=db")
    parser.add_argument(
        "--field-selector", default="", metavar="FIELDS", help="field selector: metadata.name=web-7"
    )
    parser.add_argument("-w", "--watch", action="store_true", help="go on with every change")
    parser.add_argument("--no-headers", action="store_true", help="no header line")


def _form(text: str) -> str:
    """``-o`` as argparse takes it. Raises ArgumentTypeError."""
    if text in _FORMS or text.startswith(_TEMPLATES):
        return text
    from argparse import ArgumentTypeError

    templates = ", ".join(f"{template}…" for template in _TEMPLATES)
    raise ArgumentTypeError(f"{text!r} is none of {', '.join(filter(None, _FORMS))}, {templates}")


def run(args: argparse.Namespace) -> int:
    """Print what was asked for."""
    client = client_of(args)
    if not args.kinds:
        return _list_kinds(client)
    if any("/" in name for name in args.names):
        return _mixed(args, client)
    wanted, names = _resolve(args, client)
    if args.watch:
        if args.sort_by or args.output.startswith(_TEMPLATES):
            from hyperd.errors import BadRequest

            raise BadRequest("A watch tells changes as they come: it is not sorted, and has no templates.")
        if len(wanted) != 1 or len(names) > 1:
            from hyperd.errors import BadRequest

            raise BadRequest("A watch follows one kind, and all objects or one.")
        return _watch(args, client, wanted[0], names[0] if names else "")
    if _whole(args):
        _print(args, _objects(args, client, wanted, names))
        return 0
    return _tables(args, client, wanted, names)


def _resolve(args: argparse.Namespace, client: Client) -> tuple[list[Resource], list[str]]:
    names = list(args.names)
    words = [word for word in args.kinds.split(",") if word]
    if len(words) == 1 and "/" in words[0]:
        word, _, name = words[0].partition("/")
        words, names = [word], [name, *(other.partition("/")[2] or other for other in names)]
    wanted: list[Resource] = []
    for word in words:
        wanted.extend(resource for resource in kinds.resolve(word, client) if resource not in wanted)
    return wanted, names


def _mixed(args: argparse.Namespace, client: Client) -> int:
    """``vm/a vd/b``: each its own kind, in the order they are named."""
    from hyperd.client.words import pairs

    named = pairs([args.kinds, *args.names])
    if args.watch:
        from hyperd.errors import BadRequest

        raise BadRequest("A watch follows one kind, and all objects or one.")
    groups: list[tuple[Resource, list[str]]] = []
    for word, name in named:
        (resource,) = kinds.resolve(word, client)[:1]
        if not groups or groups[-1][0].plural != resource.plural:
            groups.append((resource, []))
        groups[-1][1].append(name)
    if _whole(args):
        items = [
            client.get(resource, _scope(args, client, resource), name)
            for resource, names in groups
            for name in names
        ]
        shown = items[0] if len(items) == 1 else {"apiVersion": "v1", "kind": "List", "items": items}
        _print(args, shown)
        return 0
    for at, (resource, names) in enumerate(groups):
        if at and args.output != "name":
            emit([""])
        _tables(args, client, [resource], names, prefix=len(groups) > 1)
    return 0


def _whole(args: argparse.Namespace) -> bool:
    """Whether the form takes whole objects."""
    return args.output in ("yaml", "json") or args.output.startswith(_TEMPLATES)


def _print(args: argparse.Namespace, shown: Any) -> None:
    if args.sort_by and isinstance(shown.get("items"), list):
        from hyperd.cli.formats import by_path

        by_path(args.sort_by, shown["items"])
    if args.output in ("yaml", "json"):
        sys.stdout.write(document(shown, args.output))
    else:
        from hyperd.cli.formats import render

        sys.stdout.write(render(args.output, shown, header=not args.no_headers))


def _scope(args: argparse.Namespace, client: Client, resource: Resource) -> str | None:
    return None if args.all_namespaces or not resource.namespaced else client.home.namespace


def _tables(
    args: argparse.Namespace, client: Client, wanted: list[Resource], names: list[str], *, prefix: bool = False
) -> int:
    printed = 0
    for resource in wanted:
        scope = _scope(args, client, resource)
        if names:
            whole = paths.query({"includeObject": "Object" if args.sort_by else ""})
            path = [paths.single(resource, scope, name) + whole for name in names]
            tables = [client.call("GET", where, accept=TABLE) for where in path]
        else:
            tables = [
                client.list(
                    resource, scope, labels=args.selector, fields=args.field_selector, table=True,
                    whole=bool(args.sort_by),
                )
            ]  # fmt: skip
        tables = [as_table(table) for table in tables]
        rows = [row for table in tables for row in table.get("rows") or ()]
        if not rows:
            continue
        if args.sort_by:
            from hyperd.cli import formats

            formats.by_path(args.sort_by, rows, "object")
        tables[0]["rows"] = rows
        if args.output == "name":
            emit(object_name(resource, row["object"]["metadata"]["name"]) for row in rows)
        else:
            printer = _printer(args, resource, prefix=f"{resource.short}/" if prefix or len(wanted) > 1 else "")
            emit(([""] if printed else []) + printer.format(tables[0]))
        printed += 1
    if not printed:
        where = "" if args.all_namespaces else f" in the namespace {client.home.namespace}"
        print(f"No {' or '.join(resource.plural for resource in wanted)} found{where}.", file=sys.stderr)
    return 0


def _printer(args: argparse.Namespace, resource: Resource, prefix: str = "") -> TablePrinter:
    return TablePrinter(
        wide=args.output == "wide",
        namespaces=args.all_namespaces and resource.namespaced,
        colour=coloured(),
        prefix=prefix,
        header=not args.no_headers,
    )


def as_table(answer: Object) -> Object:
    """``answer`` as a Table; a server that knows none gives objects, of which the names are shown."""
    if answer.get("kind") == "Table":
        return answer
    items = answer.get("items", [answer])
    return {
        "kind": "Table",
        "metadata": answer.get("metadata") or {},
        "columnDefinitions": [{"name": "Name"}, {"name": "Created"}],
        "rows": [
            {"cells": [item["metadata"]["name"], item["metadata"].get("creationTimestamp", "")], "object": item}
            for item in items
        ],
    }


def _objects(args: argparse.Namespace, client: Client, wanted: list[Resource], names: list[str]) -> Any:
    items: list[Any] = []
    for resource in wanted:
        scope = _scope(args, client, resource)
        if names:
            items.extend(client.get(resource, scope, name) for name in names)
            continue
        listed = client.list(resource, scope, labels=args.selector, fields=args.field_selector)
        for item in listed.get("items") or ():
            # List items may leave out what the list says once.
            items.append({"apiVersion": resource.api_version, "kind": resource.kind, **item})
    if len(names) == 1 and len(wanted) == 1:
        return items[0]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _watch(args: argparse.Namespace, client: Client, resource: Resource, name: str) -> int:
    scope = _scope(args, client, resource)
    fields = ",".join(part for part in (f"metadata.name={name}" if name else "", args.field_selector) if part)
    from hyperd.errors import Expired, Timeout

    table = args.output in ("", "wide")
    printer = _printer(args, resource)
    version = ""
    while True:
        if not version:
            listed = client.list(resource, scope, labels=args.selector, fields=fields, table=table)
            version = listed["metadata"]["resourceVersion"]
            _show(args, resource, printer, as_table(listed) if table else listed)
        try:
            for event in client.watch(
                resource, scope, labels=args.selector, fields=fields, resource_version=version, table=table,
                bookmarks=True,
            ):  # fmt: skip
                obj = event["object"]
                version = version_of(obj) or version
                if event["type"] != "BOOKMARK":
                    _show(args, resource, printer, as_table(obj) if table else obj)
        except Expired:
            # What happened in between cannot be told any more; what is there now can.
            version = ""
        except Timeout:
            # The connection is dead; whether the server is, too, the next request says.
            client.call("GET", "/version")


def version_of(obj: Object) -> str:
    """The resourceVersion of an object or of a table's last row; empty where there is none."""
    version = (obj.get("metadata") or {}).get("resourceVersion") or ""
    for row in obj.get("rows") or ():
        version = ((row.get("object") or {}).get("metadata") or {}).get("resourceVersion") or version
    return str(version)


def _show(args: argparse.Namespace, resource: Resource, printer: TablePrinter, shown: Object) -> None:
    if args.output in ("", "wide"):
        emit(printer.format(shown))
        return
    for item in shown.get("items", [shown]):
        if args.output == "name":
            emit([object_name(resource, item["metadata"]["name"])])
        else:
            full = {"apiVersion": resource.api_version, "kind": resource.kind, **item}
            emit([*(["---"] if args.output == "yaml" else []), document(full, args.output).rstrip("\n")])


def _list_kinds(client: Client) -> int:
    rows = [
        {
            "cells": [
                kind.plural,
                ",".join(kind.short_names),
                kind.api_version,
                kind.namespaced,
                ",".join(kind.categories),
            ]
        }
        for kind in kinds.discover(client)
    ]
    columns = [{"name": name} for name in ("Name", "Short names", "API version", "Namespaced", "Categories")]
    printer = TablePrinter(wide=True, namespaces=False, colour=False)
    emit(printer.format({"columnDefinitions": columns, "rows": rows}))
    return 0
