"""VirtualMachine: from its dependencies to a running domain and back.

Each reconcile looks at the object, its dependencies and the domain, decides the one next step, takes it and writes
what is then true. A VM keeps its phase while libvirt is down.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from hyperd.controllers import usage
from hyperd.controllers.attachment.attachments import Attachments
from hyperd.controllers.attachment.controller import Plugs
from hyperd.controllers.context import Context
from hyperd.controllers.machine import applied, networking, operations, provisioning, status
from hyperd.controllers.machine.approval import restart_if_approved
from hyperd.controllers.machine.dependencies import Dependencies, Resolver, machine_key
from hyperd.controllers.machine.elsewhere import Elsewhere
from hyperd.controllers.machine.emulators import digest_of, outdated
from hyperd.controllers.machine.fence import Fence
from hyperd.controllers.machine.guest import RETRY_SECONDS, Guests
from hyperd.controllers.machine.holding import Act, Holding
from hyperd.controllers.machine.hotplug import RETRY_SECONDS as HOTPLUG_SECONDS
from hyperd.controllers.machine.hotplug import HotPlug
from hyperd.controllers.machine.instance import Instances
from hyperd.controllers.machine.power import Action, Decision, OffReason, Situation, decide
from hyperd.controllers.machine.seized import Seized, machine_of
from hyperd.controllers.machine.shutdown import Shutdown
from hyperd.controllers.machine.startup import Startup
from hyperd.controllers.placement.interface import Placement
from hyperd.controllers.unbuilt import name_unbuilt_fields
from hyperd.errors import ServiceUnavailable
from hyperd.hypervisor.state import DomainEvent, DomainInfo, DomainState, EventKind
from hyperd.resources.all import (
    CLUSTER_VIRTUAL_IMAGE,
    NODE,
    SECRET,
    VIRTUAL_DISK,
    VIRTUAL_IMAGE,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT,
    VIRTUAL_MACHINE_CLASS,
    VIRTUAL_MACHINE_IP_ADDRESS,
    VIRTUAL_MACHINE_MAC_ADDRESS,
    VIRTUAL_MACHINE_OPERATION,
    VIRTUAL_MACHINE_SNAPSHOT,
)
from hyperd.resources.kinds.virtual_machine import MIGRATION_BUILT, RunPolicy, networks_built
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.schema.kind import Kind
from hyperd.runtime.controller import Controller, Key, Mapper, Result
from hyperd.runtime.recorder import EventLevel
from hyperd.runtime.status import add_finalizer, update_status
from hyperd.store.interface import Item

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_block_device_attachment import VirtualMachineBlockDeviceAttachment
    from hyperd.resources.views.virtual_machine_ip_address import VirtualMachineIPAddress

_LIBVIRT_RETRY_SECONDS = 2.0
_MOVE_LOOK_SECONDS = 0.3
_OUTGOING_SECONDS = 2.0
_RESUME_SECONDS = 5.0
_BOOT_LOOK_SECONDS = 3.0
_BOOT_SECONDS = 60.0
_REFUSED_SECONDS = 30.0
_UNTRIED = (None, "", VirtualMachinePhase.PENDING)
_STALE_PHASES = (
    VirtualMachinePhase.STARTING,
    VirtualMachinePhase.RUNNING,
    VirtualMachinePhase.STOPPING,
    VirtualMachinePhase.PAUSE,
)


class MachineController(Controller):
    """Starts, keeps, stops and removes machines."""

    name = "virtualmachine"
    kind = VIRTUAL_MACHINE
    workers = 8
    writes: ClassVar = dict.fromkeys(
        (VIRTUAL_MACHINE_IP_ADDRESS, VIRTUAL_MACHINE_MAC_ADDRESS, VIRTUAL_MACHINE_OPERATION), ("create",)
    )

    def __init__(self, context: Context, placement: Placement) -> None:
        super().__init__()
        self._context = context
        self._placement = placement
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._operations = context.informer(VIRTUAL_MACHINE_OPERATION)
        usage.index_machines(self._machines)
        self._machines.add_index(usage.UID_INDEX, usage.uid_of)
        operations.index_operations(self._operations)
        self._resolver = Resolver(context)
        self._instances = Instances(context)
        self._guests = Guests(context.hypervisor)
        self._rebooted: set[str] = set()
        self._emulator = ""
        self._hotplug = HotPlug(context, self._instances)
        self._attachments = Attachments(context)
        self._seized = Seized(context)
        self._fence = Fence(context)
        self._moves = placement.moves
        self._elsewhere = Elsewhere(context, self._instances, self._fence, self._moves)
        self._starts = Startup(context, self._instances, self._fence, placement, started=self._rebooted.discard)
        self._ends = Shutdown(context, self._instances, self._fence)
        placement.wake(self.enqueue)
        context.hypervisor.on_domain(self._on_domain)
        context.hypervisor.on_connection(self._on_connection)

    def watches(self) -> Mapping[Kind, Mapper]:
        found: dict[Kind, Mapper] = {
            kind: usage.machine_keys(self._machines, kind)
            for kind in (VIRTUAL_DISK, VIRTUAL_IMAGE, CLUSTER_VIRTUAL_IMAGE)
        }
        found[VIRTUAL_MACHINE_CLASS] = self._of_class
        found[VIRTUAL_MACHINE_IP_ADDRESS] = found[VIRTUAL_MACHINE_MAC_ADDRESS] = _of_address
        found[VIRTUAL_MACHINE_OPERATION] = operations.machine_of
        found[VIRTUAL_MACHINE_SNAPSHOT] = machine_of
        found[VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT] = self._of_attachment
        if not self._context.ownership.binds:
            # In a cluster no node may follow, or keep, the Secrets of all: what waits for one looks again soon.
            found[SECRET] = self._of_secret
        found[NODE] = self._waiting_for_node
        return found

    async def close(self) -> None:
        """Stop what goes on beside the queue."""
        await self._resolver.close()
        await self._guests.close()
        if self._moves is not None:
            await self._moves.close()

    def _of_class(self, item: Item) -> Iterable[Key]:
        return [Key(vm.namespace, vm.name) for vm in self._machines.by_index(usage.CLASS_INDEX, item.name)]

    def _waiting_for_node(self, item: Item) -> Iterable[Key]:
        """Machines that may start now that this node is another: uncordoned, labelled, rid of a taint.

        And those whose guests run, where it says that it has another QEMU.
        """
        if item.name != self._context.node_name:
            return
        former, self._emulator = self._emulator, digest_of(item.object())
        for machine in self._machines.items():
            waits = (machine.object().get("status") or {}).get("phase") in (None, "", VirtualMachinePhase.PENDING)
            if waits or (former != self._emulator and machine.uid in self._context.hypervisor.last_known):
                yield Key(machine.namespace, machine.name)

    def _of_secret(self, item: Item) -> Iterable[Key]:
        """Machines of the namespace that wait for their user data or answers."""
        for machine in self._machines.items():
            secret = provisioning.reference(machine.object()["spec"].get("provisioning"))
            if (machine.namespace, secret) == (item.namespace, item.name):
                yield Key(machine.namespace, machine.name)

    def _of_attachment(self, item: Item[VirtualMachineBlockDeviceAttachment]) -> Iterable[Key]:
        """Its machine, and those whose own attachment of the device may have its turn now."""
        attachment = item.object()
        names = {one["spec"]["virtualMachineName"] for one in (attachment, *self._attachments.beside(attachment))}
        return [Key(item.namespace, name) for name in names]

    def plugs(self) -> Plugs:
        """What attachments are judged by."""

        def holds(machine: VirtualMachine, attachment: str) -> bool:
            domain = self._context.hypervisor.last_known.get(machine["metadata"]["uid"])
            devices = applied.decode(domain.applied).devices if domain is not None and domain.active else ()
            return any(held.get("attachment") == attachment for held in devices)

        return Plugs(lambda machine: self.queue.busy(machine_key(machine)), holds, self._hotplug.trouble)

    def _on_domain(self, uid: str, event: DomainEvent) -> None:
        if event.kind is EventKind.REBOOTED:
            self._rebooted.add(uid)
        for item in self._machines.by_index(usage.UID_INDEX, uid):
            self.enqueue(Key(item.namespace, item.name))

    def _on_connection(self, connected: bool) -> None:
        if connected:
            for item in self._machines.items():
                self.enqueue(Key(item.namespace, item.name))

    async def reconcile(self, key: Key) -> Result | None:
        before = self._machines.get(*key)
        if before is None:
            return None
        if not self._context.ownership.runs(before):
            return await self._elsewhere.look(before)
        before = await add_finalizer(self._context.store, VIRTUAL_MACHINE, before)
        try:
            domain = await self._context.hypervisor.info(before["metadata"]["uid"])
        except ServiceUnavailable:
            return await self._without_libvirt(before, _looked_at(before))
        standing = self._fence.judge(before, domain)
        if standing.refused and domain is not None:
            self._fence.refuse(before, standing, domain)
            await self._instances.keep_link(domain)
            return Result(_REFUSED_SECONDS)
        if standing.holding is Holding.OUTGOING:
            return await self._on_its_way(before, domain)
        domain = await self._fence.part(standing, domain)
        before, domain = await self._fence.hold(before, domain)
        if self._moves is not None:
            await self._moves.attend(before)
            if domain is not None and domain.active and await self._moves.begin(before, domain):
                return Result(_MOVE_LOOK_SECONDS)
        machine = _looked_at(before)
        if domain is None and standing.holding is Holding.NONE:
            machine["status"]["holder"] = self._fence.taken(standing, None)
        if before["metadata"].get("deletionTimestamp"):
            result = await self._ends.delete(before, machine, domain)
            if result is None:
                self._forget(before["metadata"]["uid"])
            return result
        built = networks_built(self._context.network.serves) | (MIGRATION_BUILT if self._moves else frozenset())
        name_unbuilt_fields(VIRTUAL_MACHINE, machine, built=built)
        found = await self._resolver.resolve(machine, lambda: self.enqueue(key))
        status.show_address(machine, found)
        self._seized.show(machine)
        decision = decide(situation := self._situation(machine, domain))
        pod, active = _pod_of(domain), domain is not None and domain.active
        await self._placement.keep(machine, pod, active=active)
        if domain is not None and active and await self._placement.is_leaving(machine, pod):
            return await self._ends.displace(before, machine, domain, found)
        if decision.action is Action.START:
            return await self._starts.start(before, machine, domain, found, decision)
        if decision.action in (Action.STOP, Action.KILL) and domain is not None:
            force = decision.action is Action.KILL
            return await self._ends.stop(before, machine, domain, found, force=force, by=situation.operation)
        if domain is not None and domain.active:
            return await self._keep(before, machine, domain, found)
        return await self._rest(before, machine, domain, found, decision)

    async def _on_its_way(self, before: VirtualMachine, domain: DomainInfo | None) -> Result | None:
        """The guest goes to another node: until that has ended nothing else is done to it."""
        if domain is not None and domain.active:
            await self._placement.keep(before, _pod_of(domain), active=True)
            await self._instances.keep_link(domain)
        if self._moves is not None:
            self._moves.carry(before, lambda: self.enqueue(machine_key(before)))
        return Result(_OUTGOING_SECONDS)

    def _situation(self, machine: VirtualMachine, domain: DomainInfo | None) -> Situation:
        meta = machine["metadata"]
        active = domain is not None and domain.active
        reason = OffReason.UNKNOWN
        carried = applied.decode(domain.applied) if domain is not None else applied.Applied()
        if domain is not None and not active:
            reason = OffReason(domain.reason) if domain.reason in list(OffReason) else OffReason.UNKNOWN
            if domain.state is DomainState.CRASHED:
                reason = OffReason.CRASHED
        return Situation(
            policy=machine["spec"].get("runPolicy") or RunPolicy.ALWAYS_ON_UNLESS_STOPPED_MANUALLY,
            phase=machine["status"].get("phase", ""),
            told_off=status.is_told_off(machine),
            defined=domain is not None,
            active=active,
            off_reason=reason,
            operation=operations.active_operation(self._operations, meta["namespace"], meta["name"]),
            domain_operation=carried.operation,
            restarting=carried.restarting,
            displaced=carried.displaced,
        )

    async def _without_libvirt(self, before: VirtualMachine, machine: VirtualMachine) -> Result | None:
        """Dependencies may still be told; the phase stays what it was."""
        if machine["status"].get("phase") in (None, "", VirtualMachinePhase.PENDING):
            found = await self._resolver.resolve(machine, lambda: self.enqueue(machine_key(before)))
            found.blocked = f"libvirt does not answer on node {self._context.node_name}."
            status.show_absence(
                machine, self._instances.observe(machine, None, found), VirtualMachinePhase.PENDING
            )
            await update_status(self._context.store, VIRTUAL_MACHINE, before, machine)
        return Result(_LIBVIRT_RETRY_SECONDS)

    async def _keep(
        self, before: VirtualMachine, machine: VirtualMachine, domain: DomainInfo, found: Dependencies
    ) -> Result | None:
        """A living domain: its links are there, its status is true, its pending changes find their moment."""
        if domain.uid not in self._rebooted:
            domain = await self._instances.settle(domain)
        leaves = self._moves is not None and self._moves.wanted(before)
        domain = await self._hotplug.settle(machine, domain, found, leaves=leaves)
        observed = await self._instances.keep(machine, domain, found)
        if domain.state is DomainState.SHUTDOWN:
            return Result(1.0)
        if machine["status"].get("phase") == VirtualMachinePhase.STOPPING:
            # A stop that was taken back, by policy or by the end of its operation.
            status.set_phase(machine, VirtualMachinePhase.RUNNING)
        networking.show_cut_off(machine, self._placement.cut_off(domain.uid))
        movable = None if self._moves is None else self._moves.movable(machine, domain)
        status.show_instance(machine, observed, movable)
        status.show_firmware(machine, await outdated(self._context, domain, moves=self._moves is not None))
        if leaves:
            self.queue.add_after(machine_key(before), _MOVE_LOOK_SECONDS)
        status.time_start(machine)
        guest = self._guests.info(domain, lambda: self.enqueue(machine_key(before)))
        status.show_guest(machine, guest)
        pending = machine["status"].get("restartAwaitingChanges")
        if domain.uid in self._rebooted:
            if pending and not found.blocked:
                return await self._starts.recreate(before, machine, domain, found)
            self._rebooted.discard(domain.uid)
            if status.show_rebooted(machine):
                self._event(machine, "Normal", "Restarted", "The guest rebooted itself.")
        await update_status(self._context.store, VIRTUAL_MACHINE, before, machine)
        if pending:
            left = await restart_if_approved(self._context.store, self._operations, before)
            if left is not None:
                self.queue.add_after(machine_key(before), left)
            if pending != (before.get("status") or {}).get("restartAwaitingChanges"):
                self._event(machine, "Normal", "RestartAwaitingChanges", status.awaited(pending))
        if domain.state is DomainState.PAUSED and domain.reason == "ioerror":
            await self._instances.resume_if_space(machine, domain)
            return Result(_RESUME_SECONDS)
        if self._hotplug.troubled(domain.uid):
            return Result(HOTPLUG_SECONDS)
        if domain.agent_connected:
            return Result(RETRY_SECONDS) if guest is None else None
        age = status.since_start(machine) or 0.0
        # A firmware tells nobody that it found nothing to boot from; it takes some seconds to see that.
        return Result(max(_BOOT_LOOK_SECONDS, age)) if age < _BOOT_SECONDS else None

    async def _rest(
        self,
        before: VirtualMachine,
        machine: VirtualMachine,
        domain: DomainInfo | None,
        found: Dependencies,
        decision: Decision,
    ) -> Result | None:
        """No living domain, and none wanted."""
        uid = machine["metadata"]["uid"]
        if domain is not None and decision.undefine:
            await self._instances.undefine(await self._fence.require(before, Act.REMOVE, domain))
        was = machine["status"].get("phase")
        # One that was never on, and was not told to be off, is Stopped once it could be started.
        untried = domain is None and was in _UNTRIED and not decision.told_off
        waits = bool(found.blocked) and untried
        if was != VirtualMachinePhase.STOPPED:
            await self._instances.unlink(uid)
            await self._instances.detach(machine)
        if waits and found.settling and not was:
            return None  # a status that says so would be one more durable write for each machine
        stopped = decision.rests_stopped and not waits
        phase = VirtualMachinePhase.STOPPED if stopped else VirtualMachinePhase.PENDING
        observed = self._instances.observe(machine, None, found)
        status.show_absence(machine, observed, phase, told_off=decision.told_off)
        await update_status(self._context.store, VIRTUAL_MACHINE, before, machine)
        if was in _STALE_PHASES:
            self._event(machine, "Normal", "Stopped", "The virtual machine is off.")
        return None

    def _forget(self, uid: str) -> None:
        self._rebooted.discard(uid)
        self._fence.forget(uid)
        self._elsewhere.forget(uid)
        self._starts.forget(uid)
        self._guests.forget(uid)
        self._hotplug.forget(uid)

    def _event(self, machine: VirtualMachine, level: EventLevel, reason: str, message: str) -> None:
        self._context.events.event(machine, level, reason, message)


def _pod_of(domain: DomainInfo | None) -> str:
    return "" if domain is None else applied.decode(domain.applied).pod


def _looked_at(before: VirtualMachine) -> VirtualMachine:
    """A copy of the machine, whose status says that its spec was seen."""
    machine = copy.deepcopy(before)
    machine.setdefault("status", {})["observedGeneration"] = before["metadata"]["generation"]
    return machine


def _of_address(item: Item[VirtualMachineIPAddress]) -> Iterable[Key]:
    obj = item.object()
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("kind") == VIRTUAL_MACHINE.kind:
            yield Key(item.namespace, owner["name"])
    user = (obj.get("status") or {}).get("virtualMachineName")
    if user:
        yield Key(item.namespace, user)
