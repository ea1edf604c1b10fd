"""``hv describe``: one object as people read it: what it is, what it waits for, what happened to it."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from hyperd.cli.naming import each, scope
from hyperd.cli.options import client_of
from hyperd.cli.printing import TablePrinter
from hyperd.client import kinds, sanitize
from hyperd.client.ages import age
from hyperd.client.health import conditions, health
from hyperd.client.lookup import events_of
from hyperd.client.resource import Resource
from hyperd.client.yamltext import dump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

EXAMPLES = """\
  hv describe vm web-7
  hv describe vd          all disks of the namespace
"""

_SECTIONS = ("spec", "data", "status")
_APART = frozenset(("apiVersion", "kind", "metadata", *_SECTIONS))
_HIDDEN_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("kind", help="a kind by any name; or kind/name")
    parser.add_argument("names", nargs="*", help="names of objects")


def run(args: argparse.Namespace) -> int:
    """Describe each object, an empty line between them."""
    client = client_of(args)
    word, _, first = args.kind.partition("/")
    names = ([first] if first else []) + args.names
    if any("/" in name for name in args.names):
        wanted = [(resource, [name]) for resource, name in each(client, [args.kind, *args.names])]
    else:
        wanted = [(resource, names) for resource in kinds.resolve(word, client)]
    shown = 0
    for resource, named in wanted:
        namespace = scope(client, resource)
        chosen = named or [item["metadata"]["name"] for item in client.list(resource, namespace)["items"]]
        for name in chosen:
            obj = client.get(resource, namespace, name)
            sys.stdout.write("\n" * bool(shown) + text_of(obj, resource, events_of(client, obj)))
            shown += 1
    if not shown:
        print(f"No {word} found in the namespace {client.home.namespace}.", file=sys.stderr)
    return 0


def text_of(obj: Object, resource: Resource, events: list[Object]) -> str:
    """The whole description, safe to print."""
    metadata = obj["metadata"]
    state = health(obj)
    head = [("Name", metadata["name"]), ("Namespace", metadata.get("namespace", ""))]
    head += [("Kind", f"{resource.kind} ({resource.api_version})")]
    head += [("Labels", _pairs(metadata.get("labels"))), ("Annotations", _pairs(metadata.get("annotations")))]
    head += [("Created", _created(metadata)), ("State", f"{state.glyph} {state.word}" if state.word else "")]
    head += [("Progress", state.progress), ("Why", state.reason)]
    out = "".join(_head_lines(name, value) for name, value in head if value)
    # Some kinds have fields beside these sections, or instead of them: a StorageClass, an Event.
    sections = [
        (resource.kind, {key: value for key, value in obj.items() if key not in _APART}),
        *((section.capitalize(), obj.get(section) or {}) for section in _SECTIONS),
    ]
    for title, content in sections:
        body = {key: value for key, value in content.items() if key != "conditions"}
        if resource.kind == "Secret" and title == "Data":
            body = {key: f"{len(str(value)) * 3 // 4} bytes" for key, value in body.items()}
        provisioning = body.get("provisioning")
        if isinstance(provisioning, dict) and "userData" in provisioning:
            size = len(str(provisioning["userData"]).encode())
            body["provisioning"] = {**provisioning, "userData": f"{size} bytes"}
        if body:
            out += f"\n{title}:\n" + "".join(f"  {line}\n" for line in dump(body).splitlines())
    return out + _conditions(obj) + _events(events)


def _head_lines(name: str, value: str | list[str]) -> str:
    """A line, or one for each of several values."""
    values = [value] if isinstance(value, str) else value
    labels = [f"{name}:", *[""] * (len(values) - 1)]
    lines = zip(labels, values, strict=True)
    return "".join(f"{label:<13} {sanitize.line(str(text))}\n" for label, text in lines)


def _pairs(values: dict[str, str] | None) -> list[str]:
    return [f"{key}={value}" for key, value in sorted((values or {}).items()) if key != _HIDDEN_ANNOTATION]


def _created(metadata: Object) -> str:
    stamp = str(metadata.get("creationTimestamp", ""))
    ago = age(stamp)
    return f"{stamp} ({ago} ago)" if ago else stamp


def _conditions(obj: Object) -> str:
    rows = [
        [entry.get(key, "") for key in ("type", "status", "reason")]
        + [age(str(entry.get("lastTransitionTime", ""))), entry.get("message", "")]
        for entry in conditions(obj)
    ]
    return _table("Conditions", ("Type", "Status", "Reason", "Since", "Message"), rows)


def _events(events: list[Object]) -> str:
    rows = []
    for event in events:
        count = int(event.get("count") or 1)
        when = age(str(event.get("lastTimestamp") or event.get("eventTime") or ""))
        times = f" (x{count})" if count > 1 else ""
        rows.append([when + times, event.get("type", ""), event.get("reason", ""), event.get("message", "")])
    return _table("Events", ("Age", "Type", "Reason", "Message"), rows)


def _table(title: str, names: tuple[str, ...], rows: list[list[Any]]) -> str:
    if not rows:
        return ""
    printer = TablePrinter(wide=True, namespaces=False, colour=False)
    table = {"columnDefinitions": [{"name": name} for name in names], "rows": [{"cells": row} for row in rows]}
    return f"\n{title}:\n" + "".join(f"  {line}\n" for line in printer.format(table))
