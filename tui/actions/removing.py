"""Deleting objects, after a question."""

from __future__ import annotations

from collections.abc import Sequence

from tui.action import Parameters, Target, action
from tui.desk import Desk


async def _send(desk: Desk, target: Target) -> None:
    key = target.key
    resource = desk.fleet.resources[target.kind.plural]
    # By its uid: another object may have taken the name since the question was asked.
    await desk.fleet.connected(key.home).delete(resource, key.namespace or None, key.name, uid=key.uid)
    desk.say(f"{key.name} is being deleted")


def _delete(desk: Desk, targets: Sequence[Target], given: Parameters) -> None:
    (target,) = targets
    word = str(target.obj.get("kind", "object"))

    def go() -> None:
        desk.work(_send(desk, target), "write")

    desk.ask(f"Delete {word} {desk.named(target.key)}?", target.kind.loss, go)


ACTIONS = (
    action(
        "delete", "ctrl+d", "delete", "delete it, after a question", "Object", _delete, Parameters,
        words="delete", applies=lambda kind: kind.deletable,
    ),
)  # fmt: skip
