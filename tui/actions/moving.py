"""Where machines run: nodes that take no new ones, and machines that would move."""

from __future__ import annotations

from collections.abc import Sequence

from hyperd.client.health import condition
from hyperd.client.operations import running
from hyperd.client.shapes import mapping
from tui.action import Parameters, Target, action
from tui.bulk import Deed, Tell, carry_out
from tui.desk import Desk
from tui.kind import Kind

_NOT_BUILT = "cannot move while it runs: that is not built yet. Stop it, and start it elsewhere"


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


def _held(target: Target) -> str:
    """Why a machine stays where it is, in its own words where it has some."""
    if not running(target.obj):
        return "is not running: it starts on whichever node has room"
    migratable = condition(target.obj, "Migratable") or {}
    message = str(migratable.get("message") or "") if migratable.get("status") == "False" else ""
    return f"cannot be moved: {message.rstrip('.')}" if message else _NOT_BUILT


def _undrained(target: Target) -> str:
    return "is not emptied by hyperd yet: cordon it, and stop the machines that run there"


def _machines(kind: Kind) -> bool:
    return kind.plural == "virtualmachines"


def _nodes(kind: Kind) -> bool:
    return kind.plural == "nodes"


def _nothing(desk: Desk, targets: Sequence[Target], given: Parameters) -> None:
    """What refuses everything is never begun."""


ACTIONS = (
    action(
        "migrate", "m", "migrate", "move it to another node while it runs", "Machine", _nothing, Parameters,
        words="migrate", applies=_machines, refuses=_held, changes=True,
    ),
    action(
        "evict", "", "evict", "have it leave its node", "Machine", _nothing, Parameters,
        words="evict", applies=_machines, refuses=_held, changes=True,
    ),
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
        "drain", "", "drain", "cordon it, and have its machines leave", "Nodes", _nothing, Parameters,
        words="drain", applies=_nodes, refuses=_undrained, changes=True,
    ),
)  # fmt: skip
