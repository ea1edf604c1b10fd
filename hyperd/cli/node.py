"""``hv cordon``, ``uncordon`` and ``drain``: nodes that take no new machines, and those that running ones leave.

It is about machines alone; ``kubectl drain`` empties a node of all Pods, and has its machines leave as well.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from hyperd.cli.asking import confirmed
from hyperd.cli.options import client_of, seconds
from hyperd.cli.power import follow_to_end
from hyperd.cli.printing import emit
from hyperd.client import kinds, sanitize
from hyperd.client.operations import VERBS, running
from hyperd.client.sync import Client
from hyperd.errors import HyperdError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

EXAMPLES = {
    "cordon": "  hv cordon n2                what runs there goes on\n",
    "uncordon": "  hv uncordon n2\n",
    "drain": "  hv drain n2 -y              wait until its machines run elsewhere\n"
    "  hv drain n2 --timeout 1h    for large machines\n",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("nodes", nargs="+", metavar="NODE", help="name of a node")
    if parser.prog.endswith("drain"):
        parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
        longest = "longest wait for one machine (default 30m)"
        parser.add_argument("-t", "--timeout", type=seconds, default=1800.0, help=longest)


def run(args: argparse.Namespace) -> int:
    """Exit code 1 where a machine stays."""
    client = client_of(args)
    (nodes,) = kinds.resolve("node", client)
    for name in args.nodes:
        # None is changed where one is not there.
        client.get(nodes, None, name)
    leaves, code = args.command != "uncordon", 0
    for name in args.nodes:
        machines = list(_running_on(client, name)) if args.command == "drain" else []
        if machines and not args.yes and not _agreed(name, machines):
            code = 1
            continue
        patch = {"spec": {"unschedulable": True if leaves else None}}
        client.patch(nodes, None, name, patch)
        takes = "takes no new machines" if leaves else "takes new machines again"
        emit([f"Node {sanitize.line(name)} {takes}."])
        code = max(code, _evict(client, machines, args.timeout) if machines else 0)
    return code


def completions(client: Client, _: list[str], __: str) -> list[str]:
    """Names of nodes."""
    from hyperd.cli.completion import names_of

    return names_of(client, "node")


def _running_on(client: Client, node: str) -> Iterator[Object]:
    (machines,) = kinds.resolve("vm", client)
    for machine in client.list(machines)["items"]:
        if (machine.get("status") or {}).get("nodeName") == node and running(machine):
            yield machine


def _agreed(node: str, machines: list[Object]) -> bool:
    stay = [machine for machine in machines if VERBS["evict"].refusal(machine)]
    for machine in stay:
        print(f"{_title(machine)} stays: it {sanitize.text(VERBS['evict'].refusal(machine))}.", file=sys.stderr)
    leave = f"{len(machines) - len(stay)} of {len(machines)} machines leave"
    return confirmed(f"drain of node {sanitize.line(node)}: {leave}: sure?") is True


def _evict(client: Client, machines: list[Object], timeout: float) -> int:
    """Ask for all at once; the nodes see to how many go at a time."""
    (operations,) = kinds.resolve("vmop", client)
    created, code = [], 0
    for machine in machines:
        if why := VERBS["evict"].refusal(machine):
            print(f"hv: {_title(machine)} stays: it {sanitize.text(why)}.", file=sys.stderr)
            code = 1
            continue
        namespace, name = machine["metadata"]["namespace"], machine["metadata"]["name"]
        try:
            created.append(client.create(operations, namespace, VERBS["evict"].manifest(namespace, name)))
        except HyperdError as error:
            print(f"hv: {_title(machine)} stays: {sanitize.text(error.message)}", file=sys.stderr)
            code = 1
    return max((follow_to_end(client, operations, op, "evict", timeout) for op in created), default=0) or code


def _title(machine: Object) -> str:
    known = machine["metadata"]
    return 'VirtualMachine "{}"'.format(sanitize.line(f"{known['namespace']}/{known['name']}"))
