"""VirtualDiskSnapshot: the content of one disk at one moment."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from hyperd.resources.kinds.base import Conditions, Int64, NonEmpty, OperationRecord, Resource, Section
from hyperd.resources.kinds.data_source import Retry
from hyperd.resources.kinds.virtual_image import AGE
from hyperd.resources.schema.applies import NeverAfter
from hyperd.resources.schema.kind import KINDS, Column, Kind
from hyperd.resources.values.names import CATEGORY, GROUP, VDSNAPSHOT_CLEANUP, VERSION

ONE_MOMENT = NeverAfter("idempotent resource: specification changes are not available")
"""A snapshot is of one moment: another one is another object."""


class SnapshotPhase(StrEnum):
    """Phases of snapshots of disks and of machines."""

    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    READY = "Ready"
    FAILED = "Failed"
    TERMINATING = "Terminating"


class DiskSnapshotCondition(StrEnum):
    VIRTUAL_DISK_READY = "VirtualDiskReady"
    VIRTUAL_DISK_SNAPSHOT_READY = "VirtualDiskSnapshotReady"


class SnapshotDiskReason(StrEnum):
    """Reasons of ``VirtualDiskReady``."""

    VIRTUAL_DISK_READY = "VirtualDiskReady"
    NOT_READY_FOR_SNAPSHOTTING = "VirtualDiskNotReadyForSnapshotting"


class DiskSnapshotReadyReason(StrEnum):
    WAITING_FOR_THE_VIRTUAL_DISK = "WaitingForTheVirtualDisk"
    QUOTA_EXCEEDED = "QuotaExceeded"
    """The namespace has no room for it: it is taken once there is some."""
    POTENTIALLY_INCONSISTENT = "PotentiallyInconsistent"
    LOST = "Lost"
    UNKNOWN = "Unknown"
    """The storage that has its data cannot be asked now."""
    FILE_SYSTEM_FREEZING = "FileSystemFreezing"
    FILE_SYSTEM_UNFREEZING = "FileSystemUnfreezing"
    SNAPSHOTTING = "Snapshotting"
    READY = "VirtualDiskSnapshotReady"
    FAILED = "VirtualDiskSnapshotFailed"


class VirtualDiskSnapshotSpec(Section):
    """Which disk, and how sure the content must be."""

    virtual_disk_name: NonEmpty
    """The VirtualDisk of the namespace."""
    required_consistency: bool = True
    """Whether to fail rather than to take a snapshot of a running machine that cannot be frozen."""


class SnapshotSource(Section):
    """What the disk was, for one that is made of the snapshot."""

    uid: NonEmpty
    """uid of the disk."""
    size: str
    """Its size, such as 10Gi."""
    storage_class_name: str | None = None
    """Its StorageClass."""
    labels: dict[str, str] | None = None
    """Its labels."""
    annotations: dict[str, str] | None = None
    """Its annotations."""
    owned: bool | None = None
    """Whether it belonged to its virtual machine, and went with it."""


class VirtualDiskSnapshotStatus(Section):
    """What became of the snapshot."""

    phase: SnapshotPhase | None = None
    """State of the snapshot in one word."""
    consistent: bool | None = None
    """True when nothing was being written at that moment; absent when that is not sure."""
    volume_snapshot_name: str | None = None
    """The snapshot of the volume that holds the data."""
    source: SnapshotSource | None = None
    """What the disk was."""
    retry: Retry | None = None
    """When the work is tried again, while it fails for a passing reason."""
    operation: OperationRecord | None = None
    """The work under way."""
    conditions: Conditions = Field(default_factory=list)
    """Aspects of its state."""
    observed_generation: Int64 | None = None
    """Generation of the spec that this status is about."""


class VirtualDiskSnapshot(Resource):
    """The content of a disk at one moment; it outlives the disk."""

    spec: Annotated[VirtualDiskSnapshotSpec, ONE_MOMENT]
    """Which disk, and how sure the content must be."""
    status: VirtualDiskSnapshotStatus = Field(default_factory=VirtualDiskSnapshotStatus)
    """What became of the snapshot."""


VIRTUAL_DISK_SNAPSHOT = KINDS.add(
    Kind(
        group=GROUP,
        version=VERSION,
        kind="VirtualDiskSnapshot",
        plural="virtualdisksnapshots",
        singular="virtualdisksnapshot",
        namespaced=True,
        model=VirtualDiskSnapshot,
        main_condition=DiskSnapshotCondition.VIRTUAL_DISK_SNAPSHOT_READY,
        short_names=("vds", "vdsnapshot"),
        categories=(CATEGORY,),
        columns=(
            Column("Phase", ".status.phase", description="State of the snapshot"),
            Column(
                "Consistent", ".status.consistent", type="boolean", description="Whether it is sure to be whole"
            ),
            AGE,
        ),
        subresources=frozenset({"status"}),
        finalizer=VDSNAPSHOT_CLEANUP,
        settled=(SnapshotPhase.READY, SnapshotPhase.FAILED),
    )
)
