"""What controllers and operations of disks share: how a disk with its volume shows, and how long that took."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from hyperd import clock
from hyperd.controllers.context import Context
from hyperd.resources.kinds.data_source import ReadyReason
from hyperd.resources.kinds.virtual_disk import VirtualDiskCondition, VirtualDiskPhase
from hyperd.resources.values.conditions import remove_condition, set_condition
from hyperd.resources.values.meta import go_duration, parse_time
from hyperd.resources.values.quantity import format_bytes
from hyperd.storage.interface import Volume

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk

Stage = Literal["waitingForDependencies", "totalProvisioning"]
"""Of ``status.stats.creationDuration``."""


@dataclass(frozen=True)
class Disks:
    """What operations on disks work with."""

    context: Context
    lived: clock.Seen = field(default_factory=clock.Seen)

    def age(self, disk: VirtualDisk) -> float:
        """Seconds since the disk was created, by a clock that cannot be set if this process saw it young."""
        meta = disk["metadata"]
        stamped = (clock.now() - parse_time(meta["creationTimestamp"])).total_seconds()
        return self.lived.age(meta["uid"], hint=stamped)

    def note_duration(self, disk: VirtualDisk, stage: Stage) -> None:
        """``stats.creationDuration``: the disk's age when ``stage`` ended for the first time."""
        durations = disk["status"].setdefault("stats", {}).setdefault("creationDuration", {})
        if stage not in durations:
            durations[stage] = go_duration(self.age(disk))


def show_ready(disk: VirtualDisk, volume: Volume) -> None:
    """The disk has its volume, and nothing is under way on it."""
    status = disk["status"]
    status["phase"] = VirtualDiskPhase.READY
    status["capacity"] = format_bytes(volume.virtual_size)
    status.setdefault("sourceUID", disk["metadata"]["uid"])
    status["target"] = {"persistentVolumeClaimName": f"d8v-vd-{disk['metadata']['uid']}"}
    remove_condition(disk, VirtualDiskCondition.DATASOURCE_READY)
    remove_condition(disk, VirtualDiskCondition.RESIZING)
    set_condition(disk, VirtualDiskCondition.READY, True, reason=ReadyReason.READY)
