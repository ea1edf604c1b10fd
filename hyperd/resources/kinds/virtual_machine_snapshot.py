"""VirtualMachineSnapshot: a machine with all its disks at one moment."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from hyperd.resources.kinds.base import (
    LIST_ATOMIC,
    Conditions,
    Int64,
    NonEmpty,
    OperationRecord,
    Resource,
    Section,
)
from hyperd.resources.kinds.data_source import Retry
from hyperd.resources.kinds.virtual_disk_snapshot import ONE_MOMENT, SnapshotPhase
from hyperd.resources.kinds.virtual_image import AGE
from hyperd.resources.schema.kind import KINDS, Column, Kind
from hyperd.resources.values.names import CATEGORY, GROUP, VERSION, VMSNAPSHOT_CLEANUP

SNAPSHOT_SECRET_TYPE = f"virtualmachine.{GROUP}/snapshot"
"""Type of the Secret that holds the saved objects: keys vm, vmip, vmmacs, vmbdas and provisioner."""


class KeepIPAddress(StrEnum):
    ALWAYS = "Always"
    NEVER = "Never"


class MachineSnapshotCondition(StrEnum):
    VIRTUAL_MACHINE_READY = "VirtualMachineReady"
    VIRTUAL_MACHINE_SNAPSHOT_READY = "VirtualMachineSnapshotReady"


class SnapshotMachineReason(StrEnum):
    """Reasons of ``VirtualMachineReady``."""

    VIRTUAL_MACHINE_READY = "VirtualMachineReady"
    NOT_READY_FOR_SNAPSHOTTING = "VirtualMachineNotReadyForSnapshotting"


class MachineSnapshotReadyReason(StrEnum):
    WAITING_FOR_THE_VIRTUAL_MACHINE = "WaitingForTheVirtualMachine"
    BLOCK_DEVICES_NOT_READY = "BlockDevicesNotReady"
    POTENTIALLY_INCONSISTENT = "PotentiallyInconsistent"
    VIRTUAL_DISK_SNAPSHOT_LOST = "VirtualDiskSnapshotLost"
    FILE_SYSTEM_FREEZING = "FileSystemFreezing"
    FILE_SYSTEM_UNFREEZING = "FileSystemUnfreezing"
    SNAPSHOTTING = "Snapshotting"
    READY = "VirtualMachineSnapshotReady"
    FAILED = "VirtualMachineSnapshotFailed"


class VirtualMachineSnapshotSpec(Section):
    """Which machine, and what to keep of it."""

    virtual_machine_name: NonEmpty
    """The VirtualMachine of the namespace."""
    required_consistency: bool = True
    """Whether to fail rather than to take a snapshot of a running machine that cannot be frozen."""
    keep_ip_address: Annotated[KeepIPAddress, Field(alias="keepIPAddress")] = KeepIPAddress.ALWAYS
    """Whether a restored machine has its address back, or gets a new one."""


class SavedResource(Section):
    """One object that the snapshot holds."""

    api_version: str | None = None
    """Version of the object's API."""
    kind: str | None = None
    """Kind of the object."""
    name: str | None = None
    """Name of the object."""


class VirtualMachineSnapshotStatus(Section):
    """What became of the snapshot."""

    phase: SnapshotPhase | None = None
    """State of the snapshot in one word."""
    consistent: bool | None = None
    """True when nothing was being written at that moment; absent when that is not sure."""
    virtual_disk_snapshot_names: Annotated[list[str] | None, Field(json_schema_extra=LIST_ATOMIC)] = None
    """Snapshots of the machine's disks."""
    virtual_machine_snapshot_secret_name: str | None = None
    """The Secret that holds the saved objects."""
    retry: Retry | None = None
    """When the work is tried again, while it fails for a passing reason."""
    operation: OperationRecord | None = None
    """The work under way."""
    resources: Annotated[list[SavedResource] | None, Field(json_schema_extra=LIST_ATOMIC)] = None
    """The objects that it holds: the machine, its addresses, devices, disks and provisioning Secret."""
    conditions: Conditions = Field(default_factory=list)
    """Aspects of its state."""
    observed_generation: Int64 | None = None
    """Generation of the spec that this status is about."""


class VirtualMachineSnapshot(Resource):
    """A machine with all its disks at one moment, to go back to or to make others from."""

    spec: Annotated[VirtualMachineSnapshotSpec, ONE_MOMENT]
    """Which machine, and what to keep of it."""
    status: VirtualMachineSnapshotStatus = Field(default_factory=VirtualMachineSnapshotStatus)
    """What became of the snapshot."""


VIRTUAL_MACHINE_SNAPSHOT = KINDS.add(
    Kind(
        group=GROUP,
        version=VERSION,
        kind="VirtualMachineSnapshot",
        plural="virtualmachinesnapshots",
        singular="virtualmachinesnapshot",
        namespaced=True,
        model=VirtualMachineSnapshot,
        main_condition=MachineSnapshotCondition.VIRTUAL_MACHINE_SNAPSHOT_READY,
        short_names=("vms", "vmsnapshot"),
        categories=(CATEGORY,),
        columns=(
            Column("Phase", ".status.phase", description="State of the snapshot"),
            Column(
                "Consistent", ".status.consistent", type="boolean", description="Whether it is sure to be whole"
            ),
            AGE,
        ),
        subresources=frozenset({"status"}),
        finalizer=VMSNAPSHOT_CLEANUP,
        settled=(SnapshotPhase.READY, SnapshotPhase.FAILED),
    )
)
