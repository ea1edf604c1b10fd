"""A restore or a copy that a command asks for: its flags, progress, exit code, and what became of each object."""

from __future__ import annotations

import sys

from hyperd.cli.options import seconds
from hyperd.cli.printing import TablePrinter, document, emit, object_name
from hyperd.cli.waiting import follow, settled
from hyperd.client import sanitize, snapshots
from hyperd.errors import BadRequest, Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from hyperd.client.sync import Client
    from hyperd.resources.schema.kind import Object

_MODES = {"dry-run": snapshots.DRY_RUN, "strict": snapshots.STRICT, "best-effort": snapshots.BEST_EFFORT}
"""The words of ``--mode``, and the API's."""


def of_operation(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of what is an operation with a result for each object."""
    parser.add_argument(
        "--mode", choices=tuple(_MODES), default="",
        help="dry-run only tells, strict wants every object (default), best-effort takes what it can",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="the same as --mode dry-run")
    parser.add_argument("--no-wait", action="store_true", help="ask for it, and do not wait for its end")
    parser.add_argument(
        "-o", "--output", choices=("yaml", "json"), default="", help="print what is made like this"
    )
    parser.add_argument("-t", "--timeout", type=seconds, default=600.0, help="longest wait (default 10m)")


def mode(args: argparse.Namespace) -> str:
    """The API's word. Raises BadRequest."""
    if args.dry_run and args.mode not in ("", "dry-run"):
        raise BadRequest(f"--dry-run and --mode {args.mode} contradict each other.")
    return snapshots.DRY_RUN if args.dry_run else _MODES[args.mode or "strict"]


def must_be_free(client: Client, kind: str, namespace: str, name: str) -> None:
    """Raises Conflict: nobody should wait for an operation that cannot end well."""
    if client.find(snapshots.resource(kind), namespace, name) is not None:
        raise Conflict(f"{kind} {name} is there already; take another name.")


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


def finish(client: Client, op: Object, args: argparse.Namespace, name: str) -> int:
    """Wait for a copy, and say what became of it."""
    if args.no_wait:
        emit([sanitize.line(f"{op['kind'].lower()}/{op['metadata']['name']} created")])
        return 0
    only_told = mode(args) == snapshots.DRY_RUN
    done = "Nothing was done; this is what a copy would make." if only_told else f"virtualmachine/{name} is made"
    return tell(ended(client, op, args), args, done)
