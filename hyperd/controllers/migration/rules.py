"""How many guests may be on their way, and which may be slowed down for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hyperd.controllers.context import Context
from hyperd.controllers.machine import holding
from hyperd.controllers.pod.turns import FEWEST
from hyperd.resources.all import NODE, VIRTUAL_MACHINE
from hyperd.resources.kinds.virtual_machine import LiveMigrationPolicy

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_operation import VirtualMachineOperation

_SLOWS: Final = {
    (LiveMigrationPolicy.PREFER_SAFE, True),
    (LiveMigrationPolicy.PREFER_FORCED, None),
    (LiveMigrationPolicy.PREFER_FORCED, True),
    (LiveMigrationPolicy.ALWAYS_FORCED, None),
    (LiveMigrationPolicy.ALWAYS_FORCED, True),
}
"""Policy and ``force`` with which a guest may be slowed down."""
_INDEX: Final = "moving"
_MOVING: Final = "yes"


def slows(machine: VirtualMachine, op: VirtualMachineOperation) -> bool:
    """Whether the guest may be slowed down, so that it changes its memory no faster than that is sent."""
    policy = machine["spec"].get("liveMigrationPolicy", LiveMigrationPolicy.PREFER_SAFE)
    return (policy, op["spec"].get("force")) in _SLOWS


class ClusterSlots:
    """Of a whole cluster, as one node sees it.

    Who leads it lets no more of them have a Pod elsewhere; guests that no node had room for may get it at once.
    """

    def __init__(self, context: Context) -> None:
        self._nodes = context.informer(NODE)
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._machines.add_index(_INDEX, lambda machine: [_MOVING] if holding.read(machine).to else [])

    def none_free(self) -> str:
        """Why no guest may begin to go now: a sentence; empty where one may."""
        most = max(FEWEST, len(self._nodes))
        if len(self._machines.by_index(_INDEX, _MOVING)) < most:
            return ""
        return f"{most} guests are on their way in the cluster, which is as many as may be."
