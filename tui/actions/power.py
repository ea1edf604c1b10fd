"""Starting and stopping machines: an operation object each, as ``hv start`` and its like make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hyperd.client.health import condition
from hyperd.client.operations import OPERATION, VERBS, Verb
from tui.action import Action, Parameters, Target, action
from tui.bulk import Deed, Tell, carry_out
from tui.desk import Desk
from tui.kind import Kind
from tui.shelf import Key, Object


@dataclass(frozen=True)
class Force(Parameters):
    """``force`` does not wait for the guest to agree."""

    force: bool = False


def _machines(kind: Kind) -> bool:
    return kind.plural == "virtualmachines"


def _operate(_: str) -> str:
    return "create virtualmachineoperations"


def _begin(desk: Desk, verb: Verb, targets: Sequence[Target], *, force: bool) -> None:
    async def do(target: Target, tell: Tell) -> str:
        key = target.key
        manifest = verb.manifest(key.namespace, key.name, force=force)
        made = await desk.fleet.connected(key.home).create(OPERATION, key.namespace, manifest)
        metadata = made["metadata"]
        tell(f"{verb.kind} of {key.name} asked for")
        operation = Key(key.home, key.namespace, str(metadata["name"]), str(metadata.get("uid") or ""))
        return await desk.operation_end(operation)

    carry_out(
        desk,
        Deed(
            verb.word, verb.forced if force else verb.asks, do,
            refuses=lambda target: verb.refusal(target.obj),
            foretell=lambda target: _foretell(verb, target.obj, force=force),
        ),
        targets,
    )  # fmt: skip


def _foretell(verb: Verb, machine: Object, *, force: bool) -> str:
    """What makes this machine's end different from another's."""
    if force or verb.word == "start":
        return ""
    agent = (condition(machine, "AgentReady") or {}).get("status") == "True"
    return "its agent answers" if agent else "no agent: its power button is pressed"


def _start(desk: Desk, targets: Sequence[Target], given: Parameters) -> None:
    _begin(desk, VERBS["start"], targets, force=False)


def _asking(word: str, key: str, help_: str, *, footer: bool = False) -> Action:
    def run(desk: Desk, targets: Sequence[Target], given: Force) -> None:
        _begin(desk, VERBS[word], targets, force=given.force)

    return action(
        word, key, word, help_, "Machine", run, Force, words=word, applies=_machines,
        refuses=lambda target: VERBS[word].refusal(target.obj), needs=_operate, footer=footer, many=True,
    )  # fmt: skip


ACTIONS = (
    action(
        "start", "s", "start", "start it", "Machine", _start, Parameters, words="start", applies=_machines,
        refuses=lambda target: VERBS["start"].refusal(target.obj), needs=_operate, footer=True, many=True,
    ),
    _asking("stop", "x", "ask the guest to shut down", footer=True),
    _asking("restart", "r", "restart it, apply what waits"),
)  # fmt: skip
