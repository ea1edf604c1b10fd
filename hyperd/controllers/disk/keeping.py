"""A disk that has its volume: its loss is noticed, and it grows when that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hyperd.controllers import usage
from hyperd.controllers.claims import AGAIN_SECONDS, claim, is_claimed
from hyperd.controllers.context import Context
from hyperd.controllers.disk.ready import show_ready
from hyperd.controllers.disk.source import requested_size
from hyperd.controllers.disk.used import holding, snapshot
from hyperd.crashpoints import CrashPoint, reached
from hyperd.errors import HyperdError, QuotaExceeded, TemporaryError
from hyperd.resources.all import VIRTUAL_DISK
from hyperd.resources.core import storage_class
from hyperd.resources.kinds.virtual_disk import (
    DiskReadyReason,
    ResizingReason,
    VirtualDiskCondition,
    VirtualDiskPhase,
)
from hyperd.resources.values.conditions import ConditionStatus, set_condition
from hyperd.resources.values.quantity import format_bytes, round_up
from hyperd.runtime.controller import Result
from hyperd.storage.interface import GROWING

if TYPE_CHECKING:
    from hyperd.resources.views.core import StorageClass
    from hyperd.resources.views.virtual_disk import VirtualDisk

RETRY_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 300.0
"""How often a volume is looked for that was there."""
_AGAIN_SECONDS: Final = 30.0


class Keeping:
    """What is shown is set in place."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def keep(self, disk: VirtualDisk, class_: StorageClass | None) -> Result | None:
        """A provisioned disk: notice its loss, grow it when asked."""
        meta, status = disk["metadata"], disk["status"]
        status["observedGeneration"] = meta["generation"]
        try:
            volume = await self._context.volumes.find(meta["uid"])
        except TemporaryError as err:  # its pool is away: nobody knows
            unknown = ConditionStatus.UNKNOWN
            set_condition(
                disk, VirtualDiskCondition.READY, unknown, reason=DiskReadyReason.UNKNOWN, message=err.message
            )
            return Result(_AGAIN_SECONDS)
        if volume is None:
            message = f"The volume of disk {meta['name']} is gone from the node's pool."
            status["phase"] = VirtualDiskPhase.PVC_LOST
            set_condition(
                disk, VirtualDiskCondition.READY, False, reason=DiskReadyReason.PVC_LOST, message=message
            )
            return Result(LOOK_SECONDS)
        size = max(round_up(requested_size(disk) or 0), volume.virtual_size)
        # One that is being grown may be large enough before its guest has been told.
        if size == volume.virtual_size and status["phase"] != VirtualDiskPhase.RESIZING:
            show_ready(disk, volume)
            return Result(LOOK_SECONDS)
        growing = status["phase"] == VirtualDiskPhase.RESIZING
        hindrance = None if growing else self._hindrance(disk, class_)
        if not growing and hindrance is None and not is_claimed(disk, size):
            try:
                await claim(self._context, VIRTUAL_DISK, disk, size, unchanged=True)
                return Result(0.01)
            except QuotaExceeded as err:
                hindrance = err.message, AGAIN_SECONDS
        if hindrance is not None:
            message, seconds = hindrance
            show_ready(disk, volume, grows_later=True)
            told = set_condition(
                disk, VirtualDiskCondition.RESIZING, False, reason=ResizingReason.NOT_AVAILABLE, message=message
            )
            if told:
                self._context.events.event(disk, "Normal", "VirtualDiskResizingNotAvailable", message)
            return Result(seconds)
        return await self._grow(disk, size)

    def _hindrance(self, disk: VirtualDisk, class_: StorageClass | None) -> tuple[str, float] | None:
        """Why the disk does not begin to grow now, and after how many seconds to look again."""
        if self._context.reservations.of(disk["metadata"]["uid"]):
            return "The disk is being exported; it grows after that.", LOOK_SECONDS
        if usage.is_being_fetched(disk):  # which its snapshots wait for, too
            return "The disk's image is still being fetched; it grows after that.", RETRY_SECONDS
        if name := snapshot(self._context, disk):
            return f'VirtualDiskSnapshot "{name}" is being taken of the disk; it grows after that.', RETRY_SECONDS
        if class_ is None or not storage_class.may_grow(class_):
            name = disk["status"].get("storageClassName", "")
            return f'StorageClass "{name}" does not let its volumes grow (allowVolumeExpansion).', LOOK_SECONDS
        return None

    async def _grow(self, disk: VirtualDisk, size: int) -> Result | None:
        meta, status, volumes = disk["metadata"], disk["status"], self._context.volumes
        if status["phase"] != VirtualDiskPhase.RESIZING:
            status["phase"] = VirtualDiskPhase.RESIZING
            message = f"Growing to {format_bytes(size)}."
            self._context.events.event(disk, "Normal", "VirtualDiskResizingStarted", message)
            set_condition(disk, VirtualDiskCondition.RESIZING, True, reason=ResizingReason.IN_PROGRESS)
            return Result(0.01)
        try:
            machine = holding(self._context, disk)
            holder = None if machine is None else machine.uid
            volume = await volumes.grow(meta["uid"], size, in_use=holder is not None)
            source = None if holder is None else await volumes.expand(meta["uid"], size)
            if holder is not None and source is not None:
                await self._context.hypervisor.block_resize(holder, source, size)
                found = await volumes.find(meta["uid"])
                if found is None or found.virtual_size < size:
                    return Result(RETRY_SECONDS)
                volume = found
        except HyperdError as err:
            if isinstance(err, TemporaryError) and err.key == GROWING:
                goes_on, type_ = ResizingReason.IN_PROGRESS, VirtualDiskCondition.RESIZING
                set_condition(disk, type_, True, reason=goes_on, message=err.message)
                return Result(RETRY_SECONDS)
            set_condition(
                disk,
                VirtualDiskCondition.RESIZING,
                False,
                reason=ResizingReason.NOT_AVAILABLE,
                message=err.message,
            )
            self._context.events.event(disk, "Warning", "VirtualDiskResizingFailed", err.message)
            return Result(RETRY_SECONDS)
        reached(CrashPoint.DISK_AFTER_GROW)
        show_ready(disk, volume)
        message = f"Grown to {format_bytes(size)}."
        self._context.events.event(disk, "Normal", "VirtualDiskResizingCompleted", message)
        return None
