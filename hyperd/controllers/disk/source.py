"""Where a disk's first content comes from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.image import pull_secret
from hyperd.controllers.image.reference import reference_of
from hyperd.controllers.image.source import IMPORTED
from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE
from hyperd.resources.kinds.data_source import DataSourceType
from hyperd.resources.kinds.virtual_disk import DiskDatasourceReason, DiskReadyReason
from hyperd.resources.kinds.virtual_image import ImagePhase
from hyperd.resources.values.quantity import to_bytes

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk

_NOT_FOUND: Final = (DiskDatasourceReason.IMAGE_NOT_FOUND, DiskDatasourceReason.CLUSTER_IMAGE_NOT_FOUND)


@dataclass(frozen=True)
class Source:
    """A registry reference; empty where there is something to import first."""

    reference: str = ""


@dataclass(frozen=True)
class Waiting:
    """The source is not there yet, and why."""

    reason: DiskDatasourceReason
    """Of ``DatasourceReady``."""
    message: str

    @property
    def ready_reason(self) -> DiskReadyReason:
        """Reason of ``Ready``."""
        if self.reason in _NOT_FOUND:
            return DiskReadyReason.DATASOURCE_IS_NOT_FOUND
        return DiskReadyReason.DATASOURCE_IS_NOT_READY


def source_of(context: Context, disk: VirtualDisk) -> Source | Waiting | None:
    """The source, None for a blank disk, or what it waits for."""
    declared = disk["spec"].get("dataSource")
    if not declared:
        return None
    if declared.get("type") in IMPORTED:
        return Source()
    if declared.get("type") != DataSourceType.OBJECT_REF:
        message = f"Data source {declared.get('type')} is not built yet in this version."
        return Waiting(DiskDatasourceReason.IMAGE_NOT_READY, message)
    ref = declared["objectRef"]
    kind = usage.IMAGE_KINDS.get(ref["kind"])
    if kind is None:
        message = f"Data source {ref['kind']} is not built yet in this version."
        return Waiting(DiskDatasourceReason.SNAPSHOT_NOT_READY, message)
    if kind is CLUSTER_VIRTUAL_IMAGE:
        missing, unready = (
            DiskDatasourceReason.CLUSTER_IMAGE_NOT_FOUND,
            DiskDatasourceReason.CLUSTER_IMAGE_NOT_READY,
        )
    else:
        missing, unready = DiskDatasourceReason.IMAGE_NOT_FOUND, DiskDatasourceReason.IMAGE_NOT_READY
    image = context.informer(kind).get(disk["metadata"]["namespace"] if kind.namespaced else "", ref["name"])
    if image is None:
        return Waiting(missing, f'{kind.kind} "{ref["name"]}" does not exist.')
    phase = (image.get("status") or {}).get("phase") or ImagePhase.PENDING
    if phase != ImagePhase.READY:
        return Waiting(unready, f'{kind.kind} "{ref["name"]}" is {phase}, not Ready.')
    return Source(reference=reference_of(context, kind, image))


async def guard_secret(context: Context, disk: VirtualDisk) -> Waiting | None:
    """What a disk from a container image waits for, if its Secret is not there."""
    try:
        await pull_secret.read(context.store, disk, disk["spec"].get("dataSource"))
    except pull_secret.SecretMissing as err:
        return Waiting(DiskDatasourceReason.CONTAINER_REGISTRY_SECRET_NOT_FOUND, err.message)
    return None


def digest_of(disk: VirtualDisk) -> str:
    """Of what decides the content of the disk's volume, and where that is: the source and the class."""
    source = disk["spec"].get("dataSource") or {}
    declared = dict(source)
    if http := source.get("http"):
        declared["http"] = {"url": http["url"], "checksum": http.get("checksum")}
    if container := source.get("containerImage"):
        declared["containerImage"] = {"image": container["image"]}
    class_ = (disk["spec"].get("persistentVolumeClaim") or {}).get("storageClassName")
    body = orjson.dumps([declared, class_], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(body).hexdigest()[:32]


def requested_size(disk: VirtualDisk) -> int | None:
    """Bytes that the disk asks for; None where its source decides."""
    size = (disk["spec"].get("persistentVolumeClaim") or {}).get("size")
    return None if size is None else to_bytes(size)
