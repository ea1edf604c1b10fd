"""The leader's part: each machine that is to run has a Pod, and is bound to the node that the scheduler gave it.

A machine's Pod lasts as long as the machine is to run, whatever its guest does meanwhile, and is made early: the
scheduler chooses before disks are made. Nothing is remembered: the Pod's name follows from the machine, and what
it was asked for stands in it. A Pod is only made, and a machine only bound to another node, while the machine has
no guest anywhere, which the node that had one says by the phase.

Why there is no guest is told by the leader until the Pod is where the machine is bound to; from then on by that
node.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.machine import holding
from hyperd.controllers.machine.dependencies import Dependencies, check_class
from hyperd.controllers.machine.operations import (
    active_operation,
    index_operations,
    is_moving,
    machine_of,
    of_machine,
)
from hyperd.controllers.machine.power import Situation, decide
from hyperd.controllers.machine.status import TOLD_OFF, is_told_off, set_phase
from hyperd.controllers.ownership import bind_disk, disk_node, machine_node
from hyperd.controllers.placement.placing import Nodes
from hyperd.controllers.pod import filling, manifest, reading, second
from hyperd.controllers.pod.attaching import AttachingPods, may_have
from hyperd.controllers.pod.budgets import Budgets
from hyperd.controllers.pod.carrying import carry, outlast
from hyperd.controllers.pod.claims import Claims
from hyperd.controllers.pod.evacuating import Evacuations
from hyperd.controllers.pod.losses import Losses
from hyperd.controllers.pod.taking import Takeovers
from hyperd.errors import AlreadyExists, Forbidden, HyperdError
from hyperd.resources.all import (
    PERSISTENT_VOLUME_CLAIM,
    POD,
    POD_DISRUPTION_BUDGET,
    VIRTUAL_DISK,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT,
    VIRTUAL_MACHINE_CLASS,
    VIRTUAL_MACHINE_OPERATION,
)
from hyperd.resources.kinds.virtual_machine_conditions import RunningReason, VirtualMachineCondition
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values import meta, names
from hyperd.resources.values.conditions import find_condition, set_condition
from hyperd.runtime.controller import Controller, Key, Mapper, Result, owner_keys
from hyperd.runtime.status import delete_this, make_sure, remove_finalizer, update_status
from hyperd.store.interface import Item, Store

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClass

_AGAIN_SECONDS = 10.0
_WITHOUT_GUEST = (None, "", VirtualMachinePhase.PENDING, VirtualMachinePhase.STOPPED)
_MACHINE_INDEX = "machine"
_MOVABLE = (VirtualMachinePhase.RUNNING, VirtualMachinePhase.MIGRATING)


class PodController(Controller):
    """Makes machines' Pods, follows them, and removes them."""

    name = "virtualmachine-pod"
    kind = VIRTUAL_MACHINE
    cluster_wide = True
    writes: ClassVar = {
        POD: ("create", "delete", "get", "list", "patch", "watch"),
        POD_DISRUPTION_BUDGET: ("create", "delete", "list", "patch", "watch"),
        VIRTUAL_DISK: ("patch",),
        VIRTUAL_MACHINE_OPERATION: ("create", "patch"),
    }

    def __init__(
        self,
        context: Context,
        nodes: Nodes,
        losses: Losses,
        *,
        claimed: Callable[[VirtualDisk], bool] = lambda _: False,
    ) -> None:
        """``claimed`` says which disks are claims, or are to be."""
        super().__init__()
        self._claimed = claimed
        self._claims = Claims(context)
        self._context = context
        self._nodes = nodes
        self._conf = context.settings.kubernetes
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._pods = context.informer(POD)
        self._classes = context.informer(VIRTUAL_MACHINE_CLASS)
        self._operations = context.informer(VIRTUAL_MACHINE_OPERATION)
        context.informer(VIRTUAL_DISK)
        usage.index_machines(self._machines)
        index_operations(self._operations)
        self._takeovers = Takeovers(context, losses)
        losses.wake(self.enqueue)
        self._budgets = Budgets(context)
        self._seconds = second.SecondPods(context, self._claims)
        self._attaching = AttachingPods(context, self._claims, self._held)
        self._evacuations = Evacuations(context)
        self._pods.add_index(_MACHINE_INDEX, lambda pod: [meta.labels(pod).get(names.VM_UID_LABEL, "")])

    def watches(self) -> Mapping[Kind, Mapper]:
        return {
            POD: owner_keys(VIRTUAL_MACHINE),
            POD_DISRUPTION_BUDGET: owner_keys(VIRTUAL_MACHINE),
            VIRTUAL_MACHINE_OPERATION: machine_of,
            VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT: machine_of,
            VIRTUAL_MACHINE_CLASS: self._of_class,
            VIRTUAL_DISK: usage.machine_keys(self._machines, VIRTUAL_DISK),
            PERSISTENT_VOLUME_CLAIM: self._of_claim,
        }

    def _of_claim(self, item: Item) -> Iterable[Key]:
        for disk in owner_keys(VIRTUAL_DISK)(item):
            for machine in usage.machines_using(self._machines, VIRTUAL_DISK, disk.namespace, disk.name):
                yield Key(machine.namespace, machine.name)

    def _of_class(self, item: Item) -> Iterable[Key]:
        return [Key(vm.namespace, vm.name) for vm in self._machines.by_index(usage.CLASS_INDEX, item.name)]

    async def reconcile(self, key: Key) -> Result | None:
        before = self._machines.get(*key)
        await self._evacuations.let_go(key, before)
        if before is None:
            return None
        if (result := await self._takeovers.look(before, self._all_of(before))) is not None:
            return result
        pod = manifest.find_pod(self._pods, before)
        if before["metadata"].get("deletionTimestamp"):
            return await self._leave(before, pod)
        after = copy.deepcopy(before)
        after.setdefault("status", {})
        if not self._is_to_run(after):
            return await self._rest(before, after, pod)
        if pod is None:
            return await self._begin(before, after)
        if not reading.is_of(pod, before):
            await self._wait(before, after, RunningReason.POD_NOT_STARTED, _anothers(pod))
            return Result(_AGAIN_SECONDS)
        return await self._follow(before, after, pod)

    def _is_to_run(self, machine: VirtualMachine) -> bool:
        """Whether there is a guest, or is to be one. Of a machine with a node that node knows, and says it."""
        meta_, status = machine["metadata"], machine["status"]
        if machine_node(machine):
            return status.get("phase") != VirtualMachinePhase.STOPPED
        situation = Situation(
            policy=machine["spec"].get("runPolicy", ""),
            phase=status.get("phase", ""),
            defined=False,
            active=False,
            told_off=is_told_off(machine),
            operation=active_operation(self._operations, meta_["namespace"], meta_["name"]),
        )
        return not decide(situation).rests_stopped

    async def _leave(self, machine: VirtualMachine, pod: Object | None) -> Result | None:
        """The machine is being deleted. What has a node is let go there, and its Pod goes with it."""
        if machine_node(machine):
            return None
        if pod is not None and reading.is_of(pod, machine):
            await self._delete(pod)
            return None  # its end comes here
        await remove_finalizer(self._context.store, VIRTUAL_MACHINE, machine)
        return None

    async def _rest(self, before: VirtualMachine, after: VirtualMachine, pod: Object | None) -> Result | None:
        """No guest is wanted; the node that had one has ended it."""
        for one in self._all_of(before):
            await self._delete(one)
        await self._budgets.drop(before)
        await self._attaching.end(before)
        self._evacuations.show(after, None)
        if not machine_node(before):
            set_phase(after, VirtualMachinePhase.STOPPED)
            message = TOLD_OFF if is_told_off(before) or self._stops(before) else ""
            type_, reason = VirtualMachineCondition.RUNNING, RunningReason.NOT_RUNNING
            set_condition(after, type_, False, reason=reason, message=message)
        after["status"].pop("virtualMachinePods", None)
        await update_status(self._context.store, VIRTUAL_MACHINE, before, after)
        return None

    def _stops(self, machine: VirtualMachine) -> bool:
        known = machine["metadata"]
        return active_operation(self._operations, known["namespace"], known["name"]) is not None

    async def _begin(self, before: VirtualMachine, after: VirtualMachine) -> Result | None:
        """There is no Pod. One is made unless a guest runs without it, which its node sees to."""
        if after["status"].get("phase") not in _WITHOUT_GUEST:
            return None
        unbound = not machine_node(before) and not holding.read(before).lost
        if unbound and (left := self._nodes.left_to_claim(before)):
            return Result(left)
        class_, disks, problem = await self._needs(after)
        if class_ is None or problem:
            await self._wait(before, after, RunningReason.POD_NOT_STARTED, problem)
            return Result(_AGAIN_SECONDS)
        # By the store's word: what is seen here may be from before a guest began.
        fresh = await self._context.store.find(VIRTUAL_MACHINE, *meta.key(before))
        if fresh is None or fresh["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]:
            return Result(0.1)
        body = self._wanted(before, class_, disks, avoided=self._takeovers.silent())
        try:
            made = await self._context.store.create(POD, before["metadata"]["namespace"], body)
        except AlreadyExists:
            return await self._meet_another(before, after)
        except second.PASSING:
            raise
        except HyperdError as error:
            quota = isinstance(error, Forbidden) and error.is_of_quota
            reason = RunningReason.QUOTA_EXCEEDED if quota else RunningReason.POD_NOT_STARTED
            await self._wait(before, after, reason, f"The Pod cannot be made: {error.message}")
            return Result(_AGAIN_SECONDS)
        return await self._follow(before, after, made.object())

    async def _meet_another(self, before: VirtualMachine, after: VirtualMachine) -> Result | None:
        """The informer is behind, or somebody else's Pod has the name."""
        found = await self._context.store.find(POD, before["metadata"]["namespace"], manifest.pod_name(before))
        if found is None or reading.is_of(found, before):
            return Result(0.5)
        await self._wait(before, after, RunningReason.POD_NOT_STARTED, _anothers(found))
        return Result(_AGAIN_SECONDS)

    async def _follow(self, before: VirtualMachine, after: VirtualMachine, pod: Object) -> Result | None:
        """The Pod is there: hand on what the machine has by now, and bind the machine to where the Pod is."""
        pod = await carry(self._context.store, before, pod)
        node, without_guest = reading.node_of(pod), after["status"].get("phase") in _WITHOUT_GUEST
        after["status"]["virtualMachinePods"] = [{"name": pod["metadata"]["name"], "active": True}]
        reason, why = reading.why_waiting(pod)
        if not without_guest:
            return await self._follow_guest(before, after, pod)
        await self._budgets.keep(before, 1)
        await self._let_go(before, {pod["metadata"]["name"]})
        await self._attaching.tidy(before, pod, node)
        if reading.is_ending(pod) or reading.is_finished(pod):
            await self._wait(before, after, reason, why)
            await self._delete(pod)
            return None
        class_, disks, problem = await self._needs(after)
        outdated = class_ is not None and not problem and self._is_outdated(before, class_, pod, disks)
        if outdated or self._evacuations.show(after, pod):
            await self._delete(pod)  # one that was asked to go can, while no guest is in it
            return None
        problem = problem or (self._held(before, disks, node) if node else "")
        if not node or problem:
            kept = self._takeovers.kept(self._kept_on(disks))
            await self._wait(before, after, reason, problem or kept or why)
            return Result(_AGAIN_SECONDS) if problem or kept or reading.avoided_by(pod) else None
        if node != machine_node(before) and node != self._kept_on(disks) and node in self._takeovers.silent():
            await self._delete(pod)  # nobody would start a guest there
            return None
        if node == machine_node(before) and (kept := self._takeovers.kept(self._kept_on(disks))):
            await self._wait(before, after, RunningReason.POD_NOT_STARTED, kept)
            return Result(_AGAIN_SECONDS)
        if node != machine_node(before):
            after["status"]["nodeName"] = node
            set_phase(after, VirtualMachinePhase.PENDING)
        await update_status(self._context.store, VIRTUAL_MACHINE, before, after)
        for disk in disks:
            # A claim is where the Pod is that has it.
            if not disk_node(disk) or (disk_node(disk) != node and self._claims.of(disk) is not None):
                await bind_disk(self._context.store, disk, node)
        return None

    async def _follow_guest(self, before: VirtualMachine, after: VirtualMachine, pod: Object) -> Result | None:
        """There is a guest: its Pod stays, and where it is to go there is another one."""
        class_ = self._classes.get("", before["spec"].get("virtualMachineClassName", ""))
        if class_ is not None:
            await outlast(self._context.store, before, class_, pod)
        current, moving = manifest.current_pod_name(before), None
        wanted, record = {current}, holding.read(before)
        for op in of_machine(self._operations, before["metadata"]["namespace"], before["metadata"]["name"]):
            name = manifest.pod_name(before, operation=op["metadata"]["uid"])
            if is_moving(op) and name != current:
                moving, wanted = op, {current, name}
        if record.to:
            wanted.add(manifest.pod_name(before, operation=record.operation))
        await self._let_go(before, wanted)
        there = {pod["metadata"]["name"] for pod in self._all_of(before)}
        beside = sorted(wanted & there - {current})
        after["status"]["virtualMachinePods"] += [{"name": name, "active": False} for name in beside]
        evicted = self._evacuations.show(after, pod)
        why = ""
        if moving is not None and not record.to and not wanted <= there and after["status"]["phase"] in _MOVABLE:
            class_, disks, why = await self._needs(after)
            if class_ is not None and not why:
                disks = [*disks, *self._attaching.carried(before)]
                why = await self._seconds.make(before, moving, class_, disks)
        second.show(after, why)
        for key in self._seconds.turns.pass_on(before, moving):
            self.enqueue(key)
        await update_status(self._context.store, VIRTUAL_MACHINE, before, after)
        refused = moving is None and not record.to and await self._attaching.keep(before, pod)
        await self._budgets.keep(before, max(len(wanted), len(there)))
        if evicted and (left := await self._evacuations.ask(before, pod)) is not None:
            return Result(left)
        return Result(_AGAIN_SECONDS) if why or refused else None

    def _all_of(self, machine: VirtualMachine) -> list[Object]:
        """The machine's Pods."""
        found = [item.object() for item in self._pods.by_index(_MACHINE_INDEX, machine["metadata"]["uid"])]
        return [pod for pod in found if reading.is_of(pod, machine)]

    async def _let_go(self, machine: VirtualMachine, wanted: Container[str]) -> None:
        """Of Pods to which a guest was to go, or that it left, by the store's word. Raises TemporaryError."""
        left = [pod for pod in self._all_of(machine) if pod["metadata"]["name"] not in wanted]
        if any(not reading.is_ending(pod) for pod in left):
            await make_sure(self._context.store, VIRTUAL_MACHINE, machine)
        for pod in left:
            await self._delete(pod)

    def _held(self, machine: VirtualMachine, disks: Sequence[VirtualDisk], node: str) -> str:
        """Why disks that are claims cannot be on ``node`` now, where the machine's Pod is; empty when they can."""
        for disk in disks:
            where = disk["metadata"]
            if not disk_node(disk) or disk_node(disk) == node or self._claims.of(disk) is None:
                continue
            if at := filling.node_of(self._pods, disk):
                return f'VirtualDisk "{where["name"]}" is being filled on node {at}.'
            for item in usage.machines_using(self._machines, VIRTUAL_DISK, where["namespace"], where["name"]):
                if item.uid != machine["metadata"]["uid"] and may_have(item.object(), disk):
                    held = f'virtual machine "{item.name}", on node {disk_node(disk)}'
                    return f'VirtualDisk "{where["name"]}" is in use by {held}.'
        return ""

    def _wanted(
        self,
        machine: VirtualMachine,
        class_: VirtualMachineClass,
        disks: Sequence[VirtualDisk],
        *,
        avoided: Sequence[str] = (),
    ) -> Object:
        """The Pod that the machine would get now."""
        mounts, pin = self._claims.mounts(disks), self._kept_on(disks)
        avoided = () if pin else avoided
        return manifest.make_manifest(machine, class_, self._conf, node=pin, mounts=mounts, avoided=avoided)

    def _is_outdated(
        self, machine: VirtualMachine, class_: VirtualMachineClass, pod: Object, disks: Sequence[VirtualDisk]
    ) -> bool:
        """Whether that is another one."""
        if reading.made_of(self._wanted(machine, class_, disks)) != reading.made_of(pod):
            return True
        pin, node = self._kept_on(disks), reading.node_of(pod)
        if not node and any(map(self._takeovers.is_back, reading.avoided_by(pod))):
            return True
        return bool(pin) and pin != node if node else pin != reading.pinned_to(pod)

    def _kept_on(self, disks: Sequence[VirtualDisk]) -> str:
        """The node that keeps the disks; empty while none does. Where claims may be the scheduler knows."""
        return next((node for disk in disks if (node := disk_node(disk)) and self._claims.of(disk) is None), "")

    async def _needs(
        self, machine: VirtualMachine
    ) -> tuple[VirtualMachineClass | None, Sequence[VirtualDisk], str]:
        """Class and disks, and a sentence where no Pod could be made of them; the class's condition is set."""
        class_, found = self._classes.get("", machine["spec"].get("virtualMachineClassName", "")), Dependencies()
        check_class(machine, class_, found)
        if class_ is None:
            return None, (), found.blocked
        disks = await _disks_of(self._context.store, machine)
        kept = {disk["metadata"]["name"]: node for disk in disks if (node := self._kept_on([disk]))}
        if len(set(kept.values())) > 1:
            listed = ", ".join(f'"{disk}" on node {node}' for disk, node in sorted(kept.items()))
            problem = f"The disks are on different nodes: {listed}; make them anew for one machine."
            return class_, disks, problem
        for disk in disks:
            if not found.blocked and self._claims.of(disk) is None and self._claimed(disk):
                found.block(f'VirtualDisk "{disk["metadata"]["name"]}" has no PersistentVolumeClaim yet.')
        return class_, disks, found.blocked

    async def _delete(self, pod: Object) -> None:
        if not reading.is_ending(pod):
            await delete_this(self._context.store, POD, pod)

    async def _wait(
        self, before: VirtualMachine, after: VirtualMachine, reason: RunningReason, message: str
    ) -> None:
        """Say why there is no guest yet, unless the machine's node says of what it lacks beside its Pod."""
        said = find_condition(after, VirtualMachineCondition.RUNNING) or {}
        if not machine_node(before) or said.get("reason") != RunningReason.NOT_RUNNING or not said.get("message"):
            set_phase(after, VirtualMachinePhase.PENDING)
            set_condition(after, VirtualMachineCondition.RUNNING, False, reason=reason, message=message)
        await update_status(self._context.store, VIRTUAL_MACHINE, before, after)


def _anothers(pod: Object) -> str:
    return f"Pod {pod['metadata']['name']} is not the machine's, but has its Pod's name: delete it."


async def _disks_of(store: Store, machine: VirtualMachine) -> Sequence[VirtualDisk]:
    """The VirtualDisks that the machine's spec names, as far as they exist."""
    refs = machine["spec"].get("blockDeviceRefs") or ()
    wanted = [ref["name"] for ref in refs if ref.get("kind") == VIRTUAL_DISK.kind]
    found = [await store.find(VIRTUAL_DISK, machine["metadata"]["namespace"], name) for name in wanted]
    return [disk for disk in found if disk is not None]
