"""``hv apply``: create what is not there, change what differs, say which."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from hyperd.cli import threeway
from hyperd.cli.manifests import Manifest, collect, refused
from hyperd.cli.options import client_of, seconds
from hyperd.cli.printing import document, emit, object_name
from hyperd.client import kinds, sanitize
from hyperd.client.health import Level, health
from hyperd.client.resource import Resource
from hyperd.client.sync import Client
from hyperd.errors import (
    AlreadyExists,
    BadRequest,
    Forbidden,
    HyperdError,
    Invalid,
    NotFound,
    ServiceUnavailable,
    Timeout,
    Unauthorized,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from hyperd.resources.schema.kind import Object

_BRINGS_A_KIND = "CustomResourceDefinition"
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
    """Apply every object in order, unless the schema of one refuses it; one that is refused later ends it."""
    client = client_of(args)
    manifests, odd = collect(args.filename)
    if odd:
        from hyperd.cli import judging

        # What is required may be in the home already, which nobody asks where nothing will be done.
        raise refused([*odd, *(fault for one in manifests for fault in judging.faults_of(one, None, exists=True))])
    targets = _targets(manifests, args, client)
    # A kind that they bring must be there before its objects are.
    if not any(manifest.obj.get("kind") == _BRINGS_A_KIND for manifest in manifests):
        targets = iter(_judged(client, list(targets)))
    applied = []
    for target in targets:
        try:
            obj, what = _apply(client, target, dry_run=args.dry_run)
        except HyperdError as err:
            if len(manifests) == 1:
                _explain(client, [(target, err)])
            raise
        applied.append((target, obj))
        name = object_name(target.resource, obj["metadata"]["name"])
        if args.output in ("yaml", "json"):
            emit([*(["---"] if args.output == "yaml" else []), document(obj, args.output).rstrip("\n")])
        elif args.output == "name":
            emit([name])
        else:
            emit([f"{name} {what}" + (" (dry run)" if args.dry_run else "")])
    if args.wait and not args.dry_run:
        return _wait(client, applied, args)
    return 0


@dataclass(frozen=True)
class Target:
    """A manifest and what it is of."""

    manifest: Manifest
    resource: Resource
    namespace: str | None


def _targets(manifests: list[Manifest], args: argparse.Namespace, client: Client) -> Iterator[Target]:
    """Raises BadRequest, at the end, that tells of every kind that the server does not have."""
    faults = []
    for manifest in manifests:
        try:
            resource = kinds.of_object(manifest.obj, client)
        except (BadRequest, NotFound) as err:
            faults.append(manifest.fault("kind", err.message.rstrip(".")))
        else:
            yield Target(manifest, resource, _namespace(manifest.obj, resource, args, client))
    if faults:
        raise refused(faults)


def rehearsed(
    client: Client, manifests: list[Manifest], args: argparse.Namespace
) -> Iterator[tuple[Target, Object | None, Object]]:
    """Of each manifest what is there, and what the server would store. Raises HyperdError."""
    for target in list(_targets(manifests, args, client)):
        name = target.manifest.obj["metadata"].get("name")
        live = client.find(target.resource, target.namespace, name) if name else None
        wanted, _ = _apply(client, target, dry_run=True)
        yield target, live, wanted


def _judged(client: Client, targets: list[Target]) -> list[Target]:
    """``targets``, rehearsed if they are several. Raises BadRequest that tells every fault of their schemas."""
    refusals: list[tuple[Target, HyperdError]] = []
    # An earlier one must not be there because a later one was never looked at.
    for target in targets if len(targets) > 1 else ():
        try:
            _apply(client, target, dry_run=True)
        except (ServiceUnavailable, Timeout, Unauthorized):
            raise
        except HyperdError as err:
            refusals.append((target, err))
    _explain(client, refusals)
    return targets


def _explain(client: Client, refusals: list[tuple[Target, HyperdError]]) -> None:
    if not refusals:
        return
    from hyperd.cli.judging import faults_of  # every kind's schema: its import takes longer than most commands

    faults = []
    for target, err in refusals:
        if not isinstance(err, BadRequest | Invalid | NotFound):
            continue
        name = target.manifest.obj["metadata"].get("name")
        exists = bool(name) and _find(client, target, name) is not None
        faults += faults_of(target.manifest, err, exists=exists)
    if faults:
        raise refused(faults) from refusals[0][1]


def _find(client: Client, target: Target, name: str) -> Object | None:
    try:
        return client.find(target.resource, target.namespace, name)
    except Forbidden:
        return None


def _namespace(manifest: Object, resource: Resource, args: argparse.Namespace, client: Client) -> str | None:
    if not resource.namespaced:
        return None
    written = manifest["metadata"].get("namespace")
    if written and args.namespace and written != args.namespace:
        name = manifest["metadata"].get("name", "")
        raise BadRequest(f'{resource.kind} {name} says namespace "{written}", but -n says "{args.namespace}".')
    return str(written or client.home.namespace)


def _apply(client: Client, target: Target, *, dry_run: bool) -> tuple[Object, str]:
    manifest, resource, namespace = target.manifest.obj, target.resource, target.namespace
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


def _wait(client: Client, applied: list[tuple[Target, Object]], args: argparse.Namespace) -> int:
    from hyperd.cli.waiting import follow, settled

    failed = 0
    for target, obj in applied:
        resource, namespace = target.resource, target.namespace
        until = settled(resource.kind)
        if not until:
            continue
        if resource.kind == "VirtualMachine" and obj["spec"].get("runPolicy") not in ("AlwaysOff", "Manual"):
            until = frozenset(("Running",))
        name = obj["metadata"]["name"]
        state = health(follow(client, resource, namespace, name, until=until, timeout=args.timeout))
        told = f"{object_name(resource, name)} {state.word}" + (f": {state.reason}" if state.reason else "")
        # Beside objects on stdout it would be part of them.
        print(sanitize.line(told), file=sys.stderr if args.output else sys.stdout, flush=True)
        failed += state.level is Level.BAD
    return 1 if failed else 0
