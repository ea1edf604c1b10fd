"""VirtualMachineBlockDeviceAttachment: a disk or image attached to a machine beside those of its spec."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from hyperd.resources.kinds.base import Conditions, Int64, NonEmpty, Resource, Section
from hyperd.resources.kinds.virtual_image import AGE
from hyperd.resources.kinds.virtual_machine import BlockDeviceKind
from hyperd.resources.schema.applies import NeverAfter
from hyperd.resources.schema.kind import KINDS, Column, Kind
from hyperd.resources.values.names import CATEGORY, GROUP, VERSION, VMBDA_CLEANUP


class AttachmentPhase(StrEnum):
    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    ATTACHED = "Attached"
    FAILED = "Failed"
    TERMINATING = "Terminating"


class AttachmentCondition(StrEnum):
    BLOCK_DEVICE_READY = "BlockDeviceReady"
    VIRTUAL_MACHINE_READY = "VirtualMachineReady"
    ATTACHED = "Attached"
    CAPACITY_AVAILABLE = "DiskAttachmentCapacityAvailableType"
    """The reference's own spelling; clients match it."""
    TERMINATING = "Terminating"


class AttachmentDeviceReason(StrEnum):
    READY = "BlockDeviceReady"
    NOT_READY = "BlockDeviceNotReady"


class AttachmentMachineReason(StrEnum):
    READY = "VirtualMachineReady"
    NOT_READY = "VirtualMachineNotReady"
    NOT_ATTACHED = "NotAttached"
    """The machine is off, or on its way there or back."""


class AttachedReason(StrEnum):
    ATTACHED = "Attached"
    NOT_ATTACHED = "NotAttached"
    REQUEST_SENT = "AttachmentRequestSent"
    CONFLICT = "Conflict"
    NOT_AVAILABLE_ON_NODE = "DeviceNotAvailableOnNode"


class CapacityReason(StrEnum):
    AVAILABLE = "CapacityAvailable"
    REACHED = "CapacityReached"
    UNKNOWN = "CapacityUnknown"


class AttachmentTerminatingReason(StrEnum):
    DETACH_PENDING = "DetachPending"


class AttachedDeviceRef(Section):
    """The disk or image to attach."""

    kind: BlockDeviceKind | None = None
    """What it is; images are attached read-only."""
    name: NonEmpty | None = None
    """Its name."""


class VirtualMachineBlockDeviceAttachmentSpec(Section):
    """What to attach to which machine."""

    block_device_ref: AttachedDeviceRef
    """The disk or image to attach."""
    virtual_machine_name: NonEmpty
    """The virtual machine of the namespace."""


class VirtualMachineBlockDeviceAttachmentStatus(Section):
    """What became of the attachment."""

    phase: AttachmentPhase | None = None
    """State of the attachment in one word."""
    virtual_machine_name: str | None = None
    """The virtual machine that has the device; empty until then."""
    conditions: Conditions = Field(default_factory=list)
    """Aspects of its state."""
    observed_generation: Int64 | None = None
    """Generation of the spec that this status is about."""


class VirtualMachineBlockDeviceAttachment(Resource):
    """Attaches a disk or image to a running machine, for as long as the object exists."""

    spec: Annotated[
        VirtualMachineBlockDeviceAttachmentSpec,
        NeverAfter("spec is immutable: create another attachment instead"),
    ]
    """What to attach to which machine."""
    status: VirtualMachineBlockDeviceAttachmentStatus = Field(
        default_factory=VirtualMachineBlockDeviceAttachmentStatus
    )
    """What became of the attachment."""


VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT = KINDS.add(
    Kind(
        group=GROUP,
        version=VERSION,
        kind="VirtualMachineBlockDeviceAttachment",
        plural="virtualmachineblockdeviceattachments",
        singular="virtualmachineblockdeviceattachment",
        namespaced=True,
        model=VirtualMachineBlockDeviceAttachment,
        finalizer=VMBDA_CLEANUP,
        main_condition=AttachmentCondition.ATTACHED,
        settled=("Attached", "Failed"),
        short_names=("vmbda",),
        categories=(CATEGORY,),
        columns=(
            Column("PHASE", ".status.phase", description="State of the attachment"),
            Column("BLOCKDEVICE KIND", ".spec.blockDeviceRef.kind", priority=1, description="What the device is"),
            Column("BLOCKDEVICE NAME", ".spec.blockDeviceRef.name", priority=1, description="Name of the device"),
            Column("VIRTUALMACHINE", ".status.virtualMachineName", description="The machine that has it"),
            # Upper case, as the reference has all columns of this kind.
            replace(AGE, name="AGE"),
        ),
        subresources=frozenset({"status"}),
    )
)
