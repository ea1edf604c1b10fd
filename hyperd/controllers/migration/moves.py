"""Guests that go from node to node, as one node's controllers see to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hyperd.controllers.context import Context
from hyperd.controllers.machine import applied
from hyperd.controllers.machine.fence import Fence
from hyperd.controllers.machine.holding import Act
from hyperd.controllers.machine.instance import Instances
from hyperd.controllers.machine.operations import index_operations, is_moving, of_machine
from hyperd.controllers.migration.arriving import Arrivals
from hyperd.controllers.migration.departing import Departures
from hyperd.controllers.migration.interface import Movable, Neighbours, Stage
from hyperd.controllers.migration.parts import claimed, disks_of, hand_over, was_tried
from hyperd.controllers.ownership import disk_node, machine_node
from hyperd.controllers.pod import manifest
from hyperd.controllers.pod.claims import Claims
from hyperd.controllers.pod.placement import Pods
from hyperd.controllers.pod.targets import Targets
from hyperd.errors import NotFound
from hyperd.hypervisor.state import DomainInfo
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE, VIRTUAL_MACHINE_OPERATION
from hyperd.resources.kinds.virtual_machine_conditions import MigratableReason
from hyperd.resources.kinds.virtual_machine_operation import CompletedReason, OperationCondition
from hyperd.resources.kinds.virtual_machine_status import MigrationResult
from hyperd.resources.values.conditions import find_condition

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_operation import VirtualMachineOperation

_SHARED = "ReadWriteMany"
_STAGES = frozenset(
    {
        CompletedReason.MIGRATION_PENDING,
        CompletedReason.QUOTA_EXCEEDED,
        CompletedReason.TARGET_SCHEDULING,
        CompletedReason.TARGET_UNSCHEDULABLE,
        CompletedReason.TARGET_PREPARING,
        CompletedReason.WAITING_FOR_SYNC_SLOT,
        CompletedReason.SYNCING,
        CompletedReason.NOT_CONVERGING,
        CompletedReason.SOURCE_SUSPENDED,
        CompletedReason.TARGET_RESUMED,
    }
)
_LAST = 92
"""Percent that a migration may have come to without being done."""
_FAILED = "The migration failed; the events of the virtual machine say why."


class PodMoves:
    """Of machines in Pods."""

    def __init__(self, context: Context, pods: Pods, neighbours: Neighbours) -> None:
        self._context = context
        self._fence = Fence(context)
        self._instances = Instances(context)
        self._claims = Claims(context)
        self._targets = Targets(context)
        self._disks = context.informer(VIRTUAL_DISK)
        self._operations = context.informer(VIRTUAL_MACHINE_OPERATION)
        index_operations(self._operations)
        self.arrivals = Arrivals(context, pods, self._fence)
        self._departures = Departures(context, self._fence, neighbours)

    async def close(self) -> None:
        await self._departures.close()

    async def attend(self, machine: VirtualMachine) -> bool:
        return await self.arrivals.attend(machine)

    def wanted(self, machine: VirtualMachine) -> bool:
        return self._asked(machine) is not None

    async def begin(self, machine: VirtualMachine, domain: DomainInfo) -> bool:
        op = self._asked(machine)
        if op is None or machine["metadata"].get("deletionTimestamp") or self._hindrance(domain)[1]:
            return False
        return await self._departures.begin(machine, domain, op)

    def carry(self, machine: VirtualMachine, wake: Callable[[], None]) -> None:
        self._departures.carry(machine, wake)

    async def leave_behind(self, machine: VirtualMachine, domain: DomainInfo) -> None:
        async with self.arrivals.alone(domain.uid) as comes:
            if not comes:  # it may be on its way back, to volumes of the same names
                await self._leave_behind(machine, domain)

    async def _leave_behind(self, machine: VirtualMachine, domain: DomainInfo) -> None:
        known, here = machine["metadata"], self._context.node_name
        try:
            item = await self._context.store.get(VIRTUAL_MACHINE, known["namespace"], known["name"])
        except NotFound:
            return  # what is left of a deleted one is swept up
        fresh = item.object()
        standing, node = self._fence.judge(fresh, domain), machine_node(fresh)
        if item.uid != domain.uid or standing.record.to or node in ("", here) or not standing.permits(Act.YIELD):
            return
        shared = claimed(self._context, self._claims, domain)
        for device in disks_of(domain):
            await hand_over(self._context, fresh, device, node)
            disk = await self._context.store.find(VIRTUAL_DISK, known["namespace"], device["name"])
            if disk is None or disk["metadata"]["uid"] != device["uid"] or disk_node(disk) != node:
                continue
            if device["uid"] in shared:
                await self._context.volumes.detach(device["uid"])
            else:
                await self._context.volumes.delete(device["uid"])
        warrant = self._fence.require_absent(domain.uid, {domain.uid: item}, domain)
        await self._instances.remove(warrant, defined=True)

    def movable(self, machine: VirtualMachine, domain: DomainInfo) -> Movable:
        reason, why = self._hindrance(domain)
        if why:
            return Movable(reason, why, bound=bool(self._targets.strays(machine)))
        return Movable(*self._targets.lacking(machine))

    def _hindrance(self, domain: DomainInfo) -> tuple[MigratableReason, str]:
        """What of the guest itself is in the way: a reason and a sentence; an empty one for nothing."""
        if why := self._hinders(domain):
            return MigratableReason.NON_MIGRATABLE, why
        for claim in claimed(self._context, self._claims, domain).values():
            if _SHARED not in (modes := claim["spec"].get("accessModes") or ()):
                which = f"PersistentVolumeClaim {claim['metadata']['name']}, which is {', '.join(modes)}"
                why = f"The guest has {which}: to be moved it has to be {_SHARED}, as both nodes have it then."
                return MigratableReason.DISKS_NOT_MIGRATABLE, why
        return MigratableReason.MIGRATABLE, ""

    def _hinders(self, domain: DomainInfo) -> str:
        running = applied.decode(domain.applied)
        if not running.pod:
            return "The guest was started before machines had Pods: restart it first."
        if running.cards:
            return "The guest has cards on additional networks, which are this node's."
        images = [one for one in running.devices if one["kind"] != VIRTUAL_DISK.kind]
        if images:
            one = images[0]
            return f'The guest has {one["kind"]} "{one["name"]}", whose copy is this node\'s: detach it first.'
        return ""

    def stage(self, machine: VirtualMachine, operation: VirtualMachineOperation) -> Stage:
        uid = operation["metadata"]["uid"]
        target, state = manifest.pod_name(machine, operation=uid), machine["status"].get("migrationState") or {}
        if (state.get("target") or {}).get("pod") == target and state.get("result") == MigrationResult.SUCCEEDED:
            return Stage(CompletedReason.OPERATION_COMPLETED, 100)
        found = self._departures.stage(uid)
        if was_tried(machine, target):
            return found if found is not None and found.failed else Stage("", 0, _FAILED, failed=True)
        return found or _told(operation)

    def _asked(self, machine: VirtualMachine) -> VirtualMachineOperation | None:
        known = machine["metadata"]
        found = of_machine(self._operations, known["namespace"], known["name"])
        return next((op for op in found if is_moving(op)), None)


def _told(operation: VirtualMachineOperation) -> Stage:
    """The stage at which the operation was when somebody looked last, until the guest's node looks anew."""
    said = find_condition(operation, OperationCondition.COMPLETED) or {}
    progress = (operation["status"].get("progress") or "").removesuffix("%")
    if said.get("reason") not in _STAGES or not progress.isdecimal():
        return Stage(CompletedReason.TARGET_SCHEDULING, 2)
    return Stage(said["reason"], min(int(progress), _LAST), said.get("message") or "")
