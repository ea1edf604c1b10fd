"""A restore or a copy that a command asks for: its progress, what became of each object, and its exit code."""

from __future__ import annotations

import sys

from hyperd.cli.printing import TablePrinter, document, emit, object_name
from hyperd.cli.waiting import follow, settled
from hyperd.client import sanitize, snapshots

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from hyperd.client.sync import Client
    from hyperd.resources.schema.kind import Object


def ask(client: Client, manifest: Object) -> Object:
    """Create the operation."""
    resource = snapshots.resource(manifest["kind"])
    return client.create(resource, manifest["metadata"]["namespace"], manifest)


def ended(client: Client, op: Object, args: argparse.Namespace) -> Object:
    """The operation once it has ended, well or not. Raises Timeout."""
    resource = snapshots.resource(op["kind"])
    metadata = op["metadata"]
    return follow(
        client, resource, metadata["namespace"], metadata["name"],
        until=settled(resource.kind), timeout=args.timeout,
    )  # fmt: skip


def well(op: Object) -> bool:
    """Whether an operation that has ended did what it was to do."""
    return (op.get("status") or {}).get("phase") == "Completed"


def tell(op: Object, args: argparse.Namespace, done: str) -> int:
    """Print what became of each object, then how it ended; the exit code. ``done`` says what was done."""
    if args.output:
        sys.stdout.write(document(op, args.output))
        return 0 if well(op) else 1
    table(op)
    if well(op):
        emit([sanitize.line(done)])
        return 0
    print(f"hv: {sanitize.text(failure(op))}", file=sys.stderr)
    return 1


def failure(op: Object) -> str:
    """That it failed, and why."""
    phase = (op.get("status") or {}).get("phase")
    name = object_name(snapshots.resource(op["kind"]), op["metadata"]["name"])
    return f"{name} {phase}: {snapshots.verdict(op)}"


def table(op: Object) -> None:
    """What became of each object, on stdout; nothing where it got to none."""
    rows = [{"cells": [f"{kind}/{name}", status, said]} for kind, name, status, said in snapshots.results(op)]
    if rows:
        names = ("Object", "Status", "Message")
        titles = [{"name": name} for name in names]
        emit(
            TablePrinter(wide=True, namespaces=False, colour=False).format(
                {"columnDefinitions": titles, "rows": rows}
            )
        )
