"""The end of a machine's instance: asked for by policy or operation, or with the machine itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hyperd.controllers.context import Context
from hyperd.controllers.machine import applied, status
from hyperd.controllers.machine.dependencies import Dependencies
from hyperd.controllers.machine.fence import Fence, Warrant
from hyperd.controllers.machine.holding import Act
from hyperd.controllers.machine.instance import Instances
from hyperd.controllers.machine.operations import phase_of
from hyperd.controllers.machine.power import ActiveOperation
from hyperd.crashpoints import CrashPoint, reached
from hyperd.errors import ServiceUnavailable, TemporaryError
from hyperd.hypervisor.state import DomainInfo, DomainState
from hyperd.resources.all import VIRTUAL_MACHINE, VIRTUAL_MACHINE_OPERATION
from hyperd.resources.kinds.virtual_machine_operation import OperationPhase
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.runtime.controller import Result
from hyperd.runtime.status import RACE, RACE_DELAY_SECONDS, remove_finalizer, update_status

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine

_SHUTDOWN_AGAIN_SECONDS = 10.0


class Shutdown:
    """Stops machines, and removes them."""

    def __init__(self, context: Context, instances: Instances, fence: Fence) -> None:
        self._context = context
        self._instances = instances
        self._fence = fence

    async def stop(
        self,
        before: VirtualMachine,
        machine: VirtualMachine,
        domain: DomainInfo,
        found: Dependencies,
        *,
        force: bool,
        by: ActiveOperation | None,
    ) -> Result:
        """One step of a stop, which policy or the operation ``by`` asks for."""
        observed = await self._instances.keep(machine, domain, found)
        status.set_phase(machine, VirtualMachinePhase.STOPPING)
        status.show_instance(machine, observed)
        status.time_phase(machine)
        stored = await update_status(self._context.store, VIRTUAL_MACHINE, before, machine)
        warrant = await self._require_end(stored, domain, by)
        return await self._end_domain(stored, domain, warrant, force=force)

    async def displace(
        self, before: VirtualMachine, machine: VirtualMachine, domain: DomainInfo, found: Dependencies
    ) -> Result:
        """One step of the end of a guest whose place is taken away: by its policy it begins anew elsewhere.

        That it was nobody's wish stands in the domain before it ends, whatever happens to this daemon.
        """
        carried = applied.decode(domain.applied)
        if not carried.displaced:
            await self._fence.require(before, Act.END, domain)
            domain = replace(domain, applied=replace(carried, displaced=True).encode())
            await self._context.hypervisor.mark(domain)
        return await self.stop(before, machine, domain, found, force=False, by=None)

    async def delete(
        self, before: VirtualMachine, machine: VirtualMachine, domain: DomainInfo | None
    ) -> Result | None:
        """One step of a deletion; None when nothing of the machine is left."""
        status.set_phase(machine, VirtualMachinePhase.TERMINATING)
        before = await update_status(self._context.store, VIRTUAL_MACHINE, before, machine)
        if domain is not None and domain.active:
            warrant = await self._require_end(before, domain, None)
            status.time_phase(machine)
            before = await update_status(self._context.store, VIRTUAL_MACHINE, before, machine)
            return await self._end_domain(before, domain, warrant, force=False)
        warrant = await self._fence.require(before, Act.REMOVE, domain)
        await self._instances.detach(before)
        await self._instances.remove(warrant, defined=domain is not None)
        await remove_finalizer(self._context.store, VIRTUAL_MACHINE, before)
        return None

    async def _require_end(
        self, machine: VirtualMachine, domain: DomainInfo, by: ActiveOperation | None
    ) -> Warrant:
        """A guest ends by what the store says now, not by a copy that lags. Raises TemporaryError."""
        warrant = await self._fence.require(machine, Act.END, domain)
        if by is None:
            return warrant
        namespace = machine["metadata"]["namespace"]
        operation = await self._context.store.find(VIRTUAL_MACHINE_OPERATION, namespace, by.name)
        if (
            operation is None
            or operation["metadata"]["uid"] != by.uid
            or phase_of(operation) != OperationPhase.IN_PROGRESS
        ):
            message = f"Operation {namespace}/{by.name} is no longer in progress; looking again."
            raise TemporaryError(message, key=RACE, delay=RACE_DELAY_SECONDS)
        return warrant

    async def _end_domain(
        self, machine: VirtualMachine, domain: DomainInfo, warrant: Warrant, *, force: bool
    ) -> Result:
        """Ask the guest until its grace is over, counted from the phase's begin, then end it."""
        left = machine["spec"].get("terminationGracePeriodSeconds", 60) - status.in_phase(machine)
        if force or left <= 0 or domain.state is DomainState.PAUSED:
            await self._instances.end(warrant)
            reached(CrashPoint.VM_AFTER_DESTROY)
            return Result(0.05)
        try:
            await self._context.hypervisor.shutdown(domain.uid)
        except ServiceUnavailable as err:
            # A guest that hangs has its grace, and no more, though each call takes long to fail.
            raise TemporaryError(err.message, delay=min(left + 0.1, _SHUTDOWN_AGAIN_SECONDS)) from err
        return Result(min(left + 0.1, _SHUTDOWN_AGAIN_SECONDS))
