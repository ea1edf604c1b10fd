"""What controllers and operations of disks share: how a disk with its volume shows, and how long that took."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from hyperd import clock
from hyperd.controllers import usage
from hyperd.controllers.claims import first_claim
from hyperd.controllers.context import Context
from hyperd.controllers.image import transfer
from hyperd.errors import QuotaExceeded
from hyperd.resources.kinds.data_source import ReadyReason
from hyperd.resources.kinds.virtual_disk import VirtualDiskCondition, VirtualDiskPhase
from hyperd.resources.values.conditions import remove_condition, set_condition
from hyperd.resources.values.meta import go_duration, parse_time
from hyperd.resources.values.quantity import format_bytes
from hyperd.runtime.informer import Informer
from hyperd.storage.interface import Keeper, Keepers, Volume

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk

Stage = Literal["waitingForDependencies", "waitingForFirstConsumer", "dvcrProvisioning", "totalProvisioning"]
"""Of ``status.stats.creationDuration``."""
_SUFFIX: Final = 5
"""Characters that tell the claims of one disk apart."""


@dataclass(frozen=True)
class Disks:
    """What operations on disks work with."""

    context: Context
    lived: clock.Seen = field(default_factory=clock.Seen)
    stopping: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """By a guest's uid: held by who stops it for a moment, or lets it go on."""

    def age(self, disk: VirtualDisk) -> float:
        """Seconds since the disk was created, by a clock that cannot be set if this process saw it young."""
        meta = disk["metadata"]
        stamped = (clock.now() - parse_time(meta["creationTimestamp"])).total_seconds()
        return self.lived.age(meta["uid"], hint=stamped)

    def note_duration(self, disk: VirtualDisk, stage: Stage, seconds: float | None = None) -> None:
        """``stats.creationDuration``: ``seconds``, else the disk's age when ``stage`` ended for the first time."""
        durations = disk["status"].setdefault("stats", {}).setdefault("creationDuration", {})
        if stage not in durations:
            durations[stage] = go_duration(self.age(disk) if seconds is None else seconds)


def claim_name(disk: VirtualDisk, op_uid: str = "") -> str:
    """Of the claim of its volume: of the first one, or of that which an operation moves it to."""
    first = first_claim(disk)
    return f"{first}-{op_uid[:_SUFFIX]}" if op_uid else first


def keepers(disks: Informer[VirtualDisk]) -> Keepers:
    """Where volumes are by what the disks that have them say."""
    disks.add_index(usage.UID_INDEX, usage.uid_of)
    return lambda uid: next((keeper_of(item.object()) for item in disks.by_index(usage.UID_INDEX, uid)), None)


def keeper_of(disk: VirtualDisk) -> Keeper | None:
    """Where its volume is, as its status says; None before that does."""
    status = disk.get("status") or {}
    provisioner = (status.get("target") or {}).get("provisioner")
    return Keeper(provisioner, moved=bool(status.get("migrationState"))) if provisioner else None


def show_no_room(disk: VirtualDisk, err: QuotaExceeded) -> None:
    """Nothing is made yet: its namespace has no room for it."""
    status = disk["status"]
    status.pop("target", None)
    status["phase"], status["observedGeneration"] = VirtualDiskPhase.PENDING, disk["metadata"]["generation"]
    transfer.stop_progress(status)
    set_condition(disk, VirtualDiskCondition.READY, False, reason=ReadyReason.QUOTA_EXCEEDED, message=err.message)


def show_ready(disk: VirtualDisk, volume: Volume, *, grows_later: bool = False) -> None:
    """The disk has its volume, and nothing is under way on it; ``grows_later``: ``Resizing`` says why it waits."""
    status = disk["status"]
    status["phase"] = VirtualDiskPhase.READY
    status["capacity"] = format_bytes(volume.virtual_size)
    status.setdefault("sourceUID", disk["metadata"]["uid"])
    claim = (status.get("target") or {}).get("persistentVolumeClaimName") or claim_name(disk)
    status["target"] = {"persistentVolumeClaimName": claim, "provisioner": volume.provisioner}
    remove_condition(disk, VirtualDiskCondition.DATASOURCE_READY)
    if not grows_later:
        remove_condition(disk, VirtualDiskCondition.RESIZING)
    set_condition(disk, VirtualDiskCondition.READY, True, reason=ReadyReason.READY)
