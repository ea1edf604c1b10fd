"""VirtualMachineSnapshotOperation: a new machine made from a snapshot, once."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from hyperd.resources.kinds.base import Conditions, Int64, NonEmpty, Resource, Section, Timer
from hyperd.resources.kinds.virtual_image import AGE
from hyperd.resources.kinds.virtual_machine_operation import (
    DONE_ONCE,
    CloneOptions,
    OperationResource,
    renaming_rule,
)
from hyperd.resources.schema.kind import KINDS, Column, Kind
from hyperd.resources.values.names import CATEGORY, GROUP, VERSION, VMSOP_CLEANUP


class SnapshotOperationType(StrEnum):
    CREATE_VIRTUAL_MACHINE = "CreateVirtualMachine"


class SnapshotOperationPhase(StrEnum):
    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    TERMINATING = "Terminating"


class SnapshotOperationCondition(StrEnum):
    COMPLETED = "Completed"


class SnapshotCompletedReason(StrEnum):
    SNAPSHOT_NOT_FOUND = "VirtualMachineSnapshotNotFound"
    NOT_READY_TO_BE_EXECUTED = "NotReadyToBeExecuted"
    NOT_APPLICABLE_FOR_PHASE = "NotApplicableForVirtualMachinePhase"
    CREATE_IN_PROGRESS = "CreateVirtualMachineInProgress"
    OPERATION_FAILED = "OperationFailed"
    OPERATION_COMPLETED = "OperationCompleted"


class VirtualMachineSnapshotOperationSpec(Section):
    """What to do with which snapshot."""

    type: SnapshotOperationType
    """What to do: CreateVirtualMachine."""
    virtual_machine_snapshot_name: NonEmpty
    """With which snapshot of the namespace."""
    create_virtual_machine: CloneOptions | None = None
    """How the machine is made, and how it and its objects are named."""


class VirtualMachineSnapshotOperationStatus(Section):
    """What became of the operation."""

    phase: SnapshotOperationPhase | None = None
    """State of the operation in one word."""
    resources: list[OperationResource] = Field(default_factory=list)
    """What became of the objects."""
    retention_timer: Timer | None = None
    """How long ago it ended."""
    conditions: Conditions = Field(default_factory=list)
    """Aspects of its state."""
    observed_generation: Int64 | None = None
    """Generation of the spec that this status is about."""


class VirtualMachineSnapshotOperation(Resource):
    """One thing to do with a snapshot of a virtual machine, once; kept for a day as a record."""

    spec: Annotated[VirtualMachineSnapshotOperationSpec, DONE_ONCE]
    """What to do with which snapshot."""
    status: VirtualMachineSnapshotOperationStatus = Field(default_factory=VirtualMachineSnapshotOperationStatus)
    """What became of the operation."""


VIRTUAL_MACHINE_SNAPSHOT_OPERATION = KINDS.add(
    Kind(
        group=GROUP,
        version=VERSION,
        kind="VirtualMachineSnapshotOperation",
        plural="virtualmachinesnapshotoperations",
        singular="virtualmachinesnapshotoperation",
        namespaced=True,
        model=VirtualMachineSnapshotOperation,
        main_condition=SnapshotOperationCondition.COMPLETED,
        short_names=("vmsop",),
        categories=(CATEGORY,),
        columns=(
            Column("Phase", ".status.phase", description="State of the operation"),
            Column("Type", ".spec.type", description="What to do"),
            Column(
                "VirtualMachineSnapshot", ".spec.virtualMachineSnapshotName", description="With which snapshot"
            ),
            AGE,
        ),
        # The block stays optional for every type: the reference fails an operation without it, later.
        rules=(renaming_rule("spec.createVirtualMachine"),),
        subresources=frozenset({"status"}),
        finalizer=VMSOP_CLEANUP,
        settled=(SnapshotOperationPhase.COMPLETED, SnapshotOperationPhase.FAILED),
    )
)
