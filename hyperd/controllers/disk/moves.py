"""Whether a disk is to be moved to another StorageClass, what keeps it from that, and how a move shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hyperd.controllers import usage
from hyperd.controllers.claims import no_room
from hyperd.controllers.context import Context
from hyperd.controllers.disk import used
from hyperd.controllers.disk.ready import Disks, claim_name
from hyperd.errors import HyperdError, QuotaExceeded, TemporaryError
from hyperd.resources.all import NODE, STORAGE_CLASS
from hyperd.resources.core import storage_class
from hyperd.resources.kinds.virtual_disk import (
    DiskMigratingReason,
    MigrationResult,
    VirtualDiskCondition,
    VirtualDiskPhase,
)
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.values.conditions import remove_condition, set_condition
from hyperd.resources.values.meta import labels, now_rfc3339
from hyperd.runtime.operations.engine import Operations
from hyperd.runtime.operations.record import Record
from hyperd.storage.claims import CLAIMS
from hyperd.storage.interface import Capability

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk

KIND: Final = "Migrate"
LIVE_KIND: Final = "MigrateLive"
"""Of the operations, in their records."""
_LIVE: Final = (VirtualMachinePhase.RUNNING, VirtualMachinePhase.PAUSE)
COPY_LEFT: Final = "CopyLeft"
"""Key of the TemporaryError of a move that is undone, but for a copy whose storage cannot be asked."""
_MOVABLE: Final = (VirtualDiskPhase.READY, VirtualDiskPhase.MIGRATING)


@dataclass(frozen=True)
class Move:
    """From one class to another: of ``provisioner`` is the disk's volume as it begins, and of ``to`` as it ends.

    ``to`` of a move which is only asked for is empty: what its class names may be another one until it begins. It
    stays so where the class was gone by then.
    """

    source: str
    target: str
    provisioner: str
    to: str = ""

    @property
    def wanted(self) -> bool:
        return self.source != self.target and bool(self.source and self.provisioner)

    def encode(self) -> str:
        """For the operation's record: what is moved where must be known whatever the spec says by then."""
        return " ".join((self.source, self.target, self.provisioner, self.to))


def move_of(disk: VirtualDisk) -> Move:
    """The one that is under way, else the one that the spec asks for, which may be none."""
    record = _record(disk)
    if record is not None and len(parts := record.digest.split(" ")) == 4:
        return Move(*parts)
    return asked_for(disk)


def asked_for(disk: VirtualDisk) -> Move:
    """From the class that has the volume to the one that the spec names."""
    status = disk.get("status") or {}
    has = status.get("storageClassName") or ""
    named = (disk["spec"].get("persistentVolumeClaim") or {}).get("storageClassName")
    return Move(has, named or has, (status.get("target") or {}).get("provisioner") or "")


def kind_of(disk: VirtualDisk) -> str:
    """Of the operation that moves it; empty without one."""
    record = _record(disk)
    return "" if record is None else record.kind


def is_under_way(disk: VirtualDisk) -> bool:
    """Whether a move stands in the disk's record."""
    return _record(disk) is not None


def _record(disk: VirtualDisk) -> Record | None:
    """That of a move."""
    record = Record.of(disk)
    return record if record is not None and record.kind in (KIND, LIVE_KIND) else None


def switched(disk: VirtualDisk, move: Move) -> bool:
    """Whether the disk's volume is that of the class it is moved to."""
    return disk["status"].get("storageClassName") == move.target


def show_moving(disk: VirtualDisk, op_uid: str, message: str) -> None:
    """It goes on; or begins, unless it is said to go on already."""
    status = disk["status"]
    status["phase"] = VirtualDiskPhase.MIGRATING
    state = status.get("migrationState") or {}
    if not state.get("startTimestamp") or state.get("endTimestamp"):
        has = (status.get("target") or {}).get("persistentVolumeClaimName") or claim_name(disk)
        status["migrationState"] = {
            "sourcePVC": has,
            "targetPVC": claim_name(disk, op_uid),
            "startTimestamp": now_rfc3339(),
        }
    reason = DiskMigratingReason.IN_PROGRESS
    set_condition(disk, VirtualDiskCondition.MIGRATING, True, reason=reason, message=message)


def show_failed(disk: VirtualDisk, move: Move, err: HyperdError) -> None:
    """It is tried again. Until then the disk is what it was; one that is switched has two volumes."""
    status, reason = disk["status"], _reason(err)
    if switched(disk, move):
        reason = DiskMigratingReason.WAIT_FOR_SOURCE_VOLUME_RELEASE
        if status.get("phase") == VirtualDiskPhase.MIGRATING:
            status["phase"] = VirtualDiskPhase.READY
    else:
        status["phase"] = VirtualDiskPhase.READY
        end_state(disk, err.message)
    set_condition(disk, VirtualDiskCondition.MIGRATING, False, reason=reason, message=err.message)


def show_no_room(disk: VirtualDisk, err: QuotaExceeded) -> None:
    """It does not begin: the namespace has no room for a second volume."""
    disk["status"]["observedGeneration"] = disk["metadata"]["generation"]
    reason = DiskMigratingReason.WAIT_FOR_TARGET_READY
    set_condition(disk, VirtualDiskCondition.MIGRATING, False, reason=reason, message=no_room(err))


def end_state(disk: VirtualDisk, message: str) -> None:
    """It came to nothing."""
    state = disk["status"].setdefault("migrationState", {})
    if state.get("endTimestamp") and state.get("message") == message:
        return
    state |= {"endTimestamp": now_rfc3339(), "result": MigrationResult.FAILED, "message": message}


async def undone(operations: Operations[Disks, VirtualDisk], disk: VirtualDisk) -> str:
    """Undo what is under way. Why what it has copied is left yet, empty for nothing: its record stays for that."""
    try:
        await operations.undo(disk)
    except TemporaryError as err:
        if err.key != COPY_LEFT:
            raise
        return err.message
    return ""


def show_left(disk: VirtualDisk, why: str) -> None:
    """Nothing is moved any more; ``why`` what was copied is left yet, if it is."""
    if not why:
        remove_condition(disk, VirtualDiskCondition.MIGRATING)
        return
    reason, message = DiskMigratingReason.WAIT_FOR_TARGET_READY, f"What was copied is removed later: {why}"
    set_condition(disk, VirtualDiskCondition.MIGRATING, False, reason=reason, message=message)


class Moves:
    """Judges by what informers show; the operation asks again where that may be late."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def hindered(self, disk: VirtualDisk) -> bool:
        """Whether the move that the disk asks for has to wait; a condition says then for what."""
        found = self._hindrance(disk)
        if found is None:
            return False
        reason, message = found
        set_condition(disk, VirtualDiskCondition.MIGRATING, False, reason=reason, message=message)
        return True

    def kind(self, disk: VirtualDisk) -> str:
        """Of the operation that moves it as it is used now."""
        return KIND if used.holding(self._context, disk) is None else LIVE_KIND

    def begun_otherwise(self, disk: VirtualDisk) -> bool:
        """Whether the move under way is another than would begin now.

        One that began under a guest ends with it, and one without ends before a guest begins. What was copied to
        where its class made volumes then is not where that makes them now.
        """
        class_ = self._context.informer(STORAGE_CLASS).get("", move_of(disk).target)
        elsewhere = class_ is not None and class_.get("provisioner") != move_of(disk).to
        return is_under_way(disk) and (kind_of(disk) != self.kind(disk) or elsewhere)

    def _hindrance(self, disk: VirtualDisk) -> tuple[DiskMigratingReason, str] | None:
        phase = disk["status"].get("phase")
        if phase == VirtualDiskPhase.RESIZING:
            return DiskMigratingReason.RESIZING_IN_PROGRESS, "The disk is moved once it is grown."
        if phase not in _MOVABLE:
            return DiskMigratingReason.WAIT_FOR_SOURCE_VOLUME_RELEASE, f"The disk is {phase}, not Ready."
        if (disk["status"].get("target") or {}).get("provisioner") == CLAIMS:
            reason = DiskMigratingReason.WAIT_FOR_SOURCE_VOLUME_RELEASE
            return reason, "The disk is a claim of the cluster's storage: moving such disks is not built yet."
        if usage.is_being_fetched(disk):
            reason = DiskMigratingReason.WAIT_FOR_SOURCE_VOLUME_RELEASE
            return reason, "The disk is moved once its image is on this node."
        if name := used.snapshot(self._context, disk):
            return (
                DiskMigratingReason.SNAPSHOTTING_IN_PROGRESS,
                f'The disk is moved once VirtualDiskSnapshot "{name}" is taken.',
            )
        if unfit := self._unfit(asked_for(disk).target):
            return unfit
        reason = DiskMigratingReason.WAIT_FOR_SOURCE_VOLUME_RELEASE
        machine = used.holding(self._context, disk)
        if machine is not None and str(machine.object()["status"].get("phase")) not in _LIVE:
            return reason, f'The disk is moved once virtual machine "{machine.name}" runs, or is stopped.'
        if reader := used.reader(self._context, disk):
            return reason, f"The disk is moved once {reader} is made of it."
        if self._context.reservations.of(disk["metadata"]["uid"]):
            return reason, "The disk is moved once nobody exports it."
        return None

    def _unfit(self, name: str) -> tuple[DiskMigratingReason, str] | None:
        """Of the class that the disk is to be moved to."""
        class_ = self._context.informer(STORAGE_CLASS).get("", name)
        if class_ is None:
            return DiskMigratingReason.STORAGE_CLASS_NOT_FOUND, f'StorageClass "{name}" does not exist.'
        volumes, settings = self._context.volumes, self._context.settings
        node = self._context.informer(NODE).get("", self._context.node_name)
        allowed = settings.virtual_disks.allowed_storage_classes
        message = storage_class.not_allowed(name, allowed, "disks")
        message = message or storage_class.fault(class_, volumes.provisioners)
        if not message and Capability.RECEIVE not in volumes.provisioner(class_["provisioner"]).capabilities:
            message = f'Disks cannot be moved to StorageClass "{name}": its volumes cannot {Capability.RECEIVE}.'
        if not message and node is not None and not storage_class.allows_node(class_, labels(node)):
            where = self._context.node_name
            message = f'StorageClass "{name}" does not allow node {where} (allowedTopologies), where the disk is.'
        return (DiskMigratingReason.WAIT_FOR_TARGET_READY, message) if message else None


def _reason(err: HyperdError) -> DiskMigratingReason:
    try:
        return DiskMigratingReason(getattr(err, "key", ""))
    except ValueError:
        return DiskMigratingReason.WAIT_FOR_TARGET_READY
