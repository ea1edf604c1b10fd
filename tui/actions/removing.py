"""Deleting objects, after a question."""

from __future__ import annotations

from collections.abc import Sequence

from tui.action import Parameters, Target, action
from tui.bulk import Deed, Tell, carry_out
from tui.desk import Desk


def _delete(desk: Desk, targets: Sequence[Target], given: Parameters) -> None:
    async def do(target: Target, tell: Tell) -> str:
        key = target.key
        resource = desk.fleet.resources[target.kind.plural]
        # By its uid: another object may have taken the name since the question was asked.
        await desk.fleet.connected(key.home).delete(resource, key.namespace or None, key.name, uid=key.uid)
        return f"{key.name} is being deleted"

    kind, of = targets[0].kind, str(targets[0].obj.get("kind", "object"))
    carry_out(desk, Deed("delete", kind.loss, do, foretell=lambda target: kind.uses(target.obj), of=of), targets)


ACTIONS = (
    action(
        "delete", "ctrl+d", "delete", "delete it, after a question", "Object", _delete, Parameters,
        words="delete", applies=lambda kind: kind.deletable, needs=lambda plural: f"delete {plural}", many=True,
    ),
)  # fmt: skip
