"""A snapshot of one disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from hyperd.controllers.context import Context
from hyperd.controllers.snapshot.steps import Commit, Pivot, Prepare
from hyperd.controllers.snapshot.taking import INCONSISTENT, Part, Taking
from hyperd.errors import HyperdError, TemporaryError
from hyperd.resources.kinds.virtual_disk_snapshot import (
    DiskSnapshotCondition,
    DiskSnapshotReadyReason,
    SnapshotPhase,
)
from hyperd.resources.values.conditions import set_condition
from hyperd.runtime.controller import Result
from hyperd.runtime.operations.operation import Operation, Step

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk_snapshot import VirtualDiskSnapshot


class Take(Operation[Context, "VirtualDiskSnapshot"]):
    """What ``status.source`` names is snapshotted."""

    kind: ClassVar = "Take"
    deadline_seconds: ClassVar = 600.0

    def __init__(self, context: Context, obj: VirtualDiskSnapshot, op_uid: str) -> None:
        super().__init__(context, obj, op_uid)
        meta, spec = obj["metadata"], obj["spec"]
        source = obj["status"].get("source")
        disk = "" if source is None else source["uid"]
        self._part = Part(meta["namespace"], spec["virtualDiskName"], disk, meta["uid"])
        self._taking = Taking(context, self._parts, op_uid, required=spec["requiredConsistency"])
        self._taking.consistent = bool(obj["status"].get("consistent"))

    async def _parts(self) -> Sequence[Part] | None:
        return [self._part] if self._part.disk else None

    def steps(self) -> Sequence[Step]:
        return [Prepare(self._taking), Pivot(self._taking), Commit(self._taking)]

    def show(self, obj: VirtualDiskSnapshot) -> None:
        obj["status"]["phase"] = SnapshotPhase.IN_PROGRESS
        if self._taking.consistent:
            obj["status"]["consistent"] = True
        reason = DiskSnapshotReadyReason(self._taking.stage)
        set_condition(obj, DiskSnapshotCondition.VIRTUAL_DISK_SNAPSHOT_READY, False, reason=reason)

    async def succeeded(self, obj: VirtualDiskSnapshot) -> Result | None:
        if not await self._taking.committed():
            raise TemporaryError("The snapshot of the volume was taken, and is gone again.")
        show_ready(obj, consistent=self._taking.consistent)
        held = self._taking.held_seconds
        how = f"the guest was held for {1000 * held:.0f} ms" if held else "no guest was held"
        event = f"The snapshot is taken; {how}."
        self.context.events.event(obj, "Normal", DiskSnapshotReadyReason.READY, event)
        return None

    def failed(self, obj: VirtualDiskSnapshot, err: HyperdError, *, final: bool) -> None:
        show_failure(obj, err, final=final)
        if final:
            self.context.events.event(obj, "Warning", DiskSnapshotReadyReason.FAILED, err.message)


def show_ready(obj: VirtualDiskSnapshot, *, consistent: bool) -> None:
    """It has its data."""
    status = obj["status"]
    status["phase"] = SnapshotPhase.READY
    status["volumeSnapshotName"] = f"d8v-vds-{obj['metadata']['uid']}"
    if consistent:
        status["consistent"] = True
    else:
        status.pop("consistent", None)
    reason = DiskSnapshotReadyReason.READY
    set_condition(obj, DiskSnapshotCondition.VIRTUAL_DISK_SNAPSHOT_READY, True, reason=reason)


def show_failure(obj: VirtualDiskSnapshot, err: HyperdError, *, final: bool) -> None:
    """Why it has none yet, or never will."""
    key = getattr(err, "key", "")
    reason = DiskSnapshotReadyReason.FAILED if final else DiskSnapshotReadyReason.SNAPSHOTTING
    if key == INCONSISTENT:
        reason = DiskSnapshotReadyReason.POTENTIALLY_INCONSISTENT
    obj["status"]["phase"] = SnapshotPhase.FAILED if final else SnapshotPhase.IN_PROGRESS
    obj["status"].pop("consistent", None)
    condition = DiskSnapshotCondition.VIRTUAL_DISK_SNAPSHOT_READY
    set_condition(obj, condition, False, reason=reason, message=err.message)
