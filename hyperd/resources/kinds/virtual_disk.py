"""VirtualDisk: a writable volume of one namespace, blank or made of an image."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from hyperd.resources.kinds.base import (
    Conditions,
    Int64,
    NonEmpty,
    OperationRecord,
    Quantity,
    Resource,
    Section,
    Timestamp,
    list_map,
)
from hyperd.resources.kinds.data_source import (
    HIDDEN_SOURCE,
    ContainerImageSource,
    DataSourceType,
    DownloadSpeed,
    HTTPSource,
    ImageUploadURLs,
    Retry,
    UploadSource,
    data_source_rules,
)
from hyperd.resources.kinds.virtual_image import AGE
from hyperd.resources.schema.applies import LIVE, NeverAfter
from hyperd.resources.schema.kind import KINDS, Column, Kind
from hyperd.resources.values.names import CATEGORY, GROUP, VD_CLEANUP, VERSION


class VirtualDiskPhase(StrEnum):
    PENDING = "Pending"
    PROVISIONING = "Provisioning"
    WAIT_FOR_USER_UPLOAD = "WaitForUserUpload"
    WAIT_FOR_FIRST_CONSUMER = "WaitForFirstConsumer"
    READY = "Ready"
    RESIZING = "Resizing"
    MIGRATING = "Migrating"
    EXPORTING = "Exporting"
    FAILED = "Failed"
    PVC_LOST = "PVCLost"
    TERMINATING = "Terminating"


PROVISIONED = (
    VirtualDiskPhase.READY, VirtualDiskPhase.RESIZING, VirtualDiskPhase.MIGRATING, VirtualDiskPhase.EXPORTING,
    VirtualDiskPhase.PVC_LOST,
)  # fmt: skip


class VirtualDiskCondition(StrEnum):
    DATASOURCE_READY = "DatasourceReady"
    READY = "Ready"
    STORAGE_CLASS_READY = "StorageClassReady"
    RESIZING = "Resizing"
    SNAPSHOTTING = "Snapshotting"
    IN_USE = "InUse"
    MIGRATING = "Migrating"
    IMAGE_FETCHED = "ImageFetched"
    """Beyond the reference's: there, and false, while the disk is used before its image is on the node."""
    TERMINATING = "Terminating"


class DiskFetchReason(StrEnum):
    """Reasons of ``ImageFetched``, none of which the reference has."""

    FETCHING = "Fetching"
    WAITING_FOR_REGISTRY = "WaitingForRegistry"
    IMAGE_DAMAGED = "ImageDamaged"
    """What the registry sends is not the image."""
    DAMAGE_READ = "DamageRead"
    """And a guest was stopped as it reads that."""
    SETTLING = "Settling"


class DiskDatasourceReason(StrEnum):
    """Reasons of ``DatasourceReady``."""

    DATASOURCE_READY = "DatasourceReady"
    CONTAINER_REGISTRY_SECRET_NOT_FOUND = "ContainerRegistrySecretNotFound"  # noqa: S105
    IMAGE_NOT_READY = "ImageNotReady"
    CLUSTER_IMAGE_NOT_READY = "ClusterImageNotReady"
    SNAPSHOT_NOT_READY = "VirtualDiskSnapshot"
    IMAGE_NOT_FOUND = "ImageNotFound"
    CLUSTER_IMAGE_NOT_FOUND = "ClusterImageNotFound"


class DiskReadyReason(StrEnum):
    """Reasons of ``Ready`` that only disks have; the rest is ``data_source.ReadyReason``."""

    WAITING_FOR_FIRST_CONSUMER = "WaitingForFirstConsumer"
    PVC_LOST = "PVCLost"
    UNKNOWN = "Unknown"
    """The storage that has its volume cannot be asked now."""
    EXPORTING = "Exporting"
    DATASOURCE_IS_NOT_READY = "DatasourceIsNotReady"
    DATASOURCE_IS_NOT_FOUND = "DatasourceIsNotFound"
    STORAGE_CLASS_IS_NOT_READY = "StorageClassIsNotReady"
    STORAGE_CLASS_PROVISIONER_MISMATCH = "StorageClassProvisionerMismatch"


class DiskStorageClassReason(StrEnum):
    STORAGE_CLASS_READY = "StorageClassReady"
    STORAGE_CLASS_NOT_READY = "StorageClassNotReady"


class ResizingReason(StrEnum):
    IN_PROGRESS = "InProgress"
    NOT_AVAILABLE = "NotAvailable"


class DiskSnapshottingReason(StrEnum):
    SNAPSHOTTING = "Snapshotting"
    NOT_AVAILABLE = "NotAvailable"


class DiskMigratingReason(StrEnum):
    WAIT_FOR_TARGET_READY = "WaitForTargetReady"
    IN_PROGRESS = "InProgress"
    WAIT_FOR_TARGET_VOLUME_RELEASE = "WaitForTargetVolumeRelease"
    WAIT_FOR_SOURCE_VOLUME_RELEASE = "WaitForSourceVolumeRelease"
    RESIZING_IN_PROGRESS = "ResizingInProgress"
    SNAPSHOTTING_IN_PROGRESS = "SnapshottingInProgress"
    STORAGE_CLASS_NOT_FOUND = "StorageClassNotFound"


class DiskObjectRefKind(StrEnum):
    VIRTUAL_IMAGE = "VirtualImage"
    CLUSTER_VIRTUAL_IMAGE = "ClusterVirtualImage"
    VIRTUAL_DISK_SNAPSHOT = "VirtualDiskSnapshot"


class DiskObjectRef(Section):
    """An image or snapshot of the same namespace, or a cluster-wide image."""

    kind: DiskObjectRefKind
    """Kind of the source."""
    name: NonEmpty
    """Name of the source."""


class DiskDataSource(Section):
    """Where the content of a disk comes from."""

    type: DataSourceType | None = None
    """Kind of source; the block of the same name describes it."""
    http: HTTPSource | None = None
    """For HTTP: the file to download."""
    container_image: ContainerImageSource | None = None
    """For ContainerImage: the container image to take the file from."""
    object_ref: DiskObjectRef | None = None
    """For ObjectRef: the image or snapshot to copy."""
    upload: UploadSource | None = None
    """For Upload: what the upload must satisfy."""


class VirtualDiskClaim(Section):
    """The volume of the disk."""

    size: Quantity | None = None
    """Size of the disk, such as 10Gi; it may grow later. An image's own size when empty."""
    storage_class_name: str | None = None
    """StorageClass of the volume; the default one when empty. A disk that is there moves to one named later."""


class VirtualDiskSpec(Section):
    """What the disk shall be."""

    data_source: (
        Annotated[
            DiskDataSource,
            NeverAfter(
                "data source cannot be changed: the VirtualDisk has already been provisioned", phases=PROVISIONED
            ),
        ]
        | None
    ) = None
    """Where the content comes from; a blank disk when absent."""
    persistent_volume_claim: Annotated[VirtualDiskClaim, LIVE] | None = None
    """Size and class of the volume. A blank disk needs a size."""


class VirtualDiskTarget(Section):
    """Where the disk is kept."""

    persistent_volume_claim_name: str | None = None
    """Name of the volume's claim, which the namespace's quota counts."""
    size: str | None = None
    """What the claim asks for, until the volume has that size."""
    provisioner: str | None = None
    """Who has the volume. While the disk is moved, what any other has is a copy."""


class AttachedVirtualMachine(Section):
    """A virtual machine that names the disk."""

    name: str
    """Name of the virtual machine."""
    mounted: bool = False
    """Whether its guest has the disk now."""


class CreationDuration(Section):
    """How long the steps of the disk's creation took."""

    waiting_for_dependencies: str | None = None
    """Waiting for the source."""
    waiting_for_first_consumer: str | None = None
    """Waiting for a virtual machine."""
    dvcr_provisioning: str | None = None
    """Bringing the content into the registry."""
    total_provisioning: str | None = None
    """All of the provisioning."""


class VirtualDiskStats(Section):
    """Times of the disk's life."""

    creation_duration: CreationDuration | None = None
    """How long the steps of the disk's creation took."""


class MigrationResult(StrEnum):
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class DiskMigrationState(Section):
    """The last move of the disk to another StorageClass."""

    source_pvc: Annotated[str | None, Field(alias="sourcePVC")] = None
    """Claim moved from."""
    target_pvc: Annotated[str | None, Field(alias="targetPVC")] = None
    """Claim moved to."""
    start_timestamp: Timestamp | None = None
    """When it began."""
    end_timestamp: Timestamp | None = None
    """When it ended."""
    result: MigrationResult | None = None
    """How it ended."""
    message: str | None = None
    """Why it ended so."""


class VirtualDiskStatus(Section):
    """What became of the disk."""

    phase: VirtualDiskPhase | None = None
    """State of the disk in one word."""
    capacity: str | None = None
    """Size of the disk, such as 10Gi."""
    progress: str | None = None
    """How much of the provisioning is done, such as 28.2%."""
    download_speed: DownloadSpeed | None = None
    """How fast the content arrives."""
    retry: Retry | None = None
    """When the work is tried again, while it fails for a passing reason."""
    operation: OperationRecord | None = None
    """The work under way."""
    image_upload_urls: Annotated[ImageUploadURLs | None, Field(alias="imageUploadURLs")] = None
    """Where to send the content to, for the source Upload."""
    upload_command: str | None = None
    """Deprecated: see imageUploadURLs."""
    storage_class_name: str | None = None
    """StorageClass of the volume."""
    source_uid: Annotated[str | None, Field(alias="sourceUID")] = None
    """UID of the object that the disk was made from."""
    target: VirtualDiskTarget | None = None
    """Where the disk is kept."""
    attached_to_virtual_machines: Annotated[
        list[AttachedVirtualMachine], Field(json_schema_extra=list_map("name"))
    ] = Field(default_factory=list)
    """Virtual machines that name the disk."""
    stats: VirtualDiskStats | None = None
    """Times of the disk's life."""
    migration_state: DiskMigrationState | None = None
    """The last move of the disk to another StorageClass."""
    conditions: Conditions = Field(default_factory=list)
    """Aspects of the disk's state."""
    observed_generation: Int64 | None = None
    """Generation of the spec that this status is about."""


class VirtualDisk(Resource):
    """A disk of one namespace: writable, blank or made of an image, kept when its virtual machine is deleted."""

    spec: VirtualDiskSpec
    """What the disk shall be."""
    status: VirtualDiskStatus = Field(default_factory=VirtualDiskStatus)
    """What became of the disk."""


VIRTUAL_DISK = KINDS.add(
    Kind(
        group=GROUP,
        version=VERSION,
        kind="VirtualDisk",
        plural="virtualdisks",
        singular="virtualdisk",
        namespaced=True,
        model=VirtualDisk,
        finalizer=VD_CLEANUP,
        main_condition=VirtualDiskCondition.READY,
        settled=("Ready", "WaitForFirstConsumer", "WaitForUserUpload"),
        short_names=("vd",),
        categories=(CATEGORY,),
        columns=(
            Column("Phase", ".status.phase", description="State of the disk"),
            Column("Capacity", ".status.capacity", description="Size of the disk"),
            Column("InUse", ".status.conditions[?(@.type=='InUse')].status", priority=1, description="In use"),
            Column(
                "VirtualMachine",
                ".status.attachedToVirtualMachines[?(@.mounted==true)].name",
                description="The virtual machine that has it",
            ),
            Column("Progress", ".status.progress", priority=1, description="How much is done"),
            Column("StorageClass", ".status.storageClassName", priority=1, description="Class of its volume"),
            Column("TargetPVC", ".status.target.persistentVolumeClaimName", priority=1, description="Its volume"),
            AGE,
        ),
        rules=data_source_rules(),
        subresources=frozenset({"status"}),
        hidden=HIDDEN_SOURCE,
    )
)
