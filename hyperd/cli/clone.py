"""``hv clone``: another machine of one that is there, with disks of its own."""

from __future__ import annotations

import argparse

from hyperd.cli import operating
from hyperd.cli.options import client_of, seconds, target
from hyperd.cli.printing import emit
from hyperd.client import sanitize, snapshots
from hyperd.errors import BadRequest, Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.client.sync import Client
    from hyperd.resources.schema.kind import Object

EXAMPLES = """\
  hv clone web shop                 the machine "shop" of "web": web-root is copied as shop-root
  hv clone vm/web shop --dry-run    say what would become of each object
  hv clone web shop --no-wait

A guest that runs is held for the moment by its guest agent; without one stop the machine, or take a snapshot
with --no-consistency and make a machine of that: hv snapshot clone NAME --as shop

The same with kubectl alone; status.resources tells what became of each object:
  kubectl create -f - <<'END'
  apiVersion: virtualization.deckhouse.io/v1alpha2
  kind: VirtualMachineOperation
  metadata: {generateName: web-}
  spec:
    type: Clone
    virtualMachineName: web
    clone:
      mode: Strict
      nameReplacement:
        - {from: {kind: VirtualMachine, name: web}, to: shop}
        - {from: {kind: VirtualDisk, name: web-root}, to: shop-root}
  END
"""
MODES = {"dry-run": snapshots.DRY_RUN, "strict": snapshots.STRICT, "best-effort": snapshots.BEST_EFFORT}
"""The words of ``--mode``, and the API's."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("machine", help="the machine to copy")
    parser.add_argument("name", help="what the new one is called")
    of_operation(parser)


def of_operation(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of what is an operation with a result for each object."""
    parser.add_argument(
        "--mode", choices=tuple(MODES), default="",
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
    return snapshots.DRY_RUN if args.dry_run else MODES[args.mode or "strict"]


def run(args: argparse.Namespace) -> int:
    """Clone it; exit code 1 where it failed."""
    client = client_of(args)
    namespace, name = target(args.machine, args, client.home)
    machine = client.get(snapshots.resource(snapshots.MACHINE), namespace, name)
    must_be_free(client, snapshots.MACHINE, namespace, args.name)
    attachments = client.list(snapshots.resource("VirtualMachineBlockDeviceAttachment"), namespace)["items"]
    renames = snapshots.renames(snapshots.parts_of_machine(machine, attachments), name, args.name)
    op = operating.ask(client, snapshots.clone(namespace, name, mode(args), renames))
    return finish(client, op, args, args.name)


def must_be_free(client: Client, kind: str, namespace: str, name: str) -> None:
    """Raises Conflict: nobody should wait for an operation that cannot end well."""
    if client.find(snapshots.resource(kind), namespace, name) is not None:
        raise Conflict(f"{kind} {name} is there already; take another name.")


def finish(client: Client, op: Object, args: argparse.Namespace, name: str) -> int:
    """Wait for a copy, and say what became of it."""
    if args.no_wait:
        emit([sanitize.line(f"{op['kind'].lower()}/{op['metadata']['name']} created")])
        return 0
    only_told = mode(args) == snapshots.DRY_RUN
    done = "Nothing was done; this is what a copy would make." if only_told else f"virtualmachine/{name} is made"
    return operating.tell(operating.ended(client, op, args), args, done)
