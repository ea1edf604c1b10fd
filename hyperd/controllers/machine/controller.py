"""VirtualMachine: from its dependencies to a running domain and back.

Each reconcile looks at the object, its dependencies and the domain, decides the one next step, takes it and writes
what is then true. A VM keeps its phase while libvirt is down.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hyperd.controllers import operation as operations
from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.duty import machine_node
from hyperd.controllers.machine import applied, status
from hyperd.controllers.machine.dependencies import Dependencies, Resolver, machine_key
from hyperd.controllers.machine.guest import RETRY_SECONDS, Guests
from hyperd.controllers.machine.instance import Instances
from hyperd.controllers.machine.power import Action, Decision, OffReason, Situation, decide
from hyperd.controllers.unbuilt import name_unbuilt_fields
from hyperd.errors import AlreadyExists, HyperdError, ServiceUnavailable, TemporaryError
from hyperd.hypervisor.state import DomainEvent, DomainInfo, DomainState, EventKind
from hyperd.resources import names
from hyperd.resources.all import (
    CLUSTER_VIRTUAL_IMAGE,
    SECRET,
    VIRTUAL_DISK,
    VIRTUAL_IMAGE,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_CLASS,
    VIRTUAL_MACHINE_IP_ADDRESS,
    VIRTUAL_MACHINE_OPERATION,
)
from hyperd.resources.kind import Kind, Object
from hyperd.resources.meta import owner_reference, parse_time
from hyperd.runtime.controller import Controller, Key, Mapper, Result
from hyperd.runtime.recorder import EventLevel
from hyperd.runtime.status import RACE, add_finalizer, remove_finalizer, update_status
from hyperd.store.interface import Item

_log = logging.getLogger(__name__)
_LIBVIRT_RETRY_SECONDS = 2.0
_WAIT_SECONDS = 10.0
_RESUME_SECONDS = 5.0
_SHUTDOWN_AGAIN_SECONDS = 10.0
_RESTART_PAUSE_SECONDS = 5.0
_BOOT_LOOK_SECONDS = 3.0
_BOOT_SECONDS = 60.0
_STALE_PHASES = ("Starting", "Running", "Stopping", "Pause")


@dataclass(frozen=True)
class _FailedStart:
    """A start that libvirt refused. The status that says so wakes the controller, which must not try at once."""

    generation: int
    operation: str
    until: float

    def repeats(self, machine: Object, decision: Decision) -> bool:
        """Whether to start now would be the same attempt, too soon."""
        same = (self.generation, self.operation) == (machine["metadata"]["generation"], decision.operation)
        return same and time.monotonic() < self.until


class MachineController(Controller):
    """Starts, keeps, stops and removes machines."""

    name = "virtualmachine"
    kind = VIRTUAL_MACHINE
    workers = 8

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._operations = context.informer(VIRTUAL_MACHINE_OPERATION)
        usage.index_machines(self._machines)
        self._machines.add_index(usage.UID_INDEX, usage.uid_of)
        operations.index_operations(self._operations)
        self._resolver = Resolver(context)
        self._instances = Instances(context, self._machines)
        self._guests = Guests(context.hypervisor)
        self._rebooted: set[str] = set()
        self._refused: dict[str, _FailedStart] = {}
        context.hypervisor.on_domain(self._on_domain)
        context.hypervisor.on_connection(self._on_connection)

    def watches(self) -> Mapping[Kind, Mapper]:
        found: dict[Kind, Mapper] = {
            kind: usage.machine_keys(self._machines, kind)
            for kind in (VIRTUAL_DISK, VIRTUAL_IMAGE, CLUSTER_VIRTUAL_IMAGE)
        }
        found[VIRTUAL_MACHINE_CLASS] = self._of_class
        found[VIRTUAL_MACHINE_IP_ADDRESS] = _of_address
        found[VIRTUAL_MACHINE_OPERATION] = _of_operation
        found[SECRET] = self._of_secret
        return found

    async def close(self) -> None:
        """Stop what goes on beside the queue."""
        await self._resolver.close()
        await self._guests.close()

    def _of_class(self, item: Item) -> Iterable[Key]:
        return [Key(vm.namespace, vm.name) for vm in self._machines.by_index(usage.CLASS_INDEX, item.name)]

    def _of_secret(self, item: Item) -> Iterable[Key]:
        """Machines of the namespace that wait for their user data."""
        for machine in self._machines.items():
            if machine.namespace == item.namespace:
                ref = (machine.object()["spec"].get("provisioning") or {}).get("userDataRef") or {}
                if ref.get("name") == item.name:
                    yield Key(machine.namespace, machine.name)

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
        if not self._context.duty.runs(before):
            return await self._elsewhere(before)
        before = await add_finalizer(self._context.store, VIRTUAL_MACHINE, before, names.VM_CLEANUP)
        machine = copy.deepcopy(before)
        machine.setdefault("status", {})["observedGeneration"] = before["metadata"]["generation"]
        try:
            domain = await self._context.hypervisor.info(before["metadata"]["uid"])
        except ServiceUnavailable:
            return await self._without_libvirt(before, machine)
        if before["metadata"].get("deletionTimestamp"):
            return await self._delete(before, machine, domain)
        name_unbuilt_fields(VIRTUAL_MACHINE, machine)
        found = await self._resolver.resolve(machine, lambda: self.enqueue(key))
        status.show_address(machine, found)
        decision = decide(self._situation(machine, domain))
        if decision.action is Action.START:
            failed = self._refused.get(machine["metadata"]["uid"])
            if failed is not None and failed.repeats(machine, decision):
                return Result(failed.until - time.monotonic())
            pause = self._pause_before(machine, domain, decision)
            if pause > 0:
                return await self._hold(before, machine, found, pause)
            return await self._start(before, machine, found, decision)
        if decision.action in (Action.STOP, Action.KILL) and domain is not None:
            return await self._stop(before, machine, domain, found, force=decision.action is Action.KILL)
        if domain is not None and domain.active:
            return await self._keep(before, machine, domain, found)
        return await self._rest(before, machine, domain, found, decision)

    async def _elsewhere(self, machine: Object) -> Result | None:
        """Another node's machine, or nobody's yet. What this host has of one that was bound anew must end."""
        uid, node = machine["metadata"]["uid"], machine_node(machine)
        domain = self._context.hypervisor.last_known.get(uid)
        if domain is None or not node:
            return None
        _log.warning("Machine %s is bound to node %s: ending what is left of it here.", machine_key(machine), node)
        if domain.active:
            await self._context.hypervisor.destroy(uid)
        await self._instances.remove(uid, defined=True)
        return None

    def _situation(self, machine: Object, domain: DomainInfo | None) -> Situation:
        meta = machine["metadata"]
        active = domain is not None and domain.active
        reason = OffReason.UNKNOWN
        if domain is not None and not active:
            reason = OffReason(domain.reason) if domain.reason in list(OffReason) else OffReason.UNKNOWN
            if domain.state is DomainState.CRASHED:
                reason = OffReason.CRASHED
        return Situation(
            policy=machine["spec"].get("runPolicy") or "AlwaysOnUnlessStoppedManually",
            phase=machine["status"].get("phase", ""),
            defined=domain is not None,
            active=active,
            off_reason=reason,
            operation=operations.active_operation(self._operations, meta["namespace"], meta["name"]),
            domain_operation=applied.decode(domain.spec_hash).operation if domain is not None else "",
        )

    def _pause_before(self, machine: Object, domain: DomainInfo | None, decision: Decision) -> float:
        """Seconds to wait before a machine that went down right after its start is started again."""
        started = (machine["status"].get("stats") or {}).get("lastStartTime")
        if domain is None or decision.operation or not started:
            return 0.0
        return _RESTART_PAUSE_SECONDS - (time.time() - parse_time(started).timestamp())

    async def _hold(self, before: Object, machine: Object, found: Dependencies, seconds: float) -> Result | None:
        found.blocked = "The guest went down right after its start; starting it again in a moment."
        status.show_absence(machine, self._instances.observe(machine, None, found), "Pending")
        await update_status(self._context.store, VIRTUAL_MACHINE, before, machine)
        return Result(seconds)

    async def _without_libvirt(self, before: Object, machine: Object) -> Result | None:
        """Dependencies may still be told; the phase stays what it was."""
        if machine["status"].get("phase") in (None, "", "Pending"):
            found = await self._resolver.resolve(machine, lambda: self.enqueue(machine_key(before)))
            found.blocked = f"libvirt does not answer on node {self._context.node_name}."
            status.show_absence(machine, self._instances.observe(machine, None, found), "Pending")
            await update_status(self._context.store, VIRTUAL_MACHINE, before, machine)
        return Result(_LIBVIRT_RETRY_SECONDS)

    async def _start(
        self, before: Object, machine: Object, found: Dependencies, decision: Decision
    ) -> Result | None:
        unfit = "" if found.blocked else await self._instances.unfit(machine)
        clash = "" if found.blocked or unfit else self._instances.claim(machine, found)
        if found.blocked or unfit or clash:
            if found.settling and not (before.get("status") or {}).get("phase"):
                # A status that says so would be one more durable write for each machine.
                return None
            found.block(clash)
            observed = self._instances.observe(machine, None, found, unfit=unfit)
            status.show_absence(machine, observed, "Pending")
            await update_status(self._context.store, VIRTUAL_MACHINE, before, machine)
            return Result(_WAIT_SECONDS)
        try:
            return await self._start_claimed(before, machine, found, decision)
        finally:
            self._instances.release(machine)

    async def _start_claimed(
        self, before: Object, machine: Object, found: Dependencies, decision: Decision
    ) -> Result | None:
        status.show_absence(machine, self._instances.observe(machine, None, found), "Starting")
        stored = await update_status(self._context.store, VIRTUAL_MACHINE, before, machine)
        if stored is before:
            await self._make_sure(before)
        machine = copy.deepcopy(stored)
        try:
            domain, observed = await self._instances.start(machine, found, operation=decision.operation)
        except ServiceUnavailable:
            raise
        except HyperdError as err:
            observed = self._instances.observe(machine, None, found, failure=err.message)
            status.show_absence(machine, observed, "Pending")
            await update_status(self._context.store, VIRTUAL_MACHINE, stored, machine)
            self._event(machine, "Warning", "Failed", err.message)
            meta = machine["metadata"]
            until = time.monotonic() + _WAIT_SECONDS
            self._refused[meta["uid"]] = _FailedStart(meta["generation"], decision.operation, until)
            raise TemporaryError(f"The machine cannot be started: {err.message}", delay=_WAIT_SECONDS) from err
        self._refused.pop(domain.uid, None)
        status.show_started(machine)
        status.show_instance(machine, observed)
        self._rebooted.discard(domain.uid)
        await update_status(self._context.store, VIRTUAL_MACHINE, stored, machine)
        reason = "Restarted" if self._restarts(machine, decision) else "Started"
        self._event(machine, "Normal", reason, f"The virtual machine runs on node {self._context.node_name}.")
        return None

    def _restarts(self, machine: Object, decision: Decision) -> bool:
        meta = machine["metadata"]
        operation = operations.active_operation(self._operations, meta["namespace"], meta["name"])
        return operation is not None and operation.uid == decision.operation and operation.type == "Restart"

    async def _make_sure(self, machine: Object) -> None:
        """Where no write proved it: the machine is still as it was seen, and so still this node's."""
        key = machine_key(machine)
        item = await self._context.store.get(VIRTUAL_MACHINE, *key)
        if item.resource_version != machine["metadata"]["resourceVersion"]:
            raise TemporaryError(f"VirtualMachine {key} changed before its start; looking again.", key=RACE)

    async def _keep(
        self, before: Object, machine: Object, domain: DomainInfo, found: Dependencies
    ) -> Result | None:
        """A living domain: its links are there, its status is true, its pending changes find their moment."""
        observed = await self._instances.keep(machine, domain, found)
        if domain.state is DomainState.SHUTDOWN:
            return Result(1.0)
        if machine["status"].get("phase") == "Stopping":
            # A stop that was taken back, by policy or by the end of its operation.
            status.set_phase(machine, "Running")
        status.show_instance(machine, observed)
        if "lastStartTime" not in machine["status"].get("stats", {}):
            status.show_started(machine)
        guest = self._guests.info(domain, lambda: self.enqueue(machine_key(before)))
        status.show_guest(machine, guest)
        pending = machine["status"].get("restartAwaitingChanges")
        if domain.uid in self._rebooted:
            self._rebooted.discard(domain.uid)
            if pending and not found.blocked:
                return await self._recreate(before, machine, domain, found)
            if status.show_rebooted(machine):
                self._event(machine, "Normal", "Restarted", "The guest rebooted itself.")
        await update_status(self._context.store, VIRTUAL_MACHINE, before, machine)
        if pending:
            await self._restart_if_approved(before)
            if pending != (before.get("status") or {}).get("restartAwaitingChanges"):
                self._event(machine, "Normal", "RestartAwaitingChanges", status.awaited(pending))
        if domain.state is DomainState.PAUSED and domain.reason == "ioerror":
            await self._instances.resume_if_space(domain)
            return Result(_RESUME_SECONDS)
        if domain.agent_connected:
            return Result(RETRY_SECONDS) if guest is None else None
        age = time.time() - parse_time(machine["status"]["stats"]["lastStartTime"]).timestamp()
        # A firmware tells nobody that it found nothing to boot from; it takes some seconds to see that.
        return Result(max(_BOOT_LOOK_SECONDS, age)) if age < _BOOT_SECONDS else None

    async def _recreate(
        self, before: Object, machine: Object, domain: DomainInfo, found: Dependencies
    ) -> Result | None:
        """The guest rebooted while changes waited: the reboot is their moment."""
        operation = applied.decode(domain.spec_hash).operation
        await self._context.hypervisor.destroy(domain.uid)
        self._event(machine, "Normal", "ChangesApplied", "The guest's reboot applied the pending changes.")
        return await self._start_claimed(before, machine, found, Decision(Action.START, operation=operation))

    async def _restart_if_approved(self, machine: Object) -> None:
        """restartApprovalMode Automatic: one restart for one generation, asked for as a user would."""
        if (machine["spec"].get("disruptions") or {}).get("restartApprovalMode") != "Automatic":
            return
        meta = machine["metadata"]
        name = f"restart-{meta['uid'][:8]}-{meta['generation']}"
        body: Object = {
            "apiVersion": VIRTUAL_MACHINE_OPERATION.api_version,
            "kind": VIRTUAL_MACHINE_OPERATION.kind,
            "metadata": {
                "namespace": meta["namespace"],
                "name": name,
                "labels": {names.VM_UID_LABEL: meta["uid"]},
                "ownerReferences": [owner_reference(machine, controller=False, block=False)],
            },
            "spec": {"type": "Restart", "virtualMachineName": meta["name"]},
        }
        try:
            await self._context.store.create(VIRTUAL_MACHINE_OPERATION, meta["namespace"], body)
        except AlreadyExists:
            return

    async def _stop(
        self, before: Object, machine: Object, domain: DomainInfo, found: Dependencies, *, force: bool
    ) -> Result | None:
        observed = await self._instances.keep(machine, domain, found)
        status.set_phase(machine, "Stopping")
        status.show_instance(machine, observed)
        stored = await update_status(self._context.store, VIRTUAL_MACHINE, before, machine)
        return await self._end_domain(stored, domain, force=force, since=status.entered(stored, "Stopping"))

    async def _end_domain(self, machine: Object, domain: DomainInfo, *, force: bool, since: str) -> Result | None:
        """Ask the guest until its grace is over, then end it. ``since`` is when it was first asked."""
        grace = machine["spec"].get("terminationGracePeriodSeconds", 60)
        asked = parse_time(since).timestamp() if since else time.time()
        left = asked + grace - time.time()
        if force or left <= 0 or domain.state is DomainState.PAUSED:
            await self._context.hypervisor.destroy(domain.uid)
            return Result(0.05)
        await self._context.hypervisor.shutdown(domain.uid)
        return Result(min(left + 0.1, _SHUTDOWN_AGAIN_SECONDS))

    async def _rest(
        self,
        before: Object,
        machine: Object,
        domain: DomainInfo | None,
        found: Dependencies,
        decision: Decision,
    ) -> Result | None:
        """No living domain, and none wanted."""
        uid = machine["metadata"]["uid"]
        if domain is not None and decision.undefine:
            await self._context.hypervisor.undefine(uid)
        was = machine["status"].get("phase")
        if was != "Stopped":
            await self._instances.unlink(uid)
        phase = "Stopped" if decision.rests_stopped else "Pending"
        status.show_absence(machine, self._instances.observe(machine, None, found), phase)
        await update_status(self._context.store, VIRTUAL_MACHINE, before, machine)
        if was in _STALE_PHASES:
            self._event(machine, "Normal", "Stopped", "The virtual machine is off.")
        return None

    async def _delete(self, before: Object, machine: Object, domain: DomainInfo | None) -> Result | None:
        meta = before["metadata"]
        if status.set_phase(machine, "Terminating"):
            before = await update_status(self._context.store, VIRTUAL_MACHINE, before, machine)
        if domain is not None and domain.active:
            result = await self._end_domain(before, domain, force=False, since=meta["deletionTimestamp"])
            return result or Result(1.0)
        await self._instances.remove(meta["uid"], defined=domain is not None)
        self._rebooted.discard(meta["uid"])
        self._refused.pop(meta["uid"], None)
        self._guests.forget(meta["uid"])
        await remove_finalizer(self._context.store, VIRTUAL_MACHINE, before, names.VM_CLEANUP)
        return None

    def _event(self, machine: Object, level: EventLevel, reason: str, message: str) -> None:
        self._context.events.event(machine, level, reason, message)


def _of_address(item: Item) -> Iterable[Key]:
    obj = item.object()
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("kind") == VIRTUAL_MACHINE.kind:
            yield Key(item.namespace, owner["name"])
    user = (obj.get("status") or {}).get("virtualMachineName")
    if user:
        yield Key(item.namespace, user)


def _of_operation(item: Item) -> Iterable[Key]:
    yield Key(item.namespace, item.object()["spec"].get("virtualMachineName", ""))
