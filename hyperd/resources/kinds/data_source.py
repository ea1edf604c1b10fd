"""Where the content of an image or disk comes from; shared by images and disks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from hyperd.resources.kinds.base import Base64, NonEmpty, Section
from hyperd.resources.schema.hidden import hidden, without_credentials
from hyperd.resources.schema.rule import Rule

URL_PATTERN = r"^https?://[!-~]+$"
IMAGE_PATTERN = (
    r"^([a-zA-Z0-9][-_a-zA-Z0-9.]*(:[0-9]{1,5})?/)?"
    r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
    r"(:[a-zA-Z0-9_][-a-zA-Z0-9_.]{0,127})?(@[a-zA-Z][-+._a-zA-Z0-9]*:[a-fA-F0-9]{32,128})?$"
)


class DataSourceType(StrEnum):
    HTTP = "HTTP"
    CONTAINER_IMAGE = "ContainerImage"
    OBJECT_REF = "ObjectRef"
    UPLOAD = "Upload"


class ReadyReason(StrEnum):
    """Reasons of the ``Ready`` condition that images and disks share."""

    WAIT_FOR_USER_UPLOAD = "WaitForUserUpload"
    WAIT_FOR_USER_UPLOAD_TIMEOUT = "WaitForUserUploadTimeout"
    PROVISIONING = "Provisioning"
    PROVISIONING_NOT_STARTED = "ProvisioningNotStarted"
    PROVISIONING_FAILED = "ProvisioningFailed"
    PROVISIONING_FAILED_TERMINALLY = "ProvisioningFailedTerminally"
    PROVISIONING_POSTPONED = "ProvisioningPostponed"
    QUOTA_EXCEEDED = "QuotaExceeded"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    READY = "Ready"


class InUseReason(StrEnum):
    ATTACHED_TO_VIRTUAL_MACHINE = "AttachedToVirtualMachine"
    USED_FOR_IMAGE_CREATION = "UsedForImageCreation"
    USED_FOR_DATA_EXPORT = "UsedForDataExport"
    NOT_IN_USE = "NotInUse"


class TerminatingReason(StrEnum):
    """Reasons of ``Terminating``, of images and disks."""

    CLEANUP_PENDING = "CleanupPending"


def _digest(length: int) -> Any:
    return Field(pattern=f"^[0-9a-fA-F]{{{length}}}$", min_length=length, max_length=length)


class Checksum(Section):
    """Checksums of the bytes as received, before decompression; every one that is given must match."""

    md5: Annotated[str, _digest(32)] | None = None
    """MD5, 32 hexadecimal digits."""
    sha1: Annotated[str, _digest(40)] | None = None
    """SHA-1, 40 hexadecimal digits."""
    sha256: Annotated[str, _digest(64)] | None = None
    """SHA-256, 64 hexadecimal digits."""
    sha512: Annotated[str, _digest(128)] | None = None
    """SHA-512, 128 hexadecimal digits."""
    streebog256: Annotated[str, _digest(64)] | None = None
    """GOST R 34.11-2012 with 256 bits, 64 hexadecimal digits."""
    streebog512: Annotated[str, _digest(128)] | None = None
    """GOST R 34.11-2012 with 512 bits, 128 hexadecimal digits."""


class HTTPSource(Section):
    """An image served over HTTP or HTTPS."""

    url: Annotated[str, Field(pattern=URL_PATTERN, max_length=8192)]
    """Address of the file: qcow2, raw, vmdk, vdi or iso, optionally compressed by gzip, xz, zstd or bzip2."""
    ca_bundle: Base64 | None = None
    """Certificates of the authorities that sign the server's, PEM in base64."""
    checksum: Checksum | None = None
    """What the received bytes must add up to."""


class PullSecretReference(Section):
    """A Secret of the same namespace; none when the name is empty, as typed clients write it."""

    name: str | None = None
    """Name of the Secret."""


class ContainerImageSource(Section):
    """An image kept as a file below ``/disk`` of a container image."""

    image: Annotated[str, Field(pattern=IMAGE_PATTERN, max_length=512)]
    """Reference of the container image, such as ``registry.example.com/images/debian:12``."""
    image_pull_secret: PullSecretReference | None = None
    """Secret with the registry's credentials."""
    ca_bundle: Base64 | None = None
    """Certificates of the authorities that sign the registry's, PEM in base64."""


class ImageObjectRefKind(StrEnum):
    VIRTUAL_IMAGE = "VirtualImage"
    CLUSTER_VIRTUAL_IMAGE = "ClusterVirtualImage"
    VIRTUAL_DISK = "VirtualDisk"
    VIRTUAL_DISK_SNAPSHOT = "VirtualDiskSnapshot"


class ImageObjectRef(Section):
    """Another image, disk or snapshot of the same namespace, or a cluster-wide image."""

    kind: ImageObjectRefKind
    """Kind of the source."""
    name: NonEmpty
    """Name of the source."""


class UploadSource(Section):
    """Content that a user sends to the address in the status."""

    checksum: Checksum | None = None
    """What the received bytes must add up to."""


class ImageDataSource(Section):
    """Where the content of an image comes from."""

    type: DataSourceType | None = None
    """Kind of source; the block of the same name describes it."""
    http: HTTPSource | None = None
    """For HTTP: the file to download."""
    container_image: ContainerImageSource | None = None
    """For ContainerImage: the container image to take the file from."""
    object_ref: ImageObjectRef | None = None
    """For ObjectRef: the object to copy."""
    upload: UploadSource | None = None
    """For Upload: what the upload must satisfy."""


_BLOCKS = {
    DataSourceType.HTTP: "http",
    DataSourceType.CONTAINER_IMAGE: "containerImage",
    DataSourceType.OBJECT_REF: "objectRef",
}


def data_source_rules(path: str = "spec.dataSource") -> tuple[Rule, ...]:
    """A source has exactly the block of its type; an upload has none but, optionally, its own."""
    return tuple(_block_rule(path, type_) for type_ in DataSourceType)


def _block_rule(path: str, type_: DataSourceType) -> Rule:
    own = _BLOCKS.get(type_)
    others = [block for block in _BLOCKS.values() if block != own]
    terms = [f"has(self.{own})"] if own else []
    terms += [f"!has(self.{other})" for other in others]

    def holds(value: Any, _: Any) -> bool:
        if value.get("type") != type_:
            return True
        return (own is None or own in value) and not any(other in value for other in others)

    needs = f"requires {own} and " if own else ""
    foreign = [other for other, block in _BLOCKS.items() if block != own]
    return Rule(
        path=path,
        message=f"{type_} {needs}cannot have {' or '.join(foreign)}.",
        cel=f"!has(self.type) || self.type != '{type_}' || ({' && '.join(terms)})",
        holds=holds,
    )


HIDDEN_SOURCE = {
    "spec.dataSource.http.url": without_credentials,
    "status.imageUploadURLs": hidden,
    "status.uploadCommand": hidden,
}
"""Whoever has the address of an upload may upload."""


class ImageSize(Section):
    """Sizes of an image, for people and exactly."""

    stored: str | None = None
    """Size as stored in the registry, such as 285.9Mi."""
    stored_bytes: str | None = None
    """Size as stored in the registry, in bytes."""
    unpacked: str | None = None
    """Size of the disk that the image unpacks to, such as 2.5Gi."""
    unpacked_bytes: str | None = None
    """Size of the disk that the image unpacks to, in bytes."""


class DownloadSpeed(Section):
    """How fast the content arrives; only averages remain at the end."""

    avg: str | None = None
    """Average speed, such as 44.4Mi/s."""
    avg_bytes: str | None = None
    """Average speed in bytes per second."""
    current: str | None = None
    """Speed right now."""
    current_bytes: str | None = None
    """Speed right now in bytes per second."""


class Retry(Section):
    """Of work that failed and is tried again."""

    failures: int | None = None
    """How often it failed in a row."""
    after_seconds: int | None = None
    """How long it still waits, as of the last look."""


class ImageUploadURLs(Section):
    """Where to send the content to."""

    external: str | None = None
    """Address from outside, which carries the secret."""
    in_cluster: str | None = None
    """Address from inside the cluster."""
