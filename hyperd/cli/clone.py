"""``hv clone``: another machine of one that is there, with disks of its own."""

from __future__ import annotations

import argparse

from hyperd.cli import operating
from hyperd.cli.options import client_of, target
from hyperd.client import snapshots

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

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


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("machine", help="the machine to copy")
    parser.add_argument("name", help="what the new one is called")
    operating.of_operation(parser)


def run(args: argparse.Namespace) -> int:
    """Clone it; exit code 1 where it failed."""
    client = client_of(args)
    namespace, name = target(args.machine, args, client.home)
    machine = client.get(snapshots.resource(snapshots.MACHINE), namespace, name)
    operating.must_be_free(client, snapshots.MACHINE, namespace, args.name)
    attachments = client.list(snapshots.resource("VirtualMachineBlockDeviceAttachment"), namespace)["items"]
    renames = snapshots.renames(snapshots.parts_of_machine(machine, attachments), name, args.name)
    op = operating.ask(client, snapshots.clone(namespace, name, operating.mode(args), renames))
    return operating.finish(client, op, args, args.name)
