"""From nothing to a volume: blank, over an image of the registry, or over one that is imported first.

An import is the first half of the progress. A disk's volume is found by the disk's uid, and its imported image by
its tag, so that after a crash each is either there or made anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

from hyperd import clock
from hyperd.controllers.claims import claim_or_wait
from hyperd.controllers.disk.fetching import Fetching
from hyperd.controllers.disk.ready import Disks, show_ready
from hyperd.controllers.disk.source import Source, Waiting, digest_of, requested_size, source_of
from hyperd.controllers.disk.storage_class import (
    AWAITS_CONSUMER,
    VOLUME_STEP,
    awaits_consumer,
    may_be_lazy,
    show_awaiting_consumer,
)
from hyperd.controllers.image import transfer, upload
from hyperd.controllers.image.operations.importing import ImportStep, import_request
from hyperd.errors import HyperdError, PermanentError, TemporaryError
from hyperd.imagefile.detect import ImageFormat
from hyperd.progress import Progress, Report
from hyperd.resources.all import STORAGE_CLASS, VIRTUAL_DISK
from hyperd.resources.kinds.data_source import ReadyReason
from hyperd.resources.kinds.virtual_disk import DiskReadyReason, VirtualDiskPhase
from hyperd.resources.values.quantity import format_bytes, round_up
from hyperd.runtime.controller import Result
from hyperd.runtime.operations.operation import Operation, Step
from hyperd.runtime.operations.record import Record
from hyperd.storage.interface import NO_ROOM, Provisioner
from registry.models import CachedImage, ImportRequest
from registry.naming import repository_of

if TYPE_CHECKING:
    from hyperd.resources.views.core import StorageClass
    from hyperd.resources.views.virtual_disk import VirtualDisk

_WAITS = (ReadyReason.QUOTA_EXCEEDED, ReadyReason.PROVISIONING_POSTPONED, NO_ROOM)
"""Keys of errors by which nothing was begun yet."""
_COME = Progress(fraction=0.5, transferred_bytes=0, average_speed=0, current_speed=0)
"""Of what was imported, when its volume is begun."""


class Fill(Operation[Disks, "VirtualDisk"]):
    """A disk's first content."""

    kind: ClassVar = "Fill"

    def __init__(self, context: Disks, obj: VirtualDisk, op_uid: str) -> None:
        super().__init__(context, obj, op_uid)
        self._source = source_of(context.context, obj)
        self.imported_seconds: float | None = None
        """How long this process took to have the image in the registry."""
        requested, endpoint = requested_size(obj), context.context.images.endpoint
        most = None if requested is None else round_up(requested)
        self._request = import_request(self, VIRTUAL_DISK, endpoint, obj["spec"].get("dataSource"), most=most)

    @classmethod
    def digest(cls, context: Disks, obj: VirtualDisk) -> str:
        return digest_of(obj)

    def steps(self) -> Sequence[Step]:
        return [_Import(self, self._request), _Make(self, self._source)]

    def first(self) -> str:
        return _Import.name if self.imports else _Make.name

    @property
    def imports(self) -> bool:
        """Whether it comes from elsewhere."""
        return self._source == Source()

    def show(self, obj: VirtualDisk) -> None:
        addressee, progress, events = self._request.upload, self.progress, self.context.context.events
        if addressee is not None and progress is not None and progress.waits:
            transfer.show_begun(events, obj, VirtualDiskPhase.WAIT_FOR_USER_UPLOAD)
            intake = self.context.context.images.intake
            upload.show_waiting(VIRTUAL_DISK, obj, obj["status"], progress, intake, addressee)
            return
        transfer.show_begun(events, obj, VirtualDiskPhase.PROVISIONING)
        record = Record.of(obj)
        come = self.imports and record is not None and record.step == VOLUME_STEP
        transfer.show_progress(obj["status"], self.progress or (_COME if come else None))
        transfer.show_going_on(events, obj, self.progress)

    async def succeeded(self, obj: VirtualDisk) -> Result | None:
        volume = await self.context.context.volumes.find(obj["metadata"]["uid"])
        if volume is None:
            raise TemporaryError(f"The volume of disk {obj['metadata']['name']} was made, and is gone again.")
        if isinstance(self._source, Source) and self._source.uid:
            obj["status"]["sourceUID"] = self._source.uid
        transfer.tell_continued(self.context.context.events, obj)
        show_ready(obj, volume)
        self._note_import(obj)
        self.context.note_duration(obj, "totalProvisioning")
        upload.forget(obj["status"])
        transfer.finish_progress(obj["status"], self.latest.average_speed if self.latest else 0)
        self.context.context.events.event(obj, "Normal", transfer.COMPLETED, "The disk is ready.")
        return await Fetching(self.context).look(obj)

    def failed(self, obj: VirtualDisk, err: HyperdError, *, final: bool) -> None:
        status = obj["status"]
        if getattr(err, "key", "") == DiskReadyReason.WAITING_FOR_FIRST_CONSUMER:
            self._note_import(obj)
            upload.forget(status)
            transfer.show_progress(status, _COME)
            show_awaiting_consumer(obj)
            return
        transfer.show_failure(self.context.context.events, obj, err)
        if isinstance(err, TemporaryError) and err.key in _WAITS:
            status["phase"] = VirtualDiskPhase.PENDING
            transfer.stop_progress(status)
        if final:
            status["phase"] = VirtualDiskPhase.FAILED
            status.pop("target", None)
            transfer.stop_progress(status)
            upload.forget(status)
            self.context.context.events.event(obj, "Warning", transfer.FAILED, err.message)

    def _note_import(self, obj: VirtualDisk) -> None:
        if self.imported_seconds is not None:
            self.context.note_duration(obj, "dvcrProvisioning", self.imported_seconds)


class _Import(ImportStep):
    """The first half, of a disk that is imported."""

    def __init__(self, fill: Fill, request: ImportRequest) -> None:
        super().__init__(fill.context.context, fill, request)
        self._fill = fill

    async def done(self) -> bool:
        return not self._fill.imports or await super().done()

    async def run(self, report: Report) -> None:
        began = clock.elapsed()
        await super().run(lambda progress: report(transfer.scaled(progress, start=0.0, end=0.5)))
        self._fill.imported_seconds = clock.elapsed() - began
        warning = (await self.imported()).warning
        if warning:
            events = self._fill.context.context.events
            events.event(self._fill.obj, "Warning", transfer.DOUBTFUL, warning)


class _Make(Step):
    """The volume."""

    name: ClassVar = VOLUME_STEP

    def __init__(self, fill: Fill, source: Source | Waiting | None) -> None:
        self._disk = fill.obj
        self._uid = fill.obj["metadata"]["uid"]
        self._op_uid = fill.op_uid
        self._context = fill.context.context
        self._imports = fill.imports
        self._source = source

    async def done(self) -> bool:
        class_ = self._class()
        if class_ is None:
            return await self._context.volumes.find(self._uid) is not None
        return await self._context.volumes.provisioner(class_["provisioner"]).find(self._uid) is not None

    async def run(self, report: Report) -> None:
        requested, volumes = requested_size(self._disk), self._provisioner()
        if isinstance(self._source, Waiting):
            raise TemporaryError(self._source.message)
        if self._source is None:
            if requested is None:
                raise PermanentError(
                    f"Disk {self._disk['metadata']['name']} has neither a data source nor a size.",
                    key=ReadyReason.PROVISIONING_FAILED,
                )
            await self._claim(round_up(requested))
            await volumes.create_blank(self._uid, round_up(requested))
            return
        if self._source.snapshot:
            await self._restore(volumes, self._source.snapshot, requested)
            return
        if self._source.volume:
            await self._clone(volumes, self._source.volume, requested)
            return
        if (
            self._imports
            and (class_ := self._class()) is not None
            and awaits_consumer(self._context, self._disk, class_)
        ):
            raise TemporaryError(AWAITS_CONSUMER, key=DiskReadyReason.WAITING_FOR_FIRST_CONSUMER)
        lazily = volumes.lazily is not None and may_be_lazy(self._context.settings, self._disk, self._class())
        async with self._image(self._source, report, lazily=lazily) as image:
            size = await self._size(image, requested)
            await volumes.create_from_image(self._uid, size, image=image.handle)

    async def undo(self) -> None:
        """A volume appears whole or not at all. Whole, it is the disk's own, and goes with it alone."""

    def _provisioner(self) -> Provisioner:
        """That of the disk's class."""
        class_ = self._class()
        if class_ is None:
            name = self._disk["status"].get("storageClassName", "")
            raise TemporaryError(f'StorageClass "{name}" does not exist.')
        return self._context.volumes.provisioner(class_["provisioner"])

    def _class(self) -> StorageClass | None:
        return self._context.informer(STORAGE_CLASS).get("", self._disk["status"].get("storageClassName", ""))

    async def _restore(self, volumes: Provisioner, uid: str, requested: int | None) -> None:
        """Of a snapshot: at least as large as that, however small it is asked for."""
        snapshot = await self._context.volumes.find_snapshot(uid)
        if snapshot is None:
            raise TemporaryError("The snapshot of the volume is gone from the node's pool.")
        self._require_same(snapshot.provisioner, volumes, "snapshot", "snapshot restore")
        size = max(round_up(requested or 0), snapshot.virtual_size)
        await self._claim(size)
        await volumes.create_from_snapshot(self._uid, size, snapshot=uid)

    async def _clone(self, volumes: Provisioner, uid: str, requested: int | None) -> None:
        """Of an image that is on a volume."""
        image = await self._context.volumes.find(uid)
        if image is None:
            raise TemporaryError("The volume of the image is gone from the node's pool.")
        self._require_same(image.provisioner, volumes, "image", "PVC copy")
        size = await self._enough(image.virtual_size, requested)
        await volumes.clone(self._uid, source=uid, op_uid=self._op_uid)
        if size > image.virtual_size:
            await volumes.grow(self._uid, size, in_use=False)

    def _require_same(self, provisioner: str, volumes: Provisioner, of: str, what: str) -> None:
        if provisioner != volumes.name:
            raise PermanentError(
                f"The {of} is of the provisioner {provisioner}. Cross-provider {what} is not supported: name a "
                "StorageClass of that provisioner.",
                key=DiskReadyReason.STORAGE_CLASS_PROVISIONER_MISMATCH,
            )

    @asynccontextmanager
    async def _image(self, source: Source, report: Report, *, lazily: bool) -> AsyncIterator[CachedImage]:
        """The image on this node, or with ``lazily`` on its way there, kept until the block ends."""
        meta, endpoint, start = self._disk["metadata"], self._context.images.endpoint, 0.0
        reference = source.reference
        if self._imports:
            repository = repository_of(endpoint, VIRTUAL_DISK, meta["namespace"], meta["name"])
            reference, start = endpoint.reference(repository, self._uid), 0.5

        def tell(progress: Progress) -> None:
            report(transfer.scaled(progress, start=start, end=1.0))

        async with self._context.images.held(reference, tell, lazily=lazily) as image:
            yield image

    async def _size(self, image: CachedImage, requested: int | None) -> int:
        """Bytes of a disk that is made from ``image``; PermanentError where it cannot be."""
        if image.cdrom or image.format is ImageFormat.ISO:
            raise PermanentError("A disk cannot be made from an ISO image.", key=ReadyReason.PROVISIONING_FAILED)
        return await self._enough(image.virtual_size, requested)

    async def _enough(self, virtual_size: int, requested: int | None) -> int:
        """Bytes of a disk of an image of ``virtual_size``."""
        needed = round_up(virtual_size)
        size = needed if requested is None else round_up(requested)
        if size < needed:
            raise PermanentError(
                f"The requested size {format_bytes(size)} is smaller than the image, which needs "
                f"{format_bytes(needed)}; raise spec.persistentVolumeClaim.size.",
                key=ReadyReason.PROVISIONING_FAILED,
            )
        await self._claim(size)
        return size

    async def _claim(self, size: int) -> None:
        """What only its source told, or the source tells otherwise now, is claimed before it is taken."""
        await claim_or_wait(self._context, VIRTUAL_DISK, self._disk, size)
