"""The start of a machine's instance: when it may be tried, what it claims, and what the status says of it.

A start that libvirt refused is not tried again at once, and a guest that went down right after its start gets a
pause; both are told. What has no room waits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hyperd import clock
from hyperd.controllers.context import Context
from hyperd.controllers.machine import applied, operations, status
from hyperd.controllers.machine.dependencies import Dependencies
from hyperd.controllers.machine.fence import Fence
from hyperd.controllers.machine.holders import require_unread
from hyperd.controllers.machine.holding import Act
from hyperd.controllers.machine.instance import Instances
from hyperd.controllers.machine.power import Action, Decision
from hyperd.controllers.placement.interface import TOLD, Placement
from hyperd.crashpoints import CrashPoint, reached
from hyperd.errors import HyperdError, QuotaExceeded, ServiceUnavailable, TemporaryError
from hyperd.hypervisor.state import DomainInfo
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE, VIRTUAL_MACHINE_OPERATION
from hyperd.resources.kinds.virtual_machine_operation import OperationType
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.runtime.controller import Result
from hyperd.runtime.status import update_status

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine

_WAIT_SECONDS = 10.0
_RESTART_PAUSE_SECONDS = 5.0
_MOMENT_SECONDS = 0.05


@dataclass(frozen=True)
class _FailedStart:
    """A start that libvirt refused. The status that says so wakes the controller, which must not try at once."""

    generation: int
    operation: str
    until: float

    def repeats(self, machine: VirtualMachine, decision: Decision) -> bool:
        """Whether to start now would be the same attempt, too soon."""
        same = (self.generation, self.operation) == (machine["metadata"]["generation"], decision.operation)
        return same and clock.elapsed() < self.until


class Startup:
    """Starts machines. ``started`` is told the uid of each instance once it lives."""

    def __init__(
        self,
        context: Context,
        instances: Instances,
        fence: Fence,
        placement: Placement,
        *,
        started: Callable[[str], None],
    ) -> None:
        self._context = context
        self._instances = instances
        self._fence = fence
        self._placement = placement
        self._operations = context.informer(VIRTUAL_MACHINE_OPERATION)
        self._started = started
        self._refused: dict[str, _FailedStart] = {}

    async def start(
        self,
        before: VirtualMachine,
        machine: VirtualMachine,
        domain: DomainInfo | None,
        found: Dependencies,
        decision: Decision,
    ) -> Result | None:
        """Start the machine if nothing is in the way; else write what is, and say when to look again."""
        failed = self._refused.get(machine["metadata"]["uid"])
        if failed is not None and failed.repeats(machine, decision):
            return Result(failed.until - clock.elapsed())
        pause = _pause_before(machine, domain, decision)
        if pause > 0:
            found.blocked = "The guest went down right after its start; starting it again in a moment."
            await self._wait(before, machine, found)
            return Result(pause)
        unfit = "" if found.blocked or found.class_ is None else await self._placement.take(machine, found.class_)
        clash = "" if found.blocked or unfit else self._instances.claim(machine, found)
        if found.blocked or unfit or clash:
            self._placement.release(machine)
            if found.settling and not (before.get("status") or {}).get("phase"):
                # A status that says so would be one more durable write for each machine.
                return None
            found.block(clash)
            if domain is not None and not domain.active:
                # A guest that begins anew may do so elsewhere: what it had is to be free for that.
                await self._instances.detach(machine)
            await self._wait(before, machine, found, unfit=unfit)
            return Result(_WAIT_SECONDS)
        try:
            if domain is not None and decision.operation:
                reached(CrashPoint.VM_BETWEEN_RESTART)
            return await self._start_claimed(before, machine, domain, found, decision)
        finally:
            self._release(machine)

    async def recreate(
        self, before: VirtualMachine, machine: VirtualMachine, domain: DomainInfo, found: Dependencies
    ) -> Result | None:
        """The guest rebooted while changes waited: the reboot is their moment.

        Why it is started again stands in the domain before it ends, whatever happens to this daemon.
        """
        running = applied.decode(domain.applied)
        clash = self._instances.claim(machine, found)
        if clash:
            raise TemporaryError(clash)
        fits = self._placement.retake(machine, found.class_)
        try:
            warrant = await self._fence.require(before, Act.END, domain)
            await self._context.hypervisor.mark(
                replace(domain, applied=replace(running, restarting=True).encode())
            )
            reached(CrashPoint.VM_BEFORE_RECREATE)
            await self._instances.end(warrant)
            reached(CrashPoint.VM_BETWEEN_REBOOT)
            self._context.events.event(
                machine, "Normal", "ChangesApplied", "The guest's reboot applied the pending changes."
            )
            if not fits:
                return Result(_MOMENT_SECONDS)
            decision = Decision(Action.START, operation=running.operation, restarting=True)
            return await self._start_claimed(before, machine, domain, found, decision)
        finally:
            self._release(machine)

    def forget(self, uid: str) -> None:
        """The machine is gone."""
        self._refused.pop(uid, None)

    def _release(self, machine: VirtualMachine) -> None:
        """End the moment of the start: from now on its domain is the claim, or there is none."""
        self._instances.release(machine)
        self._placement.release(machine)

    async def _wait(
        self, before: VirtualMachine, machine: VirtualMachine, found: Dependencies, *, unfit: str = ""
    ) -> None:
        status.show_absence(
            machine, self._instances.observe(machine, None, found, unfit=unfit), VirtualMachinePhase.PENDING
        )
        if unfit == TOLD:
            status.keep_told(before, machine)
        await update_status(self._context.store, VIRTUAL_MACHINE, before, machine)

    async def _start_claimed(
        self,
        before: VirtualMachine,
        machine: VirtualMachine,
        domain: DomainInfo | None,
        found: Dependencies,
        decision: Decision,
    ) -> Result | None:
        waiting = copy.deepcopy(machine)
        status.show_absence(machine, self._instances.observe(machine, None, found), VirtualMachinePhase.STARTING)
        if (record := machine["status"].get("holder")) is not None:
            record.pop("fenced", None)  # nothing guards the next guest yet
        try:
            stored = await update_status(self._context.store, VIRTUAL_MACHINE, before, machine)
        except QuotaExceeded as err:
            observed = self._instances.observe(waiting, None, found, quota=err.message)
            status.show_absence(waiting, observed, VirtualMachinePhase.PENDING)
            await update_status(self._context.store, VIRTUAL_MACHINE, before, waiting)
            return Result(_WAIT_SECONDS)
        # What comes back as it was given was not written: nothing differed, or the machine is gone.
        written = stored is not before and stored is not machine
        await self._fence.require(stored, Act.START, domain, sure=written)
        machine = copy.deepcopy(stored)
        try:
            disks = [device.name for device in found.devices if device.kind == VIRTUAL_DISK.kind]
            await require_unread(self._context, machine["metadata"]["namespace"], disks)
            started, observed = await self._instances.start(
                machine,
                found,
                operation=decision.operation,
                quarters=self._placement.quarters(machine),
                restarting=decision.restarting,
            )
        except ServiceUnavailable:
            raise
        except HyperdError as err:
            await self._tell_refusal(stored, machine, found, decision, err)
            raise TemporaryError(f"The machine cannot be started: {err.message}", delay=_WAIT_SECONDS) from err
        self._refused.pop(started.uid, None)
        status.show_started(machine)
        status.show_instance(machine, observed)
        self._started(started.uid)
        await update_status(self._context.store, VIRTUAL_MACHINE, stored, machine)
        reason = "Restarted" if self._restarts(machine, decision) else "Started"
        message = f"The virtual machine runs on node {self._context.node_name}."
        self._context.events.event(machine, "Normal", reason, message)
        return None

    async def _tell_refusal(
        self,
        stored: VirtualMachine,
        machine: VirtualMachine,
        found: Dependencies,
        decision: Decision,
        err: HyperdError,
    ) -> None:
        domain = await self._context.hypervisor.info(machine["metadata"]["uid"])
        if domain is None or not domain.active:
            await self._instances.detach(machine)
        observed = self._instances.observe(machine, None, found, failure=err.message)
        status.show_absence(machine, observed, VirtualMachinePhase.PENDING)
        await update_status(self._context.store, VIRTUAL_MACHINE, stored, machine)
        self._context.events.event(machine, "Warning", "Failed", err.message)
        meta, until = machine["metadata"], clock.elapsed() + _WAIT_SECONDS
        self._refused[meta["uid"]] = _FailedStart(meta["generation"], decision.operation, until)

    def _restarts(self, machine: VirtualMachine, decision: Decision) -> bool:
        meta = machine["metadata"]
        operation = operations.active_operation(self._operations, meta["namespace"], meta["name"])
        return (
            operation is not None
            and operation.uid == decision.operation
            and operation.type == OperationType.RESTART
        )


def _pause_before(machine: VirtualMachine, domain: DomainInfo | None, decision: Decision) -> float:
    """Seconds to wait before a machine that went down right after its start is started again."""
    ago = status.since_start(machine)
    if domain is None or decision.operation or decision.restarting or ago is None:
        return 0.0
    return _RESTART_PAUSE_SECONDS - ago
