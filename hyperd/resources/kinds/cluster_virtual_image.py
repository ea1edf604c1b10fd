"""ClusterVirtualImage: a read-only image that every namespace may use."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hyperd.resources.kinds.base import LIST_SET, Conditions, Int64, OperationRecord, Resource, Section, one_of
from hyperd.resources.kinds.data_source import (
    HIDDEN_SOURCE,
    ContainerImageSource,
    DataSourceType,
    DownloadSpeed,
    HTTPSource,
    ImageObjectRef,
    ImageObjectRefKind,
    ImageSize,
    ImageUploadURLs,
    PullSecretReference,
    Retry,
    UploadSource,
    data_source_rules,
)
from hyperd.resources.kinds.virtual_image import AGE, IMAGE_COLUMNS, ImageCondition, ImagePhase
from hyperd.resources.schema.applies import NeverAfter
from hyperd.resources.schema.kind import KINDS, Kind, Object
from hyperd.resources.schema.rule import Rule
from hyperd.resources.values.names import CLUSTER_CATEGORY, CVI_CLEANUP, GROUP, VERSION

_PHASES = one_of(*(phase.value for phase in ImagePhase if phase is not ImagePhase.PVC_LOST))


class NamespacedPullSecretReference(PullSecretReference):
    """A Secret of any namespace; none when the name is empty, as typed clients write it."""

    namespace: Annotated[str, Field(max_length=63)] | None = None
    """Namespace of the Secret."""


class ClusterContainerImageSource(ContainerImageSource):
    """An image kept as a file below ``/disk`` of a container image."""

    image_pull_secret: NamespacedPullSecretReference | None = None
    """Secret with the registry's credentials."""


class ClusterImageObjectRef(ImageObjectRef):
    """Another image, disk or snapshot."""

    namespace: Annotated[str, Field(max_length=63)] | None = None
    """Namespace of the source; needed for every kind but ClusterVirtualImage."""


class ClusterImageDataSource(Section):
    """Where the content of a cluster-wide image comes from."""

    type: DataSourceType
    """Kind of source; the block of the same name describes it."""
    http: HTTPSource | None = None
    """For HTTP: the file to download."""
    container_image: ClusterContainerImageSource | None = None
    """For ContainerImage: the container image to take the file from."""
    object_ref: ClusterImageObjectRef | None = None
    """For ObjectRef: the object to copy."""
    upload: UploadSource | None = None
    """For Upload: what the upload must satisfy."""


class ClusterVirtualImageSpec(Section):
    """What the image shall be made of."""

    data_source: ClusterImageDataSource
    """Where the content comes from."""


class ClusterVirtualImageTarget(Section):
    """Where the image is kept."""

    registry_url: Annotated[str | None, Field(alias="registryURL")] = None
    """Reference of the image in the registry."""


class ClusterVirtualImageStatus(Section):
    """What became of the image."""

    phase: Annotated[ImagePhase | None, _PHASES] = None
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
    target: ClusterVirtualImageTarget | None = None
    """Where the image is kept."""
    used_in_namespaces: Annotated[list[str], Field(json_schema_extra=LIST_SET)] = Field(default_factory=list)
    """Namespaces whose virtual machines use the image."""
    conditions: Conditions = Field(default_factory=list)
    """Aspects of the image's state."""
    observed_generation: Int64 | None = None
    """Generation of the spec that this status is about."""


class ClusterVirtualImage(Resource):
    """An image for all namespaces, from which virtual machines boot or disks are made. It is always read-only."""

    spec: Annotated[
        ClusterVirtualImageSpec,
        NeverAfter(
            "ClusterVirtualImage is in a {phase} state: configuration changes are not available",
            phases=(ImagePhase.READY, ImagePhase.IMAGE_LOST),
        ),
    ]
    """What the image shall be made of."""
    status: ClusterVirtualImageStatus = Field(default_factory=ClusterVirtualImageStatus)
    """What became of the image."""


def _has_namespace(value: Object, _: Object | None) -> bool:
    return value["kind"] == ImageObjectRefKind.CLUSTER_VIRTUAL_IMAGE or bool(value.get("namespace"))


CLUSTER_VIRTUAL_IMAGE = KINDS.add(
    Kind(
        group=GROUP,
        version=VERSION,
        kind="ClusterVirtualImage",
        plural="clustervirtualimages",
        singular="clustervirtualimage",
        namespaced=False,
        model=ClusterVirtualImage,
        finalizer=CVI_CLEANUP,
        main_condition=ImageCondition.READY,
        settled=("Ready", "WaitForUserUpload"),
        short_names=("cvi",),
        categories=(CLUSTER_CATEGORY,),
        columns=(*IMAGE_COLUMNS, AGE),
        rules=(
            *data_source_rules(),
            Rule(
                path="spec.dataSource.objectRef",
                message="namespace is required for VirtualImage, VirtualDisk and VirtualDiskSnapshot",
                cel=(
                    "self.kind == 'ClusterVirtualImage'"
                    " || (has(self.__namespace__) && size(self.__namespace__) > 0)"
                ),
                holds=_has_namespace,
            ),
        ),
        subresources=frozenset({"status"}),
        hidden=HIDDEN_SOURCE,
        elsewhere=(
            "spec.dataSource.objectRef",
            "spec.dataSource.containerImage.imagePullSecret",
            "status.usedInNamespaces",
        ),
    )
)
