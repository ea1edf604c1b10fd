"""``hv start``, ``stop``, ``restart``, ``migrate``, ``evict``: an operation each, and what becomes of it."""

from __future__ import annotations

import argparse
import sys

from hyperd.cli.asking import confirmed
from hyperd.cli.options import client_of, seconds, target
from hyperd.cli.printing import emit
from hyperd.client import kinds, sanitize
from hyperd.client.operations import MOVING, VERBS
from hyperd.client.resource import Resource
from hyperd.client.sync import Client
from hyperd.errors import BadRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

EXAMPLES = {
    "start": "  hv start web-7\n  hv start web-7 web-8 -w     wait until both run\n  hv start --all -n lab\n",
    "stop": "  hv stop web-7 -w            ask the guest to shut down, wait until it has\n"
    "  hv stop web-7 --force -y    pull the plug, ask nothing\n  hv stop -l app=test -y\n",
    "restart": "  hv restart web-7            also applies changes that wait for a restart\n"
    "  hv restart web-7.shop -w    a machine of another namespace\n",
    "migrate": "  hv migrate web-7 -w         to whichever other node has room\n"
    "  hv migrate web-7 --target-node-name n2\n"
    "  hv migrate web-7 --no-force slow it down in no case\n",
    "evict": "  hv evict web-7 -w           have it leave its node, as a drain does\n",
}
_STARTED = frozenset(("InProgress", "Completed", "Failed", "Superseded"))


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("machines", nargs="*", help="name, or name.namespace")
    parser.add_argument("--all", action="store_true", help="all machines of the namespace")
    parser.add_argument("-l", "--label-selector", default="", metavar="LABELS", help="all with these labels")
    parser.add_argument("-f", "--force", action="store_true", default=None, help=_force(parser.prog))
    if parser.prog.endswith(MOVING):
        unforced = "do not slow the guest down, whatever its liveMigrationPolicy prefers"
        parser.add_argument("--no-force", dest="force", action="store_false", default=None, help=unforced)
    if parser.prog.endswith("migrate"):
        parser.add_argument("--target-node-name", default="", metavar="NODE", help="the node that it is to go to")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.add_argument("-w", "--wait", action="store_true", help="wait until it is done")
    parser.add_argument("-c", "--create-only", action="store_true", help="create the operation, watch nothing")
    parser.add_argument("-t", "--timeout", type=seconds, default=300.0, help="longest wait (default 5m)")


def run(args: argparse.Namespace) -> int:
    """Operate on each machine; exit code 1 when one operation failed."""
    if args.force and args.command == "start":
        raise BadRequest("A start cannot be forced.")
    client = client_of(args)
    (operations,) = kinds.resolve("vmop", client)
    machines = _machines(args, client)
    (known,) = kinds.resolve("vm", client)
    for namespace, name in machines:
        # Nobody should agree to stop what is not there, and no operation should be left behind for it.
        machine = client.get(known, namespace, name)
        if args.command == "migrate" and args.target_node_name:
            _check_target(client, machine, args.target_node_name)
    sure = args.yes or args.command == "start"
    answers = [sure or _confirmed(args, namespace, name) for namespace, name in machines]
    asked = [machine for machine, yes in zip(machines, answers, strict=True) if yes]
    unanswered = None in answers
    created = [_create(client, operations, namespace, name, args) for namespace, name in asked]
    if args.create_only or (len(created) > 1 and not args.wait):
        for op in created:
            emit([f'VirtualMachine "{_of(op)}" {VERBS[args.command].doing}: {_name(op)} created.'])
        return int(unanswered)
    return max((_follow(client, operations, op, args) for op in created), default=0) or int(unanswered)


def _force(command: str) -> str:
    if command.endswith(MOVING):
        return "let the guest be slowed down until its memory can be carried over"
    return "do not wait for the guest to agree"


def _check_target(client: Client, machine: Object, node: str) -> None:
    """Raises NotFound and BadRequest."""
    (nodes,) = kinds.resolve("node", client)
    client.get(nodes, None, node)
    if (machine.get("status") or {}).get("nodeName") == node:
        name = sanitize.line(machine["metadata"]["name"])
        raise BadRequest(f'VirtualMachine "{name}" is on node {sanitize.line(node)} already.')


def _machines(args: argparse.Namespace, client: Client) -> list[tuple[str, str]]:
    if bool(args.machines) == bool(args.all or args.label_selector):
        raise BadRequest("Name the machines, or choose them with -l or --all.")
    if args.machines:
        return [target(word, args, client.home) for word in args.machines]
    (machines,) = kinds.resolve("vm", client)
    listed = client.list(machines, client.home.namespace, labels=args.label_selector)
    return [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in listed["items"]]


def _confirmed(args: argparse.Namespace, namespace: str, name: str) -> bool | None:
    """As ``confirmed`` answers."""
    how = "FORCED " if args.force else ""
    return confirmed(f'{how}{args.command} of VirtualMachine "{sanitize.line(f"{namespace}/{name}")}": sure?')


def _create(client: Client, operations: Resource, namespace: str, name: str, args: argparse.Namespace) -> Object:
    node = args.target_node_name if args.command == "migrate" else ""
    manifest = VERBS[args.command].manifest(namespace, name, force=args.force, node=node)
    return client.create(operations, namespace, manifest)


def _follow(client: Client, operations: Resource, op: Object, args: argparse.Namespace) -> int:
    if args.wait:
        return follow_to_end(client, operations, op, args.command, args.timeout)
    return _told(client, operations, op, args.command, _STARTED, args.timeout)


def follow_to_end(client: Client, operations: Resource, op: Object, command: str, timeout: float) -> int:
    """Print what becomes of ``op``; 1 where it failed. Raises Timeout."""
    from hyperd.cli.waiting import settled

    return _told(client, operations, op, command, settled(operations.kind), timeout)


def _told(
    client: Client, operations: Resource, op: Object, command: str, until: frozenset[str], timeout: float
) -> int:
    from hyperd.cli.waiting import follow, verdict

    metadata = op["metadata"]
    ended = follow(client, operations, metadata["namespace"], metadata["name"], until=until, timeout=timeout)
    phase = ended["status"]["phase"]
    if phase in ("Failed", "Superseded"):
        print(
            f'hv: VirtualMachine "{_of(op)}": {_name(op)} {phase}. {sanitize.text(verdict(ended))}',
            file=sys.stderr,
        )
        return 1
    words = "completed" if phase == "Completed" else "in progress"
    emit([f'VirtualMachine "{_of(op)}" {VERBS[command].doing}. {_name(op)} {words}.'])
    return 0


def _of(op: Object) -> str:
    return sanitize.line(f"{op['metadata']['namespace']}/{op['spec']['virtualMachineName']}")


def _name(op: Object) -> str:
    return sanitize.line(f'VirtualMachineOperation "{op["metadata"]["namespace"]}/{op["metadata"]["name"]}"')
