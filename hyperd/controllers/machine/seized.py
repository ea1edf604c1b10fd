"""What else has a machine in its hands, as quiet conditions: a restore, a snapshot, who holds its guest frozen.

The reference hides all other conditions during a restore. Here they stay: they say why the machine is off.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from hyperd.controllers.context import Context
from hyperd.controllers.machine.operations import of_machine, restores
from hyperd.resources.all import VIRTUAL_MACHINE_OPERATION, VIRTUAL_MACHINE_SNAPSHOT
from hyperd.resources.kinds.virtual_disk_snapshot import SnapshotPhase
from hyperd.resources.kinds.virtual_machine_conditions import (
    FrozenReason,
    MaintenanceReason,
    SnapshottingReason,
    VirtualMachineCondition,
)
from hyperd.resources.values.conditions import remove_condition, set_condition
from hyperd.resources.values.meta import is_deleting
from hyperd.runtime.controller import Key
from hyperd.store.interface import Item

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_snapshot import VirtualMachineSnapshot

_INDEX: Final = "machine"
_FROZEN: Final = "The guest's agent has its file systems frozen: what is written in it waits."


class Seized:
    """Tells by what informers show."""

    def __init__(self, context: Context) -> None:
        self._hypervisor = context.hypervisor
        self._operations = context.informer(VIRTUAL_MACHINE_OPERATION)
        self._snapshots = context.informer(VIRTUAL_MACHINE_SNAPSHOT)
        self._snapshots.add_index(_INDEX, _machine_values)

    def show(self, machine: VirtualMachine) -> None:
        """Set ``Maintenance``, ``Snapshotting`` and ``FilesystemFrozen`` in place, or remove them."""
        meta = machine["metadata"]
        condition = VirtualMachineCondition.MAINTENANCE
        found = of_machine(self._operations, meta["namespace"], meta["name"])
        restoring = next((op["metadata"]["name"] for op in found if restores(op)), "")
        if restoring:
            message = f'VirtualMachineOperation "{restoring}" restores the virtual machine.'
            set_condition(machine, condition, True, reason=MaintenanceReason.RESTORE, message=message)
        else:
            remove_condition(machine, condition)
        condition = VirtualMachineCondition.SNAPSHOTTING
        taken = self._snapshots.by_index(_INDEX, f"{meta['namespace']}/{meta['name']}")
        phases = [_phase(item.object()) for item in taken if not is_deleting(item.object())]
        if SnapshotPhase.IN_PROGRESS in phases:
            set_condition(machine, condition, True, reason=SnapshottingReason.IN_PROGRESS)
        elif SnapshotPhase.PENDING in phases:
            set_condition(machine, condition, True, reason=SnapshottingReason.WAITING)
        else:
            remove_condition(machine, condition)
        condition = VirtualMachineCondition.FILESYSTEM_FROZEN
        if self._hypervisor.holds.is_frozen(meta["uid"]):
            set_condition(machine, condition, True, reason=FrozenReason.FROZEN, message=_FROZEN)
        else:
            remove_condition(machine, condition)


def machine_of(item: Item[VirtualMachineSnapshot]) -> Iterable[Key]:
    """The machine that a snapshot is of."""
    yield Key(item.namespace, item.object()["spec"]["virtualMachineName"])


def _phase(snapshot: VirtualMachineSnapshot) -> SnapshotPhase:
    return (snapshot.get("status") or {}).get("phase") or SnapshotPhase.PENDING


def _machine_values(snapshot: VirtualMachineSnapshot) -> list[str]:
    return [f"{snapshot['metadata']['namespace']}/{snapshot['spec']['virtualMachineName']}"]
