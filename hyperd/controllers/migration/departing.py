"""The part of the node that a guest leaves: it asks for all that is needed there, has the guest sent, and decides.

The record in the machine's status says that the guest is on its way, and to where, before anything is done. What
came of it is read from both nodes: where the guest lives here it stays; where it is off here, and there, it goes
on there. While one of both cannot be asked nothing is decided. The guest arrives stopped, and runs there only once
this node has seen that it is off here; so there is never more than one that runs.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hyperd import clock
from hyperd.background import hear
from hyperd.controllers.context import Context
from hyperd.controllers.jobs import Jobs
from hyperd.controllers.machine import applied, holding
from hyperd.controllers.machine.fence import Fence
from hyperd.controllers.machine.held import serial_of
from hyperd.controllers.machine.holding import Holding, Record
from hyperd.controllers.machine.operations import is_moving
from hyperd.controllers.machine.status import set_phase
from hyperd.controllers.migration.interface import Line, Neighbours, Stage, State, Verb
from hyperd.controllers.migration.parts import (
    asking,
    bytes_of,
    claimed,
    decoded,
    disks_of,
    end,
    ends,
    fresh_of,
    going_on,
    hand_over,
    needed,
    syncing,
    version,
    waits,
    was_tried,
)
from hyperd.controllers.migration.rules import ClusterSlots, slows
from hyperd.controllers.migration.shared import give_to_qemu
from hyperd.controllers.migration.sockets import folder_of, paths_in
from hyperd.controllers.ownership import machine_node
from hyperd.controllers.pod import manifest, reading
from hyperd.controllers.pod.claims import Claims
from hyperd.crashpoints import CrashPoint, reached
from hyperd.errors import HyperdError, NotFound, PermanentError, ServiceUnavailable, TemporaryError
from hyperd.hypervisor.state import Departure, DomainInfo, DomainState
from hyperd.resources.all import POD, VIRTUAL_MACHINE, VIRTUAL_MACHINE_OPERATION
from hyperd.resources.kinds.virtual_machine_conditions import MigratingReason, VirtualMachineCondition
from hyperd.resources.kinds.virtual_machine_operation import CompletedReason
from hyperd.resources.kinds.virtual_machine_status import MigrationResult, VirtualMachinePhase
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import set_condition
from hyperd.resources.values.meta import now_rfc3339
from hyperd.runtime.status import update_status

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_operation import VirtualMachineOperation
    from hyperd.resources.views.virtual_machine_status import VirtualMachinePod

_log = logging.getLogger(__name__)
_SUSPENDED_PERCENT: Final = 91
_LOOK_SECONDS: Final = 0.5
_AGAIN_SECONDS: Final = 2.0
_PREPARE_SECONDS: Final = 120.0
_STALL_SECONDS: Final = 150.0
_SECONDS_A_GIB: Final = 800.0
_GIB: Final = 1 << 30
_FULL_THROTTLE: Final = 99
"""Percent: QEMU slows a guest down no more."""
_CONVERGES_SECONDS: Final = 10.0
_STOPPED_TO_GO: Final = ("migration", "postcopy", "postcopy-failed")
"""Why libvirt says that a guest is stopped which it had no other reason for."""
_STARTED_ANEW: Final = "hyperd was started anew while the guest was on its way."


class Departures:
    """Of one node."""

    def __init__(self, context: Context, fence: Fence, neighbours: Neighbours) -> None:
        self._context = context
        self._fence = fence
        self._neighbours = neighbours
        self._pods = context.informer(POD)
        self._operations = context.informer(VIRTUAL_MACHINE_OPERATION)
        self._jobs: Jobs[None] = Jobs()
        self._begun: dict[str, str] = {}
        """Operations whose record was written here and now, by the machine's uid."""
        self._stages: dict[str, Stage] = {}
        """By the operation's uid."""
        self._taking: set[str] = set()
        """Machines of which that is being written."""
        self._cluster = ClusterSlots(context)
        self._claims = Claims(context)

    async def close(self) -> None:
        await self._jobs.close()

    def stage(self, uid: str) -> Stage | None:
        """How far the operation ``uid`` is, as far as that is known here."""
        return self._stages.get(uid)

    async def begin(self, before: VirtualMachine, domain: DomainInfo, op: VirtualMachineOperation) -> bool:
        """Write that the guest is on its way, if there is a Pod for it elsewhere; whether that is so."""
        uid, op_uid = before["metadata"]["uid"], op["metadata"]["uid"]
        name = manifest.pod_name(before, operation=op_uid)
        self._jobs.forget(uid)
        if self._jobs.get(uid) is not None or was_tried(before, name) or name == manifest.current_pod_name(before):
            return False  # it has ended, and the operation does not say so yet
        pod = self._pods.get(before["metadata"]["namespace"], name)
        if (waiting := waits(before, pod)) is not None or pod is None:
            self._stages[op_uid] = waiting or Stage(CompletedReason.TARGET_SCHEDULING, 2)
            return False
        if message := self._no_slot():
            self._stages[op_uid] = Stage(CompletedReason.WAITING_FOR_SYNC_SLOT, 4, message)
            return False
        self._taking.add(uid)
        try:
            await self._take(before, domain, op_uid, pod)
        finally:
            self._taking.discard(uid)
        return True

    async def _take(self, before: VirtualMachine, domain: DomainInfo, op_uid: str, pod: Object) -> None:
        uid, name = before["metadata"]["uid"], pod["metadata"]["name"]
        standing = self._fence.judge(before, domain)
        node, here = reading.node_of(pod), self._context.node_name
        record = replace(holding.change(standing, Holding.OUTGOING, me=here, peer=node), operation=op_uid)
        after = copy.deepcopy(before)
        after["status"]["holder"] = holding.shown(record)
        after["status"]["migrationState"] = {
            "startTimestamp": now_rfc3339(),
            "source": {"node": here, "pod": manifest.current_pod_name(before)},
            "target": {"node": node, "pod": name},
            "result": "",
        }
        set_phase(after, VirtualMachinePhase.MIGRATING)
        type_, reason = VirtualMachineCondition.MIGRATING, MigratingReason.IN_PROGRESS
        set_condition(after, type_, True, reason=reason, message=f"The guest is on its way to node {node}.")
        await update_status(self._context.store, VIRTUAL_MACHINE, before, after)
        self._begun[uid] = op_uid
        self._stages[op_uid] = Stage(CompletedReason.TARGET_PREPARING, 3)
        reached(CrashPoint.MIGRATION_AFTER_RECORD)

    def carry(self, machine: VirtualMachine, wake: Callable[[], None]) -> None:
        """See to it that what the record of ``machine`` says is brought to its end."""
        uid = machine["metadata"]["uid"]
        job = self._jobs.get(uid)
        if job is not None and job.done:
            self._jobs.forget(uid)
            try:
                job.outcome()
            except HyperdError as error:
                _log.warning("The migration of %s: %s", uid, error.message)
            job = None
        if job is None:
            self._jobs.start(uid, 0, lambda _: self._carry(machine), notify=wake)

    def _no_slot(self) -> str:
        """Why no other guest may be on its way now; empty where one may."""
        known = self._context.hypervisor.last_known
        going = [job for job in map(self._jobs.get, known) if job is not None and not job.done]
        if going or self._taking or not self._begun.keys().isdisjoint(known):
            return "Another guest is on its way from this node."
        return self._cluster.none_free()

    async def _carry(self, machine: VirtualMachine) -> None:
        uid, record = machine["metadata"]["uid"], holding.read(machine)
        op, why = self._operation(machine, record), _STARTED_ANEW
        begun = self._begun.pop(uid, "")
        if await fresh_of(self._context, machine, record) is None:
            return  # it has ended, and that is not seen here yet
        if begun == record.operation:
            why = "Nobody asks for it any more."
            if op is not None:
                try:
                    await self._send(machine, record, op)
                except HyperdError as error:
                    why = error.message if self._operation(machine, record) is not None else why
                except Exception:  # noqa: BLE001  whatever it is, somebody has to have the guest
                    _log.exception("A migration failed")
                    why = "hyperd failed at it; its log has the details."
        await self._decide(machine, record, why)

    def _operation(self, machine: VirtualMachine, record: Record) -> VirtualMachineOperation | None:
        """Who asks for it; None once nobody does."""
        for item in self._operations.items():
            if item.uid == record.operation and item.namespace == machine["metadata"]["namespace"]:
                found = item.object()
                return found if is_moving(found) else None
        return None

    async def _send(self, machine: VirtualMachine, record: Record, op: VirtualMachineOperation) -> None:
        """Returns once the guest is off here; raises where it may not be."""
        context, uid = self._context, machine["metadata"]["uid"]
        domain = await context.hypervisor.info(uid)
        if domain is None or not domain.active:
            raise NotFound("The guest does not run any more.")
        shared = claimed(context, self._claims, domain)
        body = asking(machine, record, domain) | await needed(context, domain, shared)
        ready = await self._prepare(machine, record, body)
        reached(CrashPoint.MIGRATION_AFTER_PREPARE)
        folder = folder_of(context, record.operation)
        sockets = paths_in(folder)
        carried = replace(applied.decode(domain.applied), pod=str(ready["pod"]), qemu=version(ready)).encode()
        departure = Departure(
            peer=sockets[Line.LIBVIRT],
            memory=sockets[Line.MEMORY],
            disks=sockets[Line.DISKS],
            sources={str(one["serial"]): decoded(one) for one in ready["sources"]},
            domain=replace(domain, applied=carried),
            bytes_per_second=context.settings.kubernetes.migration_bytes_per_second,
            slows=slows(machine, op),
            shared=frozenset(map(serial_of, shared)),
        )
        total = await bytes_of(context, machine, domain, shared)
        # QEMU opens one of them itself.
        users: dict[str, str] = {Line.DISKS: context.settings.hypervisor.qemu_user}
        async with self._neighbours.lines(record.to, uid, sockets, users):
            sending = asyncio.create_task(context.hypervisor.migrations.send(uid, departure))
            try:
                await self._watch(machine, record, sending, total)
            finally:
                if not sending.done():
                    await context.hypervisor.migrations.abort(uid)
                    await asyncio.wait([sending], timeout=_STALL_SECONDS)
                if sending.done():
                    hear(sending)  # what it ended by is told by who ended it
        sending.result()

    async def _prepare(self, machine: VirtualMachine, record: Record, body: Object) -> Object:
        uid = machine["metadata"]["uid"]
        until = clock.elapsed() + _PREPARE_SECONDS
        while True:
            try:
                said = await self._neighbours.ask(record.to, uid, Verb.PREPARE, body)
                if not (waits_for := said.get("waits")):
                    return said
                if self._operation(machine, record) is None:
                    raise PermanentError(str(waits_for))
                self._stages[record.operation] = Stage(CompletedReason.WAITING_FOR_SYNC_SLOT, 4, str(waits_for))
                until = clock.elapsed() + _PREPARE_SECONDS
            except TemporaryError as error:
                if clock.elapsed() > until or self._operation(machine, record) is None:
                    raise
                self._stages[record.operation] = Stage(CompletedReason.TARGET_PREPARING, 3, error.message)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _watch(
        self, machine: VirtualMachine, record: Record, sending: asyncio.Task[None], total: int
    ) -> None:
        """Until it is sent; raises where it takes too long, or nobody asks for it any more."""
        uid = machine["metadata"]["uid"]
        began = moved = clock.elapsed()
        limit, processed = _SECONDS_A_GIB * max(1, math.ceil(total / _GIB)), -1
        least, fell = total, began
        while True:
            done, _ = await asyncio.wait([sending], timeout=_LOOK_SECONDS)
            if done:
                return
            if self._operation(machine, record) is None:
                raise PermanentError("Nobody asks for it any more.")
            if why := ends(self._pods, machine, record):
                raise PermanentError(why)
            now = clock.elapsed()
            if now - began > limit:
                raise PermanentError(f"It was not done in {limit:.0f} s: the guest changes its memory faster.")
            try:
                transfer = await self._context.hypervisor.migrations.progress(uid)
            except (NotFound, ServiceUnavailable):
                continue
            if transfer is None:
                continue
            if transfer.processed != processed:
                processed, moved = transfer.processed, now
            elif now - moved > _STALL_SECONDS:
                raise PermanentError(f"Nothing could be sent for {_STALL_SECONDS:.0f} s.")
            if transfer.remaining < least or transfer.throttle < _FULL_THROTTLE:
                least, fell = transfer.remaining, now
            self._stages[record.operation] = syncing(transfer, converges=now - fell < _CONVERGES_SECONDS)

    async def _decide(self, machine: VirtualMachine, record: Record, why: str) -> None:
        """Look at both nodes, and have one of them have the guest. Tried until it is so."""
        uid, told = machine["metadata"]["uid"], ""
        while True:
            try:
                if await self._decided(machine, record, why):
                    return
            except Exception as error:  # noqa: BLE001  the guest may be stopped until this is decided
                known = error.message if isinstance(error, HyperdError) else ""
                if told != (known or repr(error)):
                    told = known or repr(error)
                    _log.warning("Where the guest of %s is cannot be told yet: %s", uid, told, exc_info=not known)
                if stage := self._stages.get(record.operation):
                    self._stages[record.operation] = replace(stage, message=known or "hyperd's log says why not.")
            await asyncio.sleep(_AGAIN_SECONDS if told else _LOOK_SECONDS)

    async def _decided(self, machine: VirtualMachine, record: Record, why: str) -> bool:
        uid, hypervisor = machine["metadata"]["uid"], self._context.hypervisor
        here = await hypervisor.info(uid)
        question = asking(machine, record, here)
        if here is None or not here.active:
            there = (await self._neighbours.ask(record.to, uid, Verb.LOOK, question)).get("state")
            if there in (State.PAUSED, State.RUNNING, State.WENT_ON):
                await self._finish(machine, record, here, question, there)
            elif there == State.ABSENT:
                await self._stay(machine, record, f"{why} The guest has ended.")
            elif there == State.COMING:
                # Not all of it came, and here is nothing any more.
                await self._neighbours.ask(record.to, uid, Verb.CANCEL, question)
                return False
            else:
                raise TemporaryError(f"Node {record.to} says what is not understood of the guest: {there!r:.40}.")
            return True
        if await hypervisor.migrations.progress(uid) is not None:
            await hypervisor.migrations.abort(uid)
            return False
        try:
            await self._neighbours.ask(record.to, uid, Verb.CANCEL, question)
        except HyperdError as error:
            # There it is stopped, and goes on at this node's word alone; it is removed once the record says so.
            _log.warning("What node %s has of %s is left for later: %s", record.to, uid, error.message)
        if here.state is DomainState.PAUSED and here.reason in _STOPPED_TO_GO:
            await give_to_qemu(self._context, uid, claimed(self._context, self._claims, here))
            await hypervisor.resume(uid)
        await self._stay(machine, record, f"{why} The guest stays on node {self._context.node_name}.")
        return True

    async def _finish(
        self, machine: VirtualMachine, record: Record, here: DomainInfo | None, question: Object, there: str
    ) -> None:
        """The guest is off here, and there: it goes on there, and its disks are those that it has there."""
        uid = machine["metadata"]["uid"]
        if (known := self._stages.get(record.operation)) is None or known.percent != _SUSPENDED_PERCENT:
            self._stages[record.operation] = Stage(CompletedReason.SOURCE_SUSPENDED, _SUSPENDED_PERCENT)
        reached(CrashPoint.MIGRATION_BEFORE_RESUME)
        if there != State.WENT_ON:
            await self._neighbours.ask(record.to, uid, Verb.GO_ON, await going_on(self._context, uid, question))
        self._stages[record.operation] = Stage(CompletedReason.TARGET_RESUMED, 92)
        reached(CrashPoint.MIGRATION_AFTER_RESUME)
        if here is not None:
            await asyncio.gather(*(hand_over(self._context, machine, one, record.to) for one in disks_of(here)))
            left = replace(applied.decode(here.applied), departed=record.operation).encode()
            await self._context.hypervisor.mark(replace(here, applied=left))
        reached(CrashPoint.MIGRATION_AFTER_DISKS)

        def change(after: VirtualMachine, standing: holding.Standing) -> None:
            me, status = self._context.node_name, after["status"]
            made = holding.change(standing, Holding.THEIRS, me=me, peer=record.to)
            status["holder"], status["nodeName"] = holding.shown(made), record.to
            source = status.get("migrationState", {}).get("source", {}).get("pod", "")
            target = manifest.pod_name(machine, operation=record.operation)
            beside: list[VirtualMachinePod] = [{"name": source, "active": False}] if source else []
            status["virtualMachinePods"] = [{"name": target, "active": True}, *beside]
            end(after, MigrationResult.SUCCEEDED)

        if await self._write(machine, record, change):
            message = f"The virtual machine was migrated from node {self._context.node_name} to node {record.to}."
            self._context.events.event(machine, "Normal", "Migrated", message)
        await self._context.network.disconnect(uid)

    async def _stay(self, machine: VirtualMachine, record: Record, why: str) -> None:
        """The guest is where it was, or nowhere any more."""

        def change(after: VirtualMachine, standing: holding.Standing) -> None:
            made = holding.change(standing, Holding.MINE, me=self._context.node_name)
            after["status"]["holder"] = holding.shown(made)
            end(after, MigrationResult.FAILED)

        self._stages[record.operation] = Stage(CompletedReason.FAILED, 0, why, failed=True)
        if await self._write(machine, record, change):
            message = f"The virtual machine was not migrated to node {record.to}: {why}"
            self._context.events.event(machine, "Warning", "Failed", message)

    async def _write(
        self,
        machine: VirtualMachine,
        record: Record,
        change: Callable[[VirtualMachine, holding.Standing], None],
    ) -> bool:
        """Have the machine's status say what became of it; False where it does by now."""
        while (fresh := await fresh_of(self._context, machine, record)) is not None:
            here = self._context.node_name
            standing = holding.judge(record, bound=machine_node(fresh), me=here, domain=None)
            after = copy.deepcopy(fresh)
            change(after, standing)
            try:
                await update_status(self._context.store, VIRTUAL_MACHINE, fresh, after)
            except TemporaryError:
                await asyncio.sleep(0)
                continue
            return True
        return False
