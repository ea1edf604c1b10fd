"""``hv delete``: by name, label, file, or all of a kind; waits until finalizers let go."""

from __future__ import annotations

import argparse
import sys
import time

from hyperd.cli.naming import each, scope
from hyperd.cli.options import client_of, seconds
from hyperd.cli.printing import emit, object_name
from hyperd.client import kinds
from hyperd.client.resource import Resource
from hyperd.client.sync import Client
from hyperd.errors import BadRequest, Expired, NotFound, Timeout

EXAMPLES = """\
  hv delete vm web-7            a machine; its disks stay
  hv delete vm,vd -l app=test   machines and disks with a label
  hv delete -f machine.yaml     what a manifest describes
  hv delete vd --all -n lab     all disks of a namespace
"""

_Found = list[tuple[Resource, str | None, str]]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "kinds", nargs="?", default="", help="kinds by any name, separated by commas; or kind/name"
    )
    parser.add_argument("names", nargs="*", help="names of objects")
    parser.add_argument("-f", "--filename", action="append", default=[], help="file, folder or - for stdin")
    parser.add_argument("-l", "--selector", default="", metavar="LABELS", help="all with these labels")
    parser.add_argument("--all", action="store_true", help="all of the namespace")
    parser.add_argument("--dry-run", action="store_true", help="say what would be deleted")
    parser.add_argument("--no-wait", action="store_true", help="do not wait until they are gone")
    parser.add_argument("--ignore-not-found", action="store_true", help="what is not there is fine")
    parser.add_argument("-t", "--timeout", type=seconds, default=300.0, help="longest wait (default 5m)")


def run(args: argparse.Namespace) -> int:
    """Delete in order, then wait for those that finalizers hold."""
    client = client_of(args)
    held: _Found = []
    targets = _targets(args, client)
    if not targets:
        print("Nothing to delete: there is no such object here.", file=sys.stderr)
    for resource, namespace, name in targets:
        try:
            answer = client.delete(resource, namespace, name, dry_run=args.dry_run)
        except NotFound:
            if args.ignore_not_found:
                continue
            raise
        gone = answer.get("kind") == "Status" or not answer.get("metadata", {}).get("deletionTimestamp")
        if not gone and not args.dry_run:
            held.append((resource, namespace, name))
        emit([f"{object_name(resource, name)} deleted" + (" (dry run)" if args.dry_run else "")])
    if not args.no_wait:
        deadline = time.monotonic() + args.timeout
        for resource, namespace, name in held:
            until_gone(client, resource, namespace, name, deadline)
    return 0


def _targets(args: argparse.Namespace, client: Client) -> _Found:
    if args.filename:
        from hyperd.cli.manifests import read

        found: _Found = []
        for manifest in reversed(read(args.filename)):
            resource = kinds.of_object(manifest.obj, client)
            namespace = manifest.obj["metadata"].get("namespace") or client.home.namespace
            name = manifest.obj["metadata"].get("name")
            if not name:
                raise BadRequest(f"A {resource.kind} of the manifests has no name: say which is meant.")
            found.append((resource, namespace if resource.namespaced else None, name))
        return found
    if not args.kinds:
        raise BadRequest("Say what to delete: a kind and a name, or -f with a manifest.")
    # `vm/a b` would guess what b is, and delete it.
    if any("/" in word for word in (args.kinds, *args.names)):
        if args.selector or args.all:
            raise BadRequest("Name the objects, or choose them with -l or --all.")
        return [(kind, scope(client, kind), name) for kind, name in each(client, [args.kinds, *args.names])]
    if bool(args.names) == bool(args.selector or args.all):
        raise BadRequest("Name the objects, or choose them with -l or --all.")
    found = []
    for part in args.kinds.split(","):
        for resource in kinds.resolve(part, client):
            namespace = client.home.namespace if resource.namespaced else None
            chosen = args.names or _listed(client, resource, namespace, args.selector)
            found.extend((resource, namespace, name) for name in chosen)
    return found


def _listed(client: Client, resource: Resource, namespace: str | None, selector: str) -> list[str]:
    items = client.list(resource, namespace, labels=selector).get("items") or ()
    return [item["metadata"]["name"] for item in items]


def until_gone(client: Client, resource: Resource, namespace: str | None, name: str, deadline: float) -> None:
    """Wait until finalizers let go. Raises BadRequest where they never will, Timeout."""
    from hyperd.cli.waiting import Progress
    from hyperd.client.health import condition
    from hyperd.client.hopeless import cannot_go
    from hyperd.client.lookup import finder

    shown = Progress(f"{resource.singular}/{name}")
    message = before = ""
    find = finder(client)
    try:
        while (left := deadline - time.monotonic()) > 0:
            live = client.find(resource, namespace, name)
            if live is None:
                return
            entry = condition(live, "Terminating") or {}
            message = str(entry.get("message") or "")
            finalizers = ", ".join(live["metadata"].get("finalizers") or ())
            shown.show(f"going · {message or finalizers}")
            why = cannot_go({"kind": resource.kind, **live}, find)
            if why and why == before:
                raise BadRequest(f"{resource.kind} {name} cannot go by itself: {why.rstrip('.')}.")
            before = why
            version = live["metadata"]["resourceVersion"]
            try:
                for event in client.watch(
                    resource, namespace, name=name, resource_version=version, timeout=min(left, 3)
                ):
                    if event["type"] != "BOOKMARK":
                        break
            except (Expired, Timeout):
                continue
    finally:
        shown.done()
    raise Timeout(f"{resource.kind} {name} is still there: {message or 'its finalizers hold it'}.")
