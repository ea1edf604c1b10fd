"""Where machines run: nodes that take no new ones, and machines that move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hyperd.client.operations import OPERATION, VERBS, Verb, running
from hyperd.client.shapes import mapping
from hyperd.errors import BadRequest, Conflict, HyperdError
from tui.action import Action, Parameters, Target, action
from tui.bulk import Deed, Tell, carry_out
from tui.desk import Desk
from tui.kind import Kind
from tui.shelf import Key


@dataclass(frozen=True)
class Where(Parameters):
    """``node`` is the one to go to; ``force`` lets the guest be slowed down."""

    node: str = ""
    force: bool = False


def _cordon(desk: Desk, targets: Sequence[Target], *, on: bool) -> None:
    async def do(target: Target, tell: Tell) -> str:
        nodes = desk.fleet.resources["nodes"]
        patch = {"spec": {"unschedulable": True if on else None}}
        await desk.fleet.connected(target.key.home).patch(nodes, None, target.key.name, patch)
        return f"{target.key.name} takes {'no ' if on else ''}new machines{'' if on else ' again'}"

    title = "cordon" if on else "uncordon"
    carry_out(desk, Deed(title, "", do, refuses=_cordoned if on else _uncordoned, foretell=_runs), targets)


def _unschedulable(target: Target) -> bool:
    return bool(mapping(target.obj.get("spec")).get("unschedulable"))


def _cordoned(target: Target) -> str:
    return "is cordoned already" if _unschedulable(target) else ""


def _uncordoned(target: Target) -> str:
    return "" if _unschedulable(target) else "is not cordoned"


def _runs(_: Target) -> str:
    return "what runs there goes on"


async def _move(desk: Desk, verb: Verb, key: Key, tell: Tell, *, node: str = "", force: bool | None = None) -> str:
    """Ask for it, and wait for its end. Raises HyperdError."""
    manifest = verb.manifest(key.namespace, key.name, force=force, node=node)
    made = await desk.fleet.connected(key.home).create(OPERATION, key.namespace, manifest)
    metadata = made["metadata"]
    tell(f"{verb.kind} of {key.name} asked for")
    operation = Key(key.home, key.namespace, str(metadata["name"]), str(metadata.get("uid") or ""))
    return await desk.operation_end(operation)


def _moving(word: str, key: str, help_: str) -> Action:
    verb = VERBS[word]

    def run(desk: Desk, targets: Sequence[Target], given: Where) -> None:
        async def do(target: Target, tell: Tell) -> str:
            return await _move(desk, verb, target.key, tell, node=given.node, force=given.force or None)

        def refuses(target: Target) -> str:
            there = mapping(target.obj.get("status")).get("nodeName")
            return (
                f"is on node {there} already" if given.node and there == given.node else verb.refusal(target.obj)
            )

        if len(targets) == 1 and (why := refuses(targets[0])):
            raise BadRequest(f"{targets[0].key.name} {why}")
        carry_out(desk, Deed(word, verb.asks, do, refuses=refuses, foretell=_goes), targets)

    return action(
        word, key, word, help_, "Machine", run, Where, words=word, applies=_machines,
        refuses=lambda target: verb.refusal(target.obj), needs=_operate, many=True,
    )  # fmt: skip


def _goes(target: Target) -> str:
    return f"leaves node {mapping(target.obj.get('status')).get('nodeName') or '?'}"


def _drain(desk: Desk, targets: Sequence[Target], _: Parameters) -> None:
    """Cordon each, and have the machines leave that run there."""
    asks = "No new machines start there, and those that can be moved leave, one after another."

    async def do(target: Target, tell: Tell) -> str:
        home, node = target.key.home, target.key.name
        client = desk.fleet.connected(home)
        await client.patch(desk.fleet.resources["nodes"], None, node, {"spec": {"unschedulable": True}})
        left, stay = 0, []
        machines, _, _ = await client.list(desk.fleet.resources["virtualmachines"])
        for machine in machines:
            meta, status = machine["metadata"], mapping(machine.get("status"))
            if status.get("nodeName") != node or not running(machine):
                continue
            if why := VERBS["evict"].refusal(machine):
                stay.append(f"{meta['namespace']}/{meta['name']} {why}")
                continue
            key = Key(home, str(meta["namespace"]), str(meta["name"]), str(meta["uid"]))
            try:
                tell(await _move(desk, VERBS["evict"], key, tell))
            except HyperdError as error:
                stay.append(f"{key.namespace}/{key.name} stays: {error.message}")
                continue
            left += 1
        if stay:
            more = f", and {len(stay) - 1} more stay" if len(stay) > 1 else ""
            raise Conflict(f"{node}: {left} left it; {stay[0]}{more}")
        return f"{node} takes no new machines, {left} left it"

    carry_out(desk, Deed("drain", asks, do, of="node"), targets)


def _machines(kind: Kind) -> bool:
    return kind.plural == "virtualmachines"


def _nodes(kind: Kind) -> bool:
    return kind.plural == "nodes"


def _operate(_: str) -> str:
    return "create virtualmachineoperations"


ACTIONS = (
    _moving("migrate", "m", "move it to another node while it runs"),
    _moving("evict", "", "have it leave its node, as a drain does"),
    action(
        "cordon", "", "cordon", "have it take no new machines", "Nodes",
        lambda desk, targets, _: _cordon(desk, targets, on=True), Parameters,
        words="cordon", applies=_nodes, refuses=_cordoned, needs=lambda _: "patch nodes", many=True,
    ),
    action(
        "uncordon", "", "uncordon", "have it take new machines again", "Nodes",
        lambda desk, targets, _: _cordon(desk, targets, on=False), Parameters,
        words="uncordon", applies=_nodes, refuses=_uncordoned, needs=lambda _: "patch nodes", many=True,
    ),
    action(
        "drain", "", "drain", "cordon it, and have its machines leave", "Nodes", _drain, Parameters,
        words="drain", applies=_nodes, needs=lambda _: "patch nodes", many=True,
    ),
)  # fmt: skip
