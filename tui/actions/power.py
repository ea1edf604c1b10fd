"""Starting and stopping machines: an operation object each, as ``hv start`` and its like make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hyperd.client.operations import OPERATION, VERBS, Verb
from tui.action import Action, Parameters, Target, action
from tui.desk import Desk
from tui.kind import Kind
from tui.shelf import Key


@dataclass(frozen=True)
class Force(Parameters):
    """``force`` does not wait for the guest to agree."""

    force: bool = False


def _machines(kind: Kind) -> bool:
    return kind.plural == "virtualmachines"


async def _create(desk: Desk, verb: Verb, key: Key, *, force: bool) -> None:
    manifest = verb.manifest(key.namespace, key.name, force=force)
    made = await desk.fleet.connected(key.home).create(OPERATION, key.namespace, manifest)
    metadata = made["metadata"]
    desk.await_operation(Key(key.home, key.namespace, str(metadata["name"]), str(metadata.get("uid") or "")))
    desk.say(f"{verb.kind} of {key.name} asked for")


def _begin(desk: Desk, verb: Verb, targets: Sequence[Target], *, force: bool) -> None:
    for target in targets:
        key = target.key

        def go(key: Key = key) -> None:
            # The one that was asked about: the list may have moved on meanwhile.
            desk.work(_create(desk, verb, key, force=force), "write")

        loss = verb.forced if force else verb.asks
        if loss:
            desk.ask(f"{verb.kind} {desk.named(key)}?", loss, go)
        else:
            go()


def _start(desk: Desk, targets: Sequence[Target], given: Parameters) -> None:
    _begin(desk, VERBS["start"], targets, force=False)


def _asking(word: str, key: str, help_: str, *, footer: bool = False) -> Action:
    def run(desk: Desk, targets: Sequence[Target], given: Force) -> None:
        _begin(desk, VERBS[word], targets, force=given.force)

    return action(
        word, key, word, help_, "Machine", run, Force, words=word, applies=_machines,
        refuses=lambda target: VERBS[word].refusal(target.obj), footer=footer,
    )  # fmt: skip


ACTIONS = (
    action(
        "start", "s", "start", "start it", "Machine", _start, Parameters, words="start", applies=_machines,
        refuses=lambda target: VERBS["start"].refusal(target.obj), footer=True,
    ),
    _asking("stop", "x", "ask the guest to shut down", footer=True),
    _asking("restart", "r", "restart it, apply what waits"),
)  # fmt: skip
