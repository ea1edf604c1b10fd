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
from hyperd.controllers.image.volume import class_name_of, on_volume
from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, VIRTUAL_DISK_SNAPSHOT, VIRTUAL_IMAGE
from hyperd.resources.kinds.data_source import DataSourceType
from hyperd.resources.kinds.virtual_disk import DiskDatasourceReason, DiskReadyReason
from hyperd.resources.kinds.virtual_disk_snapshot import SnapshotPhase
from hyperd.resources.kinds.virtual_image import ImagePhase
from hyperd.resources.values.quantity import round_up, to_bytes

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk
    from hyperd.resources.views.virtual_disk_snapshot import VirtualDiskSnapshot

_NOT_FOUND: Final = (DiskDatasourceReason.IMAGE_NOT_FOUND, DiskDatasourceReason.CLUSTER_IMAGE_NOT_FOUND)


@dataclass(frozen=True)
class Source:
    """One of these; none where there is something to import first."""

    reference: str = ""
    """Of an image in the registry."""
    snapshot: str = ""
    """uid of a snapshot."""
    volume: str = ""
    """uid of an image that is on a volume."""
    uid: str = ""
    """Of the object that the disk is made of."""


@dataclass(frozen=True)
class Waiting:
    """The source is not there yet, and why."""

    reason: DiskDatasourceReason
    """Of ``DatasourceReady``."""
    message: str
    missing: bool = False
    """Whether there is none of that name, where the reason does not say so."""

    @property
    def ready_reason(self) -> DiskReadyReason:
        """Reason of ``Ready``."""
        if self.missing or self.reason in _NOT_FOUND:
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
        return _snapshot(context, disk)
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
    if not on_volume(image):
        return Source(reference=reference_of(context, kind, image), uid=image["metadata"]["uid"])
    if image["status"].get("cdrom"):
        return Waiting(unready, f'{kind.kind} "{ref["name"]}" is an ISO image: a disk cannot be made of it.')
    return Source(volume=image["metadata"]["uid"], uid=image["metadata"]["uid"])


def class_of_source(context: Context, disk: VirtualDisk) -> str:
    """The StorageClass of what the disk is made of, where it can be made in that alone; else empty."""
    snapshot = snapshot_of(context, disk)
    if snapshot is not None:
        source = (snapshot.get("status") or {}).get("source")
        return "" if source is None else source.get("storageClassName", "")
    ref = (disk["spec"].get("dataSource") or {}).get("objectRef")
    if ref is None or ref["kind"] != VIRTUAL_IMAGE.kind:
        return ""
    image = context.informer(VIRTUAL_IMAGE).get(disk["metadata"]["namespace"], ref["name"])
    return class_name_of(image) if image is not None and on_volume(image) else ""


def snapshot_of(context: Context, disk: VirtualDisk) -> VirtualDiskSnapshot | None:
    """The snapshot that the disk is made of; None without one."""
    ref = (disk["spec"].get("dataSource") or {}).get("objectRef")
    if ref is None or ref["kind"] != VIRTUAL_DISK_SNAPSHOT.kind:
        return None
    return context.informer(VIRTUAL_DISK_SNAPSHOT).get(disk["metadata"]["namespace"], ref["name"])


def _snapshot(context: Context, disk: VirtualDisk) -> Source | Waiting:
    name, found = disk["spec"]["dataSource"]["objectRef"]["name"], snapshot_of(context, disk)
    reason = DiskDatasourceReason.SNAPSHOT_NOT_READY
    if found is None:
        return Waiting(reason, f'VirtualDiskSnapshot "{name}" does not exist.', missing=True)
    phase = (found.get("status") or {}).get("phase") or SnapshotPhase.PENDING
    if phase != SnapshotPhase.READY:
        return Waiting(reason, f'VirtualDiskSnapshot "{name}" is {phase}, not Ready.')
    return Source(snapshot=found["metadata"]["uid"], uid=found["metadata"]["uid"])


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


def size_to_claim(context: Context, disk: VirtualDisk) -> int | None:
    """Bytes of the volume that is to be made; None where its source does not tell yet, or is too large for it."""
    source, requested = source_of(context, disk), requested_size(disk)
    if source is None or source == Source() or isinstance(source, Waiting):
        known = requested is not None and not isinstance(source, Waiting)
        return round_up(requested) if requested is not None and known else None
    needed = _size_of_source(context, disk)
    if needed is None or requested is None:
        return needed
    if source.snapshot:
        return max(needed, round_up(requested))
    return round_up(requested) if round_up(requested) >= needed else None


def _size_of_source(context: Context, disk: VirtualDisk) -> int | None:
    """Bytes of the image or snapshot that it is made of, as the status of that says."""
    snapshot = snapshot_of(context, disk)
    if snapshot is not None:
        told = (snapshot.get("status") or {}).get("source")
        total = None if told is None else told.get("size")
        return None if not total else round_up(to_bytes(total))
    ref = (disk["spec"].get("dataSource") or {}).get("objectRef")
    kind = None if ref is None else usage.IMAGE_KINDS.get(ref["kind"])
    if ref is None or kind is None:
        return None
    image = context.informer(kind).get(disk["metadata"]["namespace"] if kind.namespaced else "", ref["name"])
    size = None if image is None else (image.get("status") or {}).get("size")
    unpacked = None if size is None else size.get("unpackedBytes")
    return None if not unpacked else round_up(int(unpacked))


def requested_size(disk: VirtualDisk) -> int | None:
    """Bytes that the disk asks for; None where its source decides."""
    size = (disk["spec"].get("persistentVolumeClaim") or {}).get("size")
    return None if size is None else to_bytes(size)
