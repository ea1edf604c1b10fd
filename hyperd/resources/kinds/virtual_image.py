"""VirtualImage: a read-only image of one namespace, kept in the registry."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from hyperd.resources.kinds.base import Conditions, Int64, OperationRecord, Resource, Section
from hyperd.resources.kinds.data_source import (
    HIDDEN_SOURCE,
    DownloadSpeed,
    ImageDataSource,
    ImageSize,
    ImageUploadURLs,
    Retry,
    data_source_rules,
)
from hyperd.resources.schema.applies import LIVE, NeverAfter
from hyperd.resources.schema.kind import KINDS, Column, Kind
from hyperd.resources.values.names import CATEGORY, GROUP, VERSION, VI_CLEANUP


class VirtualImageStorage(StrEnum):
    CONTAINER_REGISTRY = "ContainerRegistry"
    PERSISTENT_VOLUME_CLAIM = "PersistentVolumeClaim"
    KUBERNETES = "Kubernetes"


class ImagePhase(StrEnum):
    """Phases of images of both scopes."""

    PENDING = "Pending"
    PROVISIONING = "Provisioning"
    WAIT_FOR_USER_UPLOAD = "WaitForUserUpload"
    READY = "Ready"
    FAILED = "Failed"
    IMAGE_LOST = "ImageLost"
    PVC_LOST = "PVCLost"
    """Of an image on a volume, which a cluster-wide one never is."""
    TERMINATING = "Terminating"


PROVISIONED = (ImagePhase.READY, ImagePhase.IMAGE_LOST, ImagePhase.PVC_LOST)


class ImageCondition(StrEnum):
    """Types of conditions of images of both scopes."""

    DATASOURCE_READY = "DatasourceReady"
    READY = "Ready"
    STORAGE_CLASS_READY = "StorageClassReady"
    """Of an image on a volume."""
    IN_USE = "InUse"
    TERMINATING = "Terminating"


class ImageDatasourceReason(StrEnum):
    """Reasons of ``DatasourceReady`` on images of both scopes."""

    DATASOURCE_READY = "DatasourceReady"
    CONTAINER_REGISTRY_SECRET_NOT_FOUND = "ContainerRegistrySecretNotFound"  # noqa: S105
    IMAGE_NOT_READY = "ImageNotReady"
    CLUSTER_IMAGE_NOT_READY = "ClusterImageNotReady"
    VIRTUAL_DISK_NOT_READY = "VirtualDiskNotReady"
    VIRTUAL_DISK_SNAPSHOT_NOT_READY = "VirtualDiskSnapshotNotReady"
    VIRTUAL_DISK_NOT_READY_FOR_USE = "VirtualDiskNotReadyForUse"
    VIRTUAL_DISK_ATTACHED_TO_VIRTUAL_MACHINE = "VirtualDiskAttachedToVirtualMachine"


class ImageReadyReason(StrEnum):
    """Reasons of ``Ready`` that only images have; the rest is ``data_source.ReadyReason``."""

    STORAGE_CLASS_NOT_READY = "StorageClassNotReady"
    DATASOURCE_NOT_READY = "DatasourceNotReady"
    IMAGE_LOST = "ImageLost"
    PVC_LOST = "PVCLost"


class ImageStorageClassReason(StrEnum):
    STORAGE_CLASS_READY = "StorageClassReady"
    STORAGE_CLASS_NOT_FOUND = "StorageClassNotFound"


class VirtualImageClaim(Section):
    """The volume that keeps the image, for storage PersistentVolumeClaim."""

    storage_class_name: (
        Annotated[
            str,
            NeverAfter(
                "storage class cannot be changed: the VirtualImage has already been provisioned",
                phases=PROVISIONED,
            ),
        ]
        | None
    ) = None
    """StorageClass of the volume; the default one when empty."""


def _stays(spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether the image is where it is wanted: Kubernetes is PersistentVolumeClaim."""
    is_on_volume = bool((status.get("target") or {}).get("persistentVolumeClaimName"))
    return (spec["storage"] != VirtualImageStorage.CONTAINER_REGISTRY) is is_on_volume


class VirtualImageSpec(Section):
    """What the image shall be made of, and where it is kept."""

    storage: Annotated[
        VirtualImageStorage,
        NeverAfter(
            "storage cannot be changed: the VirtualImage has already been provisioned",
            phases=PROVISIONED,
            unless=_stays,
            but="to the other name of the same",
        ),
    ] = VirtualImageStorage.CONTAINER_REGISTRY
    """Where the image is kept: in the registry, or on a volume. Kubernetes is an old name of the latter."""
    persistent_volume_claim: Annotated[VirtualImageClaim, LIVE] | None = None
    """Volume of the image, for storage PersistentVolumeClaim."""
    data_source: Annotated[
        ImageDataSource,
        NeverAfter(
            "data source cannot be changed: the VirtualImage has already been provisioned", phases=PROVISIONED
        ),
    ]
    """Where the content comes from."""


class VirtualImageTarget(Section):
    """Where the image is kept."""

    registry_url: Annotated[str | None, Field(alias="registryURL")] = None
    """Reference of the image in the registry."""
    persistent_volume_claim_name: str | None = None
    """Name of the volume's claim, which the namespace's quota counts."""
    size: str | None = None
    """What the claim asks for, until the volume is there."""


class VirtualImageStatus(Section):
    """What became of the image."""

    phase: ImagePhase | None = None
    """State of the image in one word."""
    progress: str | None = None
    """How much of the import is done, such as 28.2%."""
    cdrom: bool | None = None
    """Whether the image is attached as a CD-ROM."""
    format: str | None = None
    """Format of the image as received."""
    size: ImageSize | None = None
    """Sizes of the image."""
    download_speed: DownloadSpeed | None = None
    """How fast the content arrives."""
    retry: Retry | None = None
    """When the work is tried again, while it fails for a passing reason."""
    operation: OperationRecord | None = None
    """The work under way."""
    image_upload_urls: Annotated[ImageUploadURLs | None, Field(alias="imageUploadURLs")] = None
    """Where to send the content to, for the source Upload."""
    upload_command: str | None = None
    """Deprecated: use imageUploadURLs."""
    source_uid: Annotated[str | None, Field(alias="sourceUID")] = None
    """UID of the object that the image was copied from."""
    storage_class_name: str | None = None
    """StorageClass of the image's volume."""
    target: VirtualImageTarget | None = None
    """Where the image is kept."""
    conditions: Conditions = Field(default_factory=list)
    """Aspects of the image's state."""
    observed_generation: Int64 | None = None
    """Generation of the spec that this status is about."""


class VirtualImage(Resource):
    """An image of one namespace, from which virtual machines boot or disks are made. It is always read-only."""

    spec: VirtualImageSpec
    """What the image shall be made of, and where it is kept."""
    status: VirtualImageStatus = Field(default_factory=VirtualImageStatus)
    """What became of the image."""


IMAGE_COLUMNS = (
    Column("Phase", ".status.phase", description="State of the image"),
    Column("CDROM", ".status.cdrom", type="boolean", description="Whether it is attached as a CD-ROM"),
    Column("Progress", ".status.progress", description="How much of the import is done"),
    Column("StoredSize", ".status.size.stored", priority=1, description="Size in the registry"),
    Column("UnpackedSize", ".status.size.unpacked", priority=1, description="Size of the disk it unpacks to"),
    Column("Registry URL", ".status.target.registryURL", priority=1, description="Where it is kept"),
)
AGE = Column("Age", ".metadata.creationTimestamp", type="date", description="When it was created")

VIRTUAL_IMAGE = KINDS.add(
    Kind(
        group=GROUP,
        version=VERSION,
        kind="VirtualImage",
        plural="virtualimages",
        singular="virtualimage",
        namespaced=True,
        model=VirtualImage,
        finalizer=VI_CLEANUP,
        main_condition=ImageCondition.READY,
        settled=("Ready", "WaitForUserUpload"),
        short_names=("vi",),
        categories=(CATEGORY,),
        columns=(
            *IMAGE_COLUMNS,
            Column("TargetPVC", ".status.target.persistentVolumeClaimName", priority=1, description="Its volume"),
            AGE,
        ),
        rules=data_source_rules(),
        subresources=frozenset({"status"}),
        hidden=HIDDEN_SOURCE,
    )
)
