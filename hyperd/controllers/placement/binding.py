"""Binds machines and disks to nodes: the leader's choice, made once, by one compare-and-set write each.

A machine goes where its disks are; disks that nobody keeps yet go where their machine is, and wait for it. Beyond
that the node with the fewest is taken. What has no node yet has nothing on any host, so the leader also lets it go
when it is deleted.

Choices are made one at a time, from what the store says at that moment: two choices from an informer that lags a
little could part a machine from its disk for ever.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.disk.source import snapshot_of
from hyperd.controllers.machine.capacity import allocatable, lacking, requested, total
from hyperd.controllers.machine.dependencies import Dependencies, check_class
from hyperd.controllers.machine.operations import active_operation, index_operations, machine_of
from hyperd.controllers.machine.power import Situation, decide
from hyperd.controllers.machine.status import TOLD_OFF, is_told_off, set_phase
from hyperd.controllers.node import fitting, taints
from hyperd.controllers.ownership import bind_disk, disk_node, machine_node
from hyperd.controllers.placement.placing import Nodes, faults_sentence, least_used, name_of
from hyperd.resources.all import (
    NODE,
    VIRTUAL_DISK,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_CLASS,
    VIRTUAL_MACHINE_OPERATION,
)
from hyperd.resources.kinds.data_source import ReadyReason
from hyperd.resources.kinds.virtual_disk import DiskReadyReason, VirtualDiskCondition, VirtualDiskPhase
from hyperd.resources.kinds.virtual_machine_conditions import RunningReason, VirtualMachineCondition
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.schema.kind import Kind, V
from hyperd.resources.values.conditions import set_condition
from hyperd.runtime.controller import Controller, Key, Mapper, Result
from hyperd.runtime.informer import Informer
from hyperd.runtime.status import remove_finalizer, update_status
from hyperd.store.interface import Store

if TYPE_CHECKING:
    from hyperd.resources.views.core import Node
    from hyperd.resources.views.placement import Toleration
    from hyperd.resources.views.virtual_disk import VirtualDisk
    from hyperd.resources.views.virtual_machine import VirtualMachine

_AGAIN_SECONDS = 5.0


class MachineBinder(Controller):
    """Writes ``status.nodeName`` of machines that have none."""

    name = "virtualmachine-binder"
    kind = VIRTUAL_MACHINE
    workers = 1
    cluster_wide = True

    def __init__(self, context: Context, nodes: Nodes) -> None:
        super().__init__()
        self._context = context
        self._nodes = nodes
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._disks = context.informer(VIRTUAL_DISK)
        self._classes = context.informer(VIRTUAL_MACHINE_CLASS)
        self._operations = context.informer(VIRTUAL_MACHINE_OPERATION)
        self._chosen: dict[str, str] = {}
        """Machine uid → node, of choices that the informer may not show yet."""
        usage.index_machines(self._machines)
        index_operations(self._operations)

    def watches(self) -> Mapping[Kind, Mapper]:
        return {
            VIRTUAL_MACHINE_OPERATION: machine_of,
            NODE: lambda _: _without_node(self._machines, machine_node),
            VIRTUAL_MACHINE_CLASS: lambda _: _without_node(self._machines, machine_node),
            VIRTUAL_DISK: usage.machine_keys(self._machines, VIRTUAL_DISK),
        }

    async def reconcile(self, key: Key) -> Result | None:
        before = self._machines.get(*key)
        if before is None or machine_node(before):
            return None
        if before["metadata"].get("deletionTimestamp"):
            await remove_finalizer(self._context.store, VIRTUAL_MACHINE, before)
            return None
        if left := self._nodes.left_to_claim(before):
            return Result(left)
        async with self._nodes.choosing:
            disks = await _disks_of(self._context.store, before)
            after = copy.deepcopy(before)
            after.setdefault("status", {})
            node, problem = await self._choose(after, disks)
            if node:
                after["status"]["nodeName"] = node
            else:
                self._wait(after, problem)
            await update_status(self._context.store, VIRTUAL_MACHINE, before, after)
            if not node:
                return Result(_AGAIN_SECONDS)
            self._chosen[before["metadata"]["uid"]] = node
            for disk in disks:
                if not disk_node(disk):
                    await bind_disk(self._context.store, disk, node)
        return None

    def _wait(self, machine: VirtualMachine, problem: str) -> None:
        """Show that no node has the machine: it waits for one, or is to be off anyhow."""
        meta = machine["metadata"]
        situation = Situation(
            policy=machine["spec"].get("runPolicy", ""),
            phase=machine["status"].get("phase", ""),
            defined=False,
            active=False,
            told_off=is_told_off(machine),
            operation=active_operation(self._operations, meta["namespace"], meta["name"]),
        )
        decision, running = decide(situation), VirtualMachineCondition.RUNNING
        if decision.rests_stopped:
            set_phase(machine, VirtualMachinePhase.STOPPED)
            message = TOLD_OFF if decision.told_off else ""
            set_condition(machine, running, False, reason=RunningReason.NOT_RUNNING, message=message)
        else:
            set_phase(machine, VirtualMachinePhase.PENDING)
            set_condition(machine, running, False, reason=RunningReason.POD_NOT_STARTED, message=problem)

    async def _choose(self, machine: VirtualMachine, disks: Sequence[VirtualDisk]) -> tuple[str, str]:
        """A node, or why there is none; what is said of the class is set in ``machine``."""
        name = machine["spec"].get("virtualMachineClassName", "")
        class_ = self._classes.get("", name)
        found = Dependencies()
        check_class(machine, class_, found)
        if class_ is None:
            return "", found.blocked
        spec, tolerated = machine["spec"], taints.tolerations(machine["spec"], class_["spec"])
        usable, problem = await self._nodes.usable(tolerated)
        if not usable:
            return "", problem
        misfits = {name_of(node): fitting.misfit(node, spec, class_) for node in usable}
        suitable = [node for node in usable if not misfits[name_of(node)]]
        if not suitable:
            return "", faults_sentence(misfits)
        kept = {disk["metadata"]["name"]: disk_node(disk) for disk in disks if disk_node(disk)}
        if len(set(kept.values())) > 1:
            listed = ", ".join(f'"{disk}" on node {node}' for disk, node in sorted(kept.items()))
            return "", f"The disks are on different nodes: {listed}; make them anew for one machine."
        for disk, node in kept.items():
            if node not in map(name_of, suitable):
                why = f": it {misfits[node]}" if misfits.get(node) else ""
                return "", f'VirtualDisk "{disk}" is on node {node}, which cannot run this machine now{why}.'
            return node, ""
        return self._roomiest(machine, suitable, tolerated)

    def _roomiest(
        self, machine: VirtualMachine, nodes: Sequence[Node], tolerated: Sequence[Toleration]
    ) -> tuple[str, str]:
        """Of the nodes that have room the best liked one with the fewest, or what each of them lacks."""
        here = self._machines_by_node(apart_from=machine["metadata"]["uid"])
        need, ratio = requested(machine["spec"]), self._context.settings.hypervisor.cpu_allocation_ratio
        faults = {}
        for node in nodes:
            name = name_of(node)
            # What is off asks for nothing, as a machine without a Pod.
            promised = total(requested(other["spec"]) for other in here[name] if not _is_off(other))
            faults[name] = lacking(name, allocatable(node, cpu_ratio=ratio) - promised, need)
        roomy = [node for node in nodes if not faults[name_of(node)]]
        if not roomy:
            return "", " ".join(faults.values())
        liking = {
            name_of(node): (-taints.disliked(node, tolerated), fitting.preference(node, machine["spec"]))
            for node in roomy
        }
        roomy = [node for node in roomy if liking[name_of(node)] == max(liking.values())]
        return least_used(roomy, {node: len(machines) for node, machines in here.items()}), ""

    def _machines_by_node(self, *, apart_from: str) -> Mapping[str, Sequence[VirtualMachine]]:
        found: dict[str, list[VirtualMachine]] = defaultdict(list)
        known = {item.uid: item.object() for item in self._machines.items() if item.uid != apart_from}
        self._chosen = {uid: node for uid, node in self._chosen.items() if uid in known}
        for uid, machine in known.items():
            node = machine_node(machine) or self._chosen.get(uid, "")
            if node:
                found[node].append(machine)
        return found


class DiskBinder(Controller):
    """Names the node of disks that none keeps."""

    name = "virtualdisk-binder"
    kind = VIRTUAL_DISK
    workers = 1
    cluster_wide = True
    writes: ClassVar = {VIRTUAL_DISK: ("patch",)}

    def __init__(
        self, context: Context, nodes: Nodes, *, others: Callable[[VirtualDisk], bool] = lambda _: False
    ) -> None:
        """``others`` says of which disks somebody else names the node."""
        super().__init__()
        self._context = context
        self._nodes = nodes
        self._others = others
        self._disks = context.informer(VIRTUAL_DISK)
        self._machines = context.informer(VIRTUAL_MACHINE)
        usage.index_machines(self._machines)

    def watches(self) -> Mapping[Kind, Mapper]:
        return {
            NODE: lambda _: _without_node(self._disks, disk_node),
            VIRTUAL_MACHINE: usage.device_keys(VIRTUAL_DISK),
        }

    async def reconcile(self, key: Key) -> Result | None:
        before = self._disks.get(*key)
        if before is None or disk_node(before):
            return None
        if before["metadata"].get("deletionTimestamp"):
            await remove_finalizer(self._context.store, VIRTUAL_DISK, before)
            return None
        if self._others(before):
            return None
        if left := self._nodes.left_to_claim(before):
            return Result(left)
        async with self._nodes.choosing:
            node, phase, problem = await self._choose(before)
            if not node:
                return await self._wait(before, phase, problem)
            await bind_disk(self._context.store, before, node)
        return None

    async def _choose(self, disk: VirtualDisk) -> tuple[str, VirtualDiskPhase, str]:
        """Where its machine is, or another disk of a machine that will have both; or the phase, and why to wait.

        Where several nodes could keep it the first machine decides: made before, it would hold that one there.
        """
        store, meta = self._context.store, disk["metadata"]
        snapshot = snapshot_of(self._context, disk)
        wanted = [] if snapshot is None else [disk_node(snapshot)]
        for item in usage.machines_using(self._machines, VIRTUAL_DISK, meta["namespace"], meta["name"]):
            machine = await store.find(VIRTUAL_MACHINE, item.namespace, item.name)
            if machine is not None:
                wanted.append(machine_node(machine))
                wanted += [disk_node(beside) for beside in await _disks_of(store, machine)]
        if node := next(filter(None, wanted), ""):
            return node, VirtualDiskPhase.PENDING, ""
        usable, problem = await self._nodes.usable()
        if not usable:
            return "", VirtualDiskPhase.PENDING, problem
        if len(usable) > 1:
            message = "The node of the first virtual machine that uses the disk will keep it."
            return "", VirtualDiskPhase.WAIT_FOR_FIRST_CONSUMER, message
        return name_of(usable[0]), VirtualDiskPhase.PENDING, ""

    async def _wait(self, before: VirtualDisk, phase: VirtualDiskPhase, message: str) -> Result | None:
        after = copy.deepcopy(before)
        after.setdefault("status", {})["phase"] = phase
        waits = phase == VirtualDiskPhase.WAIT_FOR_FIRST_CONSUMER
        reason = DiskReadyReason.WAITING_FOR_FIRST_CONSUMER if waits else ReadyReason.PROVISIONING_NOT_STARTED
        set_condition(after, VirtualDiskCondition.READY, False, reason=reason, message=message)
        await update_status(self._context.store, VIRTUAL_DISK, before, after)
        return Result(_AGAIN_SECONDS)


def _is_off(machine: VirtualMachine) -> bool:
    return (machine.get("status") or {}).get("phase") == VirtualMachinePhase.STOPPED


def _without_node(informer: Informer[V], node_of: Callable[[V], str]) -> Iterable[Key]:
    for item in informer.items():
        if not node_of(item.object()):
            yield Key(item.namespace, item.name)


async def _disks_of(store: Store, machine: VirtualMachine) -> Sequence[VirtualDisk]:
    """The VirtualDisks that the machine's spec names, as far as they exist."""
    refs = machine["spec"].get("blockDeviceRefs") or ()
    wanted = [ref["name"] for ref in refs if ref.get("kind") == VIRTUAL_DISK.kind]
    found = [await store.find(VIRTUAL_DISK, machine["metadata"]["namespace"], name) for name in wanted]
    return [disk for disk in found if disk is not None]
