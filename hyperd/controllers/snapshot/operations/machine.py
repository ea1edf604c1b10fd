"""A snapshot of a machine: what it is made of, and all its disks at one moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from hyperd.controllers.context import Context
from hyperd.controllers.snapshot import saving
from hyperd.controllers.snapshot.steps import Commit, Pivot, Prepare
from hyperd.controllers.snapshot.taking import INCONSISTENT, Part, Taking
from hyperd.errors import AlreadyExists, HyperdError, Invalid, PermanentError, TemporaryError
from hyperd.progress import Report
from hyperd.resources.all import VIRTUAL_DISK_SNAPSHOT, VIRTUAL_MACHINE
from hyperd.resources.kinds.virtual_disk_snapshot import DiskSnapshotCondition, SnapshotPhase
from hyperd.resources.kinds.virtual_machine_snapshot import MachineSnapshotCondition, MachineSnapshotReadyReason
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import find_condition, set_condition
from hyperd.resources.values.meta import is_owned_by, owner_reference
from hyperd.resources.values.names import API_VERSION
from hyperd.runtime.controller import Result
from hyperd.runtime.operations.operation import Operation, Step

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk_snapshot import VirtualDiskSnapshot
    from hyperd.resources.views.virtual_machine_snapshot import VirtualMachineSnapshot

_LOOKS: Final = 40
_LOOK_SECONDS: Final = 0.05
STARTED: Final = "VirtualMachineSnapshottingStarted"
COMPLETED: Final = "VirtualMachineSnapshottingCompleted"
FAILED: Final = "VirtualMachineSnapshottingFailed"
"""Reasons of events, as the reference has them."""


class TakeMachine(Operation[Context, "VirtualMachineSnapshot"]):
    """The disks are those whose snapshots ``status.virtualDiskSnapshotNames`` names."""

    kind: ClassVar = "TakeMachine"
    deadline_seconds: ClassVar = 600.0

    def __init__(self, context: Context, obj: VirtualMachineSnapshot, op_uid: str) -> None:
        super().__init__(context, obj, op_uid)
        required = obj["spec"]["requiredConsistency"]
        self._taking = Taking(context, self._parts, op_uid, required=required)
        self._taking.consistent = bool(obj["status"].get("consistent"))

    def steps(self) -> Sequence[Step]:
        return [_Save(self), Prepare(self._taking), Pivot(self._taking), Commit(self._taking)]

    @property
    def names(self) -> Sequence[str]:
        """Of the disks' snapshots."""
        return self.obj["status"].get("virtualDiskSnapshotNames") or ()

    async def snapshots(self) -> list[VirtualDiskSnapshot]:
        """Those of them that there are."""
        meta = self.obj["metadata"]
        found = [
            await self.context.store.find(VIRTUAL_DISK_SNAPSHOT, meta["namespace"], name) for name in self.names
        ]
        return [each for each in found if each is not None and is_owned_by(each, meta["uid"])]

    async def _parts(self) -> Sequence[Part] | None:
        if await saving.load(self.context, self.obj) is None:
            return None
        found = await self.snapshots()
        parts = []
        for each in found:
            source = (each.get("status") or {}).get("source")
            if source is not None:
                meta, name = each["metadata"], each["spec"]["virtualDiskName"]
                parts.append(Part(meta["namespace"], name, source["uid"], meta["uid"]))
        return parts if len(parts) == len(self.names) else None

    def show(self, obj: VirtualMachineSnapshot) -> None:
        obj["status"]["phase"] = SnapshotPhase.IN_PROGRESS
        if self._taking.consistent:
            obj["status"]["consistent"] = True
        reason = MachineSnapshotReadyReason(self._taking.stage)
        set_condition(obj, MachineSnapshotCondition.VIRTUAL_MACHINE_SNAPSHOT_READY, False, reason=reason)

    async def succeeded(self, obj: VirtualMachineSnapshot) -> Result | None:
        saved = await saving.load(self.context, obj)
        if saved is None or not await self._taking.committed():
            raise TemporaryError("The snapshot was taken, and is gone again.")
        status = obj["status"]
        status["phase"] = SnapshotPhase.READY
        status["virtualMachineSnapshotSecretName"] = saving.secret_name(obj)
        disks = [each["spec"]["virtualDiskName"] for each in await self.snapshots()]
        status["resources"] = saving.references(saved, disks, API_VERSION)
        if self._taking.consistent:
            status["consistent"] = True
        condition = MachineSnapshotCondition.VIRTUAL_MACHINE_SNAPSHOT_READY
        set_condition(obj, condition, True, reason=MachineSnapshotReadyReason.READY)
        held = self._taking.held_seconds
        how = f"the guest was held for {1000 * held:.0f} ms" if held else "no guest was held"
        event = f"The snapshot is taken; {how}."
        self.context.events.event(obj, "Normal", COMPLETED, event)
        return None

    def failed(self, obj: VirtualMachineSnapshot, err: HyperdError, *, final: bool) -> None:
        reason = MachineSnapshotReadyReason.FAILED if final else MachineSnapshotReadyReason.SNAPSHOTTING
        if getattr(err, "key", "") == INCONSISTENT:
            reason = MachineSnapshotReadyReason.POTENTIALLY_INCONSISTENT
        obj["status"]["phase"] = SnapshotPhase.FAILED if final else SnapshotPhase.IN_PROGRESS
        obj["status"].pop("consistent", None)
        condition = MachineSnapshotCondition.VIRTUAL_MACHINE_SNAPSHOT_READY
        set_condition(obj, condition, False, reason=reason, message=err.message)
        if final:
            self.context.events.event(obj, "Warning", FAILED, err.message)


class _Save(Step):
    """The Secret with the machine's objects, and an object for each disk's snapshot."""

    name: ClassVar = "save"

    def __init__(self, operation: TakeMachine) -> None:
        self._operation = operation

    async def done(self) -> bool:
        return await self._operation._parts() is not None  # noqa: SLF001  of one file

    async def run(self, report: Report) -> None:
        snapshot, context = self._operation.obj, self._operation.context
        meta, name = snapshot["metadata"], snapshot["spec"]["virtualMachineName"]
        machine = await context.store.find(VIRTUAL_MACHINE, meta["namespace"], name)
        if machine is None:
            raise PermanentError(f'VirtualMachine "{name}" does not exist.')
        for each in self._operation.names:
            await self._make(each, each.removesuffix(f"-{meta['uid']}"))
        await saving.keep(context, snapshot, await saving.save(context, snapshot, machine))
        # Their controller is looking at them by now; what fails here is not tried again for seconds.
        for _ in range(_LOOKS):
            if await self.done():
                return
            if why := await self._refusal():
                raise PermanentError(why)
            await asyncio.sleep(_LOOK_SECONDS)
        raise TemporaryError("The snapshots of the disks have not been looked at yet.")

    async def _refusal(self) -> str:
        """Why a disk will not be snapshotted; empty where that is not known."""
        for each in await self._operation.snapshots():
            status = each.get("status") or {}
            if status.get("phase") == SnapshotPhase.FAILED and not status.get("source"):
                told = find_condition(each, DiskSnapshotCondition.VIRTUAL_DISK_SNAPSHOT_READY)
                why = "" if told is None else told["message"]
                return f'VirtualDiskSnapshot "{each["metadata"]["name"]}" failed: {why}'
        return ""

    async def undo(self) -> None:
        """They go with the snapshot's own object."""

    async def _make(self, name: str, disk: str) -> None:
        snapshot, store = self._operation.obj, self._operation.context.store
        namespace = snapshot["metadata"]["namespace"]
        body: Object = {
            "metadata": {
                "namespace": namespace,
                "name": name,
                "ownerReferences": [owner_reference(snapshot)],
            },
            "spec": {
                "virtualDiskName": disk,
                "requiredConsistency": snapshot["spec"]["requiredConsistency"],
            },
        }
        try:
            await store.create(VIRTUAL_DISK_SNAPSHOT, namespace, body)
        except AlreadyExists:
            return
        except Invalid as err:
            # Its name is the disk's and a uid, which is too long of a disk whose own name is long.
            raise PermanentError(err.message) from err
