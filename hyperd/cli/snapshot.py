"""``hv snapshot``: machines and disks at one moment, to go back to or to make others of."""

from __future__ import annotations

import argparse
import sys
import time

from hyperd.cli import operating
from hyperd.cli.options import client_of, target
from hyperd.cli.printing import TablePrinter, document, emit, object_name
from hyperd.cli.waiting import follow, settled
from hyperd.client import ages, kinds, sanitize, snapshots
from hyperd.client.health import Level, health
from hyperd.errors import BadRequest, Conflict, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hyperd.client.resource import Resource
    from hyperd.client.sync import Client
    from hyperd.resources.schema.kind import Object

EXAMPLES = """\
  hv snapshot create vm/web before-upgrade -w    the machine with all its disks, and wait until it is taken
  hv snapshot create vd/data                     one disk, under a name made of the time
  hv snapshot list vm/web                        without a machine or disk: all of the namespace
  hv snapshot restore before-upgrade             shows what would become of each object, asks, and puts it back
  hv snapshot restore before-upgrade --dry-run
  hv snapshot clone before-upgrade --as test     another machine, also when the first one is gone
  hv snapshot clone vds/data-1 --as data-2       another disk
  hv snapshot delete before-upgrade

A guest that runs is held for the moment by its guest agent (qemu-guest-agent); without one, --no-consistency
takes the snapshot all the same, as after a power cut.

The same with kubectl, or with curl as in `hv image --help`; it is taken when status.phase is Ready:
  kubectl create -f - <<'END'
  apiVersion: virtualization.deckhouse.io/v1alpha2
  kind: VirtualMachineSnapshot
  metadata: {name: before-upgrade}
  spec: {virtualMachineName: web, requiredConsistency: true, keepIPAddress: Always}
  END
and back to it:
  kubectl create -f - <<'END'
  apiVersion: virtualization.deckhouse.io/v1alpha2
  kind: VirtualMachineOperation
  metadata: {generateName: web-}
  spec:
    type: Restore
    virtualMachineName: web
    restore: {mode: Strict, virtualMachineSnapshotName: before-upgrade}
  END
"""
_ACTIONS = ("create", "list", "restore", "clone", "delete")
_KINDS = tuple(snapshots.SNAPSHOTS.values())


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("action", choices=_ACTIONS, help="what to do")
    parser.add_argument(
        "names", nargs="*", metavar="NAME",
        help="vm/NAME or vd/NAME of what to take, then a name for it; or the snapshot: NAME, vms/NAME or vds/NAME",
    )  # fmt: skip
    taking = parser.add_argument_group("create")
    taking.add_argument(
        "--keep-ip", choices=("always", "never"), default="", help="have the address back (always)"
    )
    sure = taking.add_mutually_exclusive_group()
    sure.add_argument("--consistent", dest="consistent", action="store_true", default=None,
                      help="fail where the guest cannot be held (default)")  # fmt: skip
    sure.add_argument("--no-consistency", dest="consistent", action="store_false",
                      help="take it all the same")  # fmt: skip
    taking.add_argument("-w", "--wait", action="store_true", help="wait until it is taken")
    parser.add_argument("--as", dest="new", default="", metavar="NAME", help="clone: what the new one is called")
    parser.add_argument("-y", "--yes", action="store_true", help="restore: do not ask, and try nothing before")
    parser.add_argument(
        "--all", action="store_true", help="list: also disks' snapshots that machines' are made of"
    )
    operating.of_operation(parser)


def run(args: argparse.Namespace) -> int:
    """Do it; exit code 1 where it failed."""
    if args.mode in ("strict", "best-effort") and args.action not in ("restore", "clone"):
        raise BadRequest(f"--mode {args.mode} is of what has several objects to do: restore and clone.")
    do = {"create": _create, "list": _list, "restore": _restore, "clone": _clone, "delete": _delete}
    return do[args.action](client_of(args), args)


def _create(client: Client, args: argparse.Namespace) -> int:
    if not 1 <= len(args.names) <= 2:
        raise BadRequest("Say what to take, and a name if you like: hv snapshot create vm/web before-upgrade.")
    kind, namespace, of = _source(client, args, args.names[0])
    if args.keep_ip and kind != snapshots.MACHINE:
        raise BadRequest("--keep-ip is of machines: a disk has no address.")
    client.get(
        snapshots.resource(kind), namespace, of
    )  # nobody should find a Failed snapshot of what is not there
    name = args.names[1] if len(args.names) > 1 else snapshots.timed(of)
    manifest = snapshots.take(
        kind, namespace, of, name, consistent=args.consistent, keep_ip=args.keep_ip.capitalize()
    )
    return _make(client, args, manifest, waits=args.wait, until=frozenset(("Ready",)), told=_how_sure)


def _how_sure(snapshot: Object) -> str:
    held = (snapshot.get("status") or {}).get("consistent")
    return "" if held else ", as after a power cut: the guest was not held"


def _make(
    client: Client,
    args: argparse.Namespace,
    manifest: Object,
    *,
    waits: bool,
    until: frozenset[str],
    told: Callable[[Object], str] = lambda _: "",
) -> int:
    """Create it, and wait for it; exit code 1 where it failed. ``told`` says more of one that is well."""
    resource, namespace, name = (
        snapshots.resource(manifest["kind"]),
        manifest["metadata"]["namespace"],
        manifest["metadata"]["name"],
    )
    dry, word = operating.mode(args) == snapshots.DRY_RUN, object_name(resource, name)
    made = client.create(resource, namespace, manifest, dry_run=dry)
    if dry or not waits:
        return _told(args, made, f"{word} created" + (" (dry run)" if dry else ""))
    made = follow(client, resource, namespace, name, until=until, timeout=args.timeout)
    state = health(made)
    if state.level is Level.BAD:
        print(f"hv: {word} {state.word}: {sanitize.text(state.reason)}", file=sys.stderr)
        return 1
    return _told(args, made, f"{word} {state.word}{told(made)}")


def _told(args: argparse.Namespace, made: Object, text: str) -> int:
    if args.output:
        sys.stdout.write(document(made, args.output))
    else:
        emit([sanitize.line(text)])
    return 0


def _source(client: Client, args: argparse.Namespace, word: str) -> tuple[str, str, str]:
    """(kind, namespace, name) of a machine or disk; a name alone is a machine's. Raises BadRequest."""
    kind, slash, name = word.rpartition("/")
    resource = kinds.resolve(kind, client)[0] if slash else snapshots.resource(snapshots.MACHINE)
    if resource.kind not in snapshots.SNAPSHOTS or not name:
        raise BadRequest(f"{word}: write vm/NAME or vd/NAME.")
    return (resource.kind, *target(name, args, client.home))


def _list(client: Client, args: argparse.Namespace) -> int:
    if len(args.names) > 1:
        raise BadRequest("Say one machine or disk, or none: hv snapshot list vm/web.")
    wanted = _source(client, args, args.names[0]) if args.names else None
    namespace = wanted[1] if wanted else client.home.namespace
    if wanted:
        client.get(snapshots.resource(wanted[0]), namespace, wanted[2])
    found = []
    for kind in _KINDS if wanted is None else [snapshots.SNAPSHOTS[wanted[0]]]:
        for item in client.list(snapshots.resource(kind), namespace)["items"]:
            item = {"apiVersion": snapshots.resource(kind).api_version, "kind": kind, **item}
            parts = wanted is not None or args.all or not snapshots.owned(item)
            if parts and (wanted is None or snapshots.source(item) == (wanted[0], wanted[2])):
                found.append(item)
    found.sort(key=lambda item: str(item["metadata"].get("creationTimestamp")))
    if args.output:
        sys.stdout.write(document({"apiVersion": "v1", "kind": "List", "items": found}, args.output))
    elif not found:
        print("There are no snapshots here.", file=sys.stderr)
    else:
        titles = [{"name": name} for name in ("Name", "Of", "Phase", "Consistent", "Age")]
        table = {"columnDefinitions": titles, "rows": [{"cells": _row(item)} for item in found]}
        emit(TablePrinter(wide=True, namespaces=False, colour=False).format(table))
    return 0


def _row(item: Object) -> list[object]:
    kind, name = snapshots.source(item)
    sure = (item.get("status") or {}).get("consistent")
    of = f"{snapshots.resource(kind).short}/{name}"
    own = f"{snapshots.resource(item['kind']).short}/{item['metadata']['name']}"
    return [own, of, health(item).word, sure, ages.age(str(item["metadata"].get("creationTimestamp") or ""))]


def _restore(client: Client, args: argparse.Namespace) -> int:
    mode = operating.mode(args)
    snapshot = _one(client, args)
    metadata = snapshot["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    kind, of = snapshots.source(snapshot)
    if kind != snapshots.MACHINE:
        raise BadRequest(
            f"{name} is of the disk {of}, and only machines are put back in place; "
            f"`hv snapshot clone vds/{name} --as NEW` makes another disk of it."
        )
    machine = client.find(snapshots.resource(kind), namespace, of)
    if machine is None:
        raise NotFound(f"VirtualMachine {of} is gone; `hv snapshot clone {name} --as {of}` makes it again.")
    if mode != snapshots.DRY_RUN and not args.yes:
        answer = _agreed(client, args, machine, snapshot, mode)
        if answer is not True:
            return int(answer is not False)
    op = operating.ask(client, snapshots.restore(namespace, of, name, mode))
    if args.no_wait:
        emit([sanitize.line(f"{op['kind'].lower()}/{op['metadata']['name']} created")])
        return 0
    only_told = mode == snapshots.DRY_RUN
    done = "Nothing was done; this is what a restore would put back." if only_told else ""
    return operating.tell(
        operating.ended(client, op, args), args, done or f"virtualmachine/{of} is as it was in {name}"
    )


def _agreed(client: Client, args: argparse.Namespace, machine: Object, snapshot: Object, mode: str) -> bool | None:
    """Show what would happen, and ask. Raises Conflict where a restore would fail; None where nobody answers."""
    from hyperd.cli.asking import confirmed

    namespace, of, name = (
        snapshot["metadata"]["namespace"],
        machine["metadata"]["name"],
        snapshot["metadata"]["name"],
    )
    tried = operating.ask(client, snapshots.restore(namespace, of, name, snapshots.DRY_RUN))
    tried = operating.ended(client, tried, args)
    operating.table(tried)
    # What takes what it can may do so where a trial finds something wrong.
    if not operating.well(tried) and mode == snapshots.STRICT:
        raise Conflict(f"Nothing was done. {operating.failure(tried)}")
    since = ages.age(str(snapshot["metadata"].get("creationTimestamp") or ""))
    print(sanitize.text(snapshots.lost(machine, snapshot, since=since)), file=sys.stderr)
    return confirmed(f'Restore VirtualMachine "{namespace}/{of}" to {name}?')


def _clone(client: Client, args: argparse.Namespace) -> int:
    if not args.new:
        raise BadRequest("Say what the new one is called: --as NAME.")
    snapshot = _one(client, args)
    namespace, name = snapshot["metadata"]["namespace"], snapshot["metadata"]["name"]
    kind, of = snapshots.source(snapshot)
    operating.must_be_free(client, kind, namespace, args.new)
    if kind == snapshots.MACHINE:
        renames = snapshots.renames(snapshots.parts_of_snapshot(snapshot), of, args.new)
        op = operating.ask(client, snapshots.copy(namespace, name, operating.mode(args), renames))
        return operating.finish(client, op, args, args.new)
    manifest = snapshots.disk_of(namespace, name, args.new)
    return _make(client, args, manifest, waits=not args.no_wait, until=settled(kind))


def _delete(client: Client, args: argparse.Namespace) -> int:
    from hyperd.cli import delete

    if not args.names:
        raise BadRequest("Say which snapshot; `hv snapshot list` shows them.")
    found = [_named(client, word) for word in args.names]
    deadline, dry = time.monotonic() + args.timeout, operating.mode(args) == snapshots.DRY_RUN
    for resource, snapshot in found:
        name = snapshot["metadata"]["name"]
        client.delete(resource, client.home.namespace, name, dry_run=dry)
        emit([f"{object_name(resource, name)} deleted" + (" (dry run)" if dry else "")])
    if not (args.no_wait or dry):
        for resource, snapshot in found:
            delete.until_gone(client, resource, client.home.namespace, snapshot["metadata"]["name"], deadline)
    return 0


def _one(client: Client, args: argparse.Namespace) -> Object:
    """The one snapshot that is named, which something can be made of. Raises BadRequest, Conflict, NotFound."""
    if len(args.names) != 1:
        raise BadRequest("Say one snapshot; `hv snapshot list` shows them.")
    _, snapshot = _named(client, args.names[0])
    if why := snapshots.refusal(snapshot):
        raise Conflict(f"{snapshot['kind']} {snapshot['metadata']['name']} {why.rstrip('.')}.")
    return snapshot


def _named(client: Client, word: str) -> tuple[Resource, Object]:
    """A snapshot of the namespace: ``vms/NAME``, ``vds/NAME`` or, of either kind, ``NAME``. Raises BadRequest."""
    kind, slash, name = word.rpartition("/")
    among = [kinds.resolve(kind, client)[0]] if slash else [snapshots.resource(each) for each in _KINDS]
    if among[0].kind not in _KINDS or not name:
        raise BadRequest(f"{word}: write NAME, vms/NAME or vds/NAME.")
    found = []
    for resource in among:
        if (obj := client.find(resource, client.home.namespace, name)) is not None:
            found.append((resource, {"kind": resource.kind, **obj}))
    if len(found) > 1:
        raise BadRequest(f"{name} is a snapshot of a machine and one of a disk: write vms/{name} or vds/{name}.")
    if not found:
        raise NotFound(f"There is no snapshot {name} in {client.home.namespace}; `hv snapshot list` shows them.")
    return found[0]


def completions(client: Client, words: list[str], current: str) -> list[str]:
    """What may come after ``words``, the first of which is the action."""
    from hyperd.cli.completion import names_of

    if words[0] == "create" and len(words) > 1:
        return []
    if words[0] in ("create", "list"):
        return [f"{short}/{name}" for short in ("vm", "vd") for name in names_of(client, short)]
    if "/" in current:
        return [f"{short}/{name}" for short in ("vms", "vds") for name in names_of(client, short)]
    return names_of(client, "vms") + names_of(client, "vds")
