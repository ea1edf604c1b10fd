"""VirtualMachineSnapshot: a machine with all its disks at one moment, once.

It is taken of a machine that runs or is off and whose disks are all ready; what is not so when it is first looked
at is the end of it. The objects are saved in a Secret, the disks in snapshots of their own, which belong to this.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from hyperd.controllers.context import Context
from hyperd.controllers.retries import Retries
from hyperd.controllers.snapshot import saving
from hyperd.controllers.snapshot.operations.machine import FAILED, STARTED, TakeMachine
from hyperd.controllers.snapshot.taking import INCONSISTENT, cannot_freeze
from hyperd.controllers.snapshot.users import disk_of, user_of
from hyperd.errors import HyperdError, PermanentError
from hyperd.resources.all import (
    SECRET,
    VIRTUAL_DISK,
    VIRTUAL_DISK_SNAPSHOT,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_SNAPSHOT,
)
from hyperd.resources.kinds.virtual_disk import VirtualDiskPhase
from hyperd.resources.kinds.virtual_disk_snapshot import SnapshotPhase
from hyperd.resources.kinds.virtual_machine_snapshot import (
    MachineSnapshotCondition,
    MachineSnapshotReadyReason,
    SnapshotMachineReason,
)
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values.conditions import find_condition, set_condition
from hyperd.resources.values.meta import is_deleting
from hyperd.runtime.controller import Controller, Key, Mapper, Result, owner_keys
from hyperd.runtime.operations.engine import Operations
from hyperd.runtime.operations.record import Record
from hyperd.runtime.status import add_finalizer, remove_finalizer, update_status
from hyperd.store.interface import Preconditions

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_snapshot import VirtualMachineSnapshot

_PHASES = (VirtualMachinePhase.RUNNING, VirtualMachinePhase.STOPPED)
_HELD_SECONDS = 1.0
"""How soon to look again at a snapshot that is to go and is still needed."""


class MachineSnapshotController(Controller):
    """Takes and removes snapshots of machines."""

    name = "virtualmachinesnapshot"
    kind = VIRTUAL_MACHINE_SNAPSHOT
    writes: ClassVar = {VIRTUAL_DISK_SNAPSHOT: ("create", "delete"), SECRET: ("create",)}

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._snapshots = context.informer(VIRTUAL_MACHINE_SNAPSHOT)
        self._disks = context.informer(VIRTUAL_DISK_SNAPSHOT)
        self._retries = Retries()
        self._operations = Operations(context, [TakeMachine], waits=self._retries, notify=self.enqueue)

    def watches(self) -> Mapping[Kind, Mapper]:
        return {VIRTUAL_DISK_SNAPSHOT: owner_keys(VIRTUAL_MACHINE_SNAPSHOT)}

    async def close(self) -> None:
        """Stop what is under way; it is taken up again at the next start."""
        await self._operations.close()

    async def reconcile(self, key: Key) -> Result | None:
        before = self._snapshots.get(*key)
        await self._operations.keep_only(key, "" if before is None else before["metadata"]["uid"])
        if before is None:
            return None
        name = before["spec"]["virtualMachineName"]
        machine = await self._context.store.find(VIRTUAL_MACHINE, key.namespace, name)
        if not self._context.ownership.operates(machine):
            return None
        before = await add_finalizer(self._context.store, self.kind, before)
        after = copy.deepcopy(before)
        status = after.setdefault("status", {})
        status["observedGeneration"] = before["metadata"]["generation"]
        if is_deleting(before):
            return await self._delete(before, after)
        result = None
        if status.get("phase") == SnapshotPhase.READY or _is_lost(after):
            self._keep(after)
        elif status.get("phase") != SnapshotPhase.FAILED:
            try:
                if Record.of(after) is None:
                    await self._accept(after, machine)
            except PermanentError as err:
                self._fail(after, err)
            else:
                result = await self._operations.advance(after, TakeMachine.kind)
        await update_status(self._context.store, self.kind, before, after)
        self._operations.written(after)
        return result

    async def _accept(self, snapshot: VirtualMachineSnapshot, machine: VirtualMachine | None) -> None:
        """Note of which disks it is. Raises PermanentError where it cannot be taken: there is no later."""
        name, ready = snapshot["spec"]["virtualMachineName"], MachineSnapshotCondition.VIRTUAL_MACHINE_READY
        phase = (
            "" if machine is None else (machine.get("status") or {}).get("phase") or VirtualMachinePhase.PENDING
        )
        why = ""
        if machine is None:
            why = f'VirtualMachine "{name}" does not exist.'
        elif is_deleting(machine):
            why = f'VirtualMachine "{name}" is being deleted.'
        elif phase not in _PHASES:
            why = f'VirtualMachine "{name}" is {phase}, neither Running nor Stopped.'
        if machine is None or why:
            reason = SnapshotMachineReason.NOT_READY_FOR_SNAPSHOTTING
            set_condition(snapshot, ready, False, reason=reason, message=why)
            waiting = MachineSnapshotReadyReason.WAITING_FOR_THE_VIRTUAL_MACHINE
            raise PermanentError(f"{why} Take another snapshot then.", key=waiting)
        set_condition(snapshot, ready, True, reason=SnapshotMachineReason.VIRTUAL_MACHINE_READY)
        disks = await self._require_disks(machine)
        if snapshot["spec"]["requiredConsistency"]:
            guest = await self._context.hypervisor.info(machine["metadata"]["uid"])
            if guest is not None and guest.active and (why := cannot_freeze(guest)):
                raise PermanentError(why, key=INCONSISTENT)
        uid = snapshot["metadata"]["uid"]
        snapshot["status"]["virtualDiskSnapshotNames"] = [f"{disk}-{uid}" for disk in disks]
        self._context.events.event(snapshot, "Normal", STARTED, f"A snapshot of {name} is being taken.")

    async def _require_disks(self, machine: VirtualMachine) -> list[str]:
        """The names of the machine's disks, all of them ready."""
        refs = list(machine["spec"].get("blockDeviceRefs") or ())
        names = [ref["name"] for ref in refs if ref["kind"] == VIRTUAL_DISK.kind]
        for each in await saving.attachments(self._context, machine):
            ref = each["spec"]["blockDeviceRef"]
            if ref["kind"] == VIRTUAL_DISK.kind:
                names.append(ref["name"])
        for name in names:
            disk = await self._context.store.find(VIRTUAL_DISK, machine["metadata"]["namespace"], name)
            phase = (
                "absent" if disk is None else (disk.get("status") or {}).get("phase") or VirtualDiskPhase.PENDING
            )
            if phase != VirtualDiskPhase.READY:
                reason = MachineSnapshotReadyReason.BLOCK_DEVICES_NOT_READY
                raise PermanentError(f'VirtualDisk "{name}" is {phase}, not Ready.', key=reason)
        return list(dict.fromkeys(names))

    def _keep(self, snapshot: VirtualMachineSnapshot) -> None:
        """Notice the loss of a disk's snapshot, and its return."""
        phases = {}
        for name in snapshot["status"].get("virtualDiskSnapshotNames") or ():
            found = self._disks.get(snapshot["metadata"]["namespace"], name)
            phases[name] = None if found is None else (found.get("status") or {}).get("phase")
        lost = [name for name, phase in phases.items() if phase in (None, SnapshotPhase.FAILED)]
        if lost and snapshot["status"]["phase"] == SnapshotPhase.READY:
            reason = MachineSnapshotReadyReason.VIRTUAL_DISK_SNAPSHOT_LOST
            self._fail(snapshot, PermanentError(f'VirtualDiskSnapshot "{lost[0]}" is lost.', key=reason))
        elif set(phases.values()) <= {SnapshotPhase.READY}:
            snapshot["status"]["phase"] = SnapshotPhase.READY
            condition = MachineSnapshotCondition.VIRTUAL_MACHINE_SNAPSHOT_READY
            set_condition(snapshot, condition, True, reason=MachineSnapshotReadyReason.READY)

    def _fail(self, snapshot: VirtualMachineSnapshot, err: HyperdError) -> None:
        reason = MachineSnapshotReadyReason.FAILED
        if (key := getattr(err, "key", "")) in list(MachineSnapshotReadyReason):
            reason = MachineSnapshotReadyReason(key)
        snapshot["status"]["phase"] = SnapshotPhase.FAILED
        if reason is not MachineSnapshotReadyReason.VIRTUAL_DISK_SNAPSHOT_LOST:
            snapshot["status"].pop("consistent", None)
        condition = MachineSnapshotCondition.VIRTUAL_MACHINE_SNAPSHOT_READY
        set_condition(snapshot, condition, False, reason=reason, message=err.message)
        self._context.events.event(snapshot, "Warning", FAILED, err.message)

    async def _delete(self, before: VirtualMachineSnapshot, snapshot: VirtualMachineSnapshot) -> Result | None:
        """Its Secret goes with it; the disks' snapshots do before."""
        if user := await user_of(self._context, before["metadata"]["namespace"], before["metadata"]["name"]):
            snapshot["status"]["phase"] = SnapshotPhase.TERMINATING
            condition = MachineSnapshotCondition.VIRTUAL_MACHINE_SNAPSHOT_READY
            reason = MachineSnapshotReadyReason.READY
            message = f"{user} makes objects of it; it goes once that is done."
            set_condition(snapshot, condition, True, reason=reason, message=message)
            await update_status(self._context.store, self.kind, before, snapshot)
            return Result(_HELD_SECONDS)
        self._retries.forget(snapshot)
        await self._operations.undo(snapshot)
        snapshot["status"]["phase"] = SnapshotPhase.TERMINATING
        held = await self._show_holder(snapshot)
        before = await update_status(self._context.store, self.kind, before, snapshot)
        namespace, uid = before["metadata"]["namespace"], before["metadata"]["uid"]
        left = False
        for each in await self._context.store.find_all(VIRTUAL_DISK_SNAPSHOT, namespace):
            if any(owner["uid"] == uid for owner in each["metadata"].get("ownerReferences") or ()):
                left = True
                if not is_deleting(each):
                    found = each["metadata"]
                    await self._context.store.delete(
                        VIRTUAL_DISK_SNAPSHOT,
                        namespace,
                        found["name"],
                        preconditions=Preconditions(uid=found["uid"]),
                    )
        if not left:
            await remove_finalizer(self._context.store, self.kind, before)
        return Result(_HELD_SECONDS) if left and held else None

    async def _show_holder(self, snapshot: VirtualMachineSnapshot) -> bool:
        """Say which disk is still to be made of a disk's snapshot; whether there is one."""
        namespace = snapshot["metadata"]["namespace"]
        for name in snapshot["status"].get("virtualDiskSnapshotNames") or ():
            there = await self._context.store.find(VIRTUAL_DISK_SNAPSHOT, namespace, name) is not None
            if there and (disk := await disk_of(self._context, namespace, name)):
                condition = MachineSnapshotCondition.VIRTUAL_MACHINE_SNAPSHOT_READY
                message = f'{disk} of VirtualDiskSnapshot "{name}"; it goes once that is made, or deleted.'
                set_condition(snapshot, condition, True, reason=MachineSnapshotReadyReason.READY, message=message)
                return True
        return False


def _is_lost(snapshot: VirtualMachineSnapshot) -> bool:
    """Whether it was taken, and a disk's snapshot was not found since."""
    told = find_condition(snapshot, MachineSnapshotCondition.VIRTUAL_MACHINE_SNAPSHOT_READY)
    return told is not None and told["reason"] == MachineSnapshotReadyReason.VIRTUAL_DISK_SNAPSHOT_LOST
