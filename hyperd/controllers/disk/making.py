"""How a disk gets its first content: where from, and from nothing to a volume."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.image import transfer
from hyperd.controllers.image.controller import reference_of, repository_of
from hyperd.errors import PermanentError, QuotaExceeded, TemporaryError
from hyperd.imagefile.detect import ImageFormat
from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, VIRTUAL_DISK
from hyperd.resources.values.quantity import format_bytes, round_up, to_bytes
from hyperd.storage.interface import Volume
from hyperd.store.interface import PatchType
from registry.models import CachedImage, ImportRequest, Report

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk


@dataclass(frozen=True)
class Source:
    """Where a disk's first content comes from: a registry reference, or a URL to import first."""

    reference: str = ""
    http: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Waiting:
    """The source is not there yet, and why."""

    reason: str
    message: str


class DiskMaker:
    """Makes volumes of blank disks and of those from an image or a URL."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def make(self, disk: VirtualDisk, provisioner: str, source: Source | None, report: Report) -> Volume:
        """The job: idempotent, from nothing to a volume of ``provisioner``, which the disk's class names."""
        uid = disk["metadata"]["uid"]
        existing = await self._context.volumes.find(uid)
        if existing is not None:
            return existing
        requested, volumes = requested_size(disk), self._context.volumes.provisioner(provisioner)
        if source is None:
            if requested is None:
                raise PermanentError(
                    f"Disk {disk['metadata']['name']} has neither a data source nor a size.",
                    key="ProvisioningFailed",
                )
            return await volumes.create_blank(uid, round_up(requested))
        async with self._image(disk, source, report) as image:
            size = await self._size(disk, image, requested)
            return await volumes.create_from_image(uid, size, image=image.handle)

    async def _size(self, disk: VirtualDisk, image: CachedImage, requested: int | None) -> int:
        """Bytes of a disk that is made from ``image``; PermanentError where it cannot be."""
        if image.cdrom or image.format is ImageFormat.ISO:
            raise PermanentError("A disk cannot be made from an ISO image.", key="ProvisioningFailed")
        needed = round_up(image.virtual_size)
        size = needed if requested is None else round_up(requested)
        if size < needed:
            raise PermanentError(
                f"The requested size {format_bytes(size)} is smaller than the image, which needs "
                f"{format_bytes(needed)}; raise spec.persistentVolumeClaim.size.",
                key="ProvisioningFailed",
            )
        if requested is None:
            await self._claim(disk, size)
        return size

    async def _claim(self, disk: VirtualDisk, size: int) -> None:
        """Note the size that follows from the image before it is taken: a quota may refuse it."""
        meta = disk["metadata"]
        patch = {"metadata": {"uid": meta["uid"]}, "status": {"capacity": format_bytes(size)}}
        where = (VIRTUAL_DISK, meta["namespace"], meta["name"])
        try:
            await self._context.store.patch(*where, PatchType.MERGE, patch, subresource="status")
        except QuotaExceeded as err:
            raise TemporaryError(err.message, key="QuotaExceeded") from err

    @asynccontextmanager
    async def _image(self, disk: VirtualDisk, source: Source, report: Report) -> AsyncIterator[CachedImage]:
        """The image on this node, kept there until the block ends."""
        reference, start = source.reference, 0.0
        if source.http is not None:
            reference, start = await self._import(disk, source.http, report), 0.5
        async with self._context.images.held(
            reference, lambda progress: report(transfer.scaled(progress, start=start, end=1.0))
        ) as image:
            yield image

    async def _import(self, disk: VirtualDisk, http: Mapping[str, object], report: Report) -> str:
        """Bring a URL's image into the registry, the first half of the work; its reference there."""
        meta = disk["metadata"]
        checksums = http.get("checksum")
        requested = requested_size(disk)
        imported = await self._context.images.import_image(
            ImportRequest(
                uid=meta["uid"],
                source_url=str(http["url"]),
                repository=repository_of(
                    self._context.images.endpoint, VIRTUAL_DISK, meta["namespace"], meta["name"]
                ),
                tag=meta["uid"],
                checksums=checksums if isinstance(checksums, dict) else {},
                ca_bundle=str(http.get("caBundle", "")),
                namespace=meta["namespace"],
                most=None if requested is None else round_up(requested),
            ),
            lambda progress: report(transfer.scaled(progress, start=0.0, end=0.5)),
        )
        if imported.warning:
            self._context.events.event(disk, "Warning", transfer.DOUBTFUL, imported.warning)
        return imported.reference

    def source(self, disk: VirtualDisk) -> Source | Waiting | None:
        """The source, None for a blank disk, or what it waits for."""
        declared = disk["spec"].get("dataSource")
        if not declared:
            return None
        if declared.get("type") == "HTTP":
            return Source(http=declared["http"])
        if declared.get("type") != "ObjectRef":
            message = f"Data source {declared.get('type')} is not built yet in this version."
            return Waiting("ImageNotReady", message)
        ref = declared["objectRef"]
        kind = usage.DEVICE_KINDS.get(ref["kind"])
        if kind is None or kind is VIRTUAL_DISK:
            return Waiting("VirtualDiskSnapshot", f"Data source {ref['kind']} is not built yet in this version.")
        prefix = "ClusterImage" if kind is CLUSTER_VIRTUAL_IMAGE else "Image"
        image = self._context.informer(kind).get(
            disk["metadata"]["namespace"] if kind.namespaced else "", ref["name"]
        )
        if image is None:
            return Waiting(f"{prefix}NotFound", f'{kind.kind} "{ref["name"]}" does not exist.')
        phase = (image.get("status") or {}).get("phase") or "Pending"
        if phase != "Ready":
            return Waiting(f"{prefix}NotReady", f'{kind.kind} "{ref["name"]}" is {phase}, not Ready.')
        return Source(reference=reference_of(self._context, kind, image))


def requested_size(disk: VirtualDisk) -> int | None:
    """Bytes that the disk asks for; None where its source decides."""
    size = (disk["spec"].get("persistentVolumeClaim") or {}).get("size")
    return None if size is None else to_bytes(size)
