"""``hv apply``: create what is not there, change what differs, say which."""

from __future__ import annotations

import argparse
from typing import Any

from hyperd.cli import threeway
from hyperd.cli.manifests import read
from hyperd.cli.options import client_of, seconds
from hyperd.cli.printing import document, emit, object_name
from hyperd.client import kinds
from hyperd.client.health import Level, health
from hyperd.client.resource import Resource
from hyperd.client.sync import Client
from hyperd.errors import AlreadyExists, BadRequest

EXAMPLES = """\
  hv apply -f machine.yaml            create or change
  hv apply -f machines/ --dry-run     what would happen; the server checks, nothing is written
  hv apply -f machine.yaml --wait     and wait until it runs, with progress
  some-generator | hv apply -f -      from a pipe
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("-f", "--filename", action="append", required=True, help="file, folder or - for stdin")
    parser.add_argument("--dry-run", action="store_true", help="let the server check, write nothing")
    parser.add_argument("-w", "--wait", action="store_true", help="wait until everything is ready, with progress")
    parser.add_argument("-t", "--timeout", type=seconds, default=1800.0, help="longest wait (default 30m)")
    parser.add_argument("-o", "--output", choices=("yaml", "json", "name"), default="", help="print the objects")


def run(args: argparse.Namespace) -> int:
    """Apply every object in order; a refused one ends the command."""
    client = client_of(args)
    applied = []
    for manifest in read(args.filename):
        resource = kinds.of_object(manifest, client)
        namespace = _namespace(manifest, resource, args, client)
        obj, what = _apply(client, resource, namespace, manifest, dry_run=args.dry_run)
        applied.append((resource, namespace, obj))
        name = object_name(resource, obj["metadata"]["name"])
        if args.output in ("yaml", "json"):
            emit([*(["---"] if args.output == "yaml" else []), document(obj, args.output).rstrip("\n")])
        elif args.output == "name":
            emit([name])
        else:
            emit([f"{name} {what}" + (" (dry run)" if args.dry_run else "")])
    if args.wait and not args.dry_run:
        return _wait(client, applied, args.timeout)
    return 0


def _namespace(
    manifest: dict[str, Any], resource: Resource, args: argparse.Namespace, client: Client
) -> str | None:
    if not resource.namespaced:
        return None
    written = manifest["metadata"].get("namespace")
    if written and args.namespace and written != args.namespace:
        name = manifest["metadata"].get("name", "")
        raise BadRequest(f'{resource.kind} {name} says namespace "{written}", but -n says "{args.namespace}".')
    return str(written or client.home.namespace)


def _apply(
    client: Client, resource: Resource, namespace: str | None, manifest: dict[str, Any], *, dry_run: bool
) -> tuple[dict[str, Any], str]:
    if namespace:
        manifest["metadata"]["namespace"] = namespace
    if "name" not in manifest["metadata"]:
        return client.create(resource, namespace, manifest, dry_run=dry_run), "created"
    wanted = threeway.annotated(manifest)
    name = manifest["metadata"]["name"]
    live = client.find(resource, namespace, name)
    if live is None:
        try:
            return client.create(resource, namespace, wanted, dry_run=dry_run), "created"
        except AlreadyExists:
            live = client.get(resource, namespace, name)
    patch = threeway.merge_patch(threeway.last_applied(live), wanted, live)
    if not patch:
        return live, "unchanged"
    return client.patch(resource, namespace, name, patch, dry_run=dry_run), "configured"


def _wait(client: Client, applied: list[tuple[Resource, str | None, dict[str, Any]]], timeout: float) -> int:
    from hyperd.cli.waiting import follow, settled

    failed = 0
    for resource, namespace, obj in applied:
        until = settled(resource.kind)
        if not until:
            continue
        if resource.kind == "VirtualMachine" and obj["spec"].get("runPolicy") not in ("AlwaysOff", "Manual"):
            until = frozenset(("Running",))
        name = obj["metadata"]["name"]
        state = health(follow(client, resource, namespace, name, until=until, timeout=timeout))
        emit([f"{object_name(resource, name)} {state.word}" + (f": {state.reason}" if state.reason else "")])
        failed += state.level is Level.BAD
    return 1 if failed else 0
