"""Into the registry, from wherever it is: the operation of an image, and the step that disks begin with too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from hyperd.controllers.context import Context
from hyperd.controllers.image import pull_secret, transfer, upload
from hyperd.controllers.image.operations.copying import CopyStep, Held, ReadStep, SnapshotStep, TakeStep
from hyperd.controllers.image.operations.step import ImageStep
from hyperd.controllers.image.operations.volume import VolumeStep
from hyperd.controllers.image.source import (
    FromDisk,
    FromElsewhere,
    FromImage,
    FromSnapshot,
    FromVolume,
    Waiting,
    source_of,
)
from hyperd.controllers.image.volume import on_volume, provisioner_of, show_volume
from hyperd.errors import HyperdError
from hyperd.progress import Report
from hyperd.resources.kinds.data_source import ReadyReason
from hyperd.resources.kinds.virtual_image import ImageCondition, ImagePhase
from hyperd.resources.schema.kind import Kind, V
from hyperd.resources.values.conditions import set_condition
from hyperd.runtime.controller import Result
from hyperd.runtime.operations.operation import C, Operation, Step
from registry.models import CopyRequest, ImportedImage, ImportRequest, RegistryEndpoint, VolumeRequest
from registry.naming import repository_of

if TYPE_CHECKING:
    from hyperd.controllers.image.upload import DataSource
    from hyperd.controllers.usage import Image


@dataclass(frozen=True)
class Images:
    """What operations on images of one kind work with."""

    context: Context
    kind: Kind[Image]
    held: Held


class ImportStep(ImageStep):
    """From elsewhere."""

    def __init__(self, context: Context, operation: Operation[C, V], request: ImportRequest) -> None:
        super().__init__(context.images, request)
        self._store = context.store
        self._obj = operation.obj
        self._request = request

    async def make(self, report: Report | None) -> ImportedImage:
        config = await pull_secret.read(self._store, self._obj, self._obj["spec"].get("dataSource"))
        return await self._images.import_image(replace(self._request, pull_secret=config), report)


def import_request(
    operation: Operation[C, V],
    kind: Kind,
    endpoint: RegistryEndpoint,
    source: DataSource | None,
    *,
    most: int | None = None,
) -> ImportRequest:
    """What an operation imports for its object; it names nothing where ``source`` is of another type.

    ``most`` is the size of the disk that it is for.
    """
    meta, source = operation.obj["metadata"], source or {}
    namespace, http, container = meta.get("namespace", ""), source.get("http"), source.get("containerImage")
    checksum = (source.get("upload") if http is None else http) or {}
    block = container if http is None else http
    return ImportRequest(
        uid=operation.op_uid,
        source_url="" if http is None else http["url"],
        repository=repository_of(endpoint, kind, namespace, meta["name"]),
        tag=meta["uid"],
        checksums={name: str(digits) for name, digits in checksum.get("checksum", {}).items()},
        ca_bundle="" if block is None else block.get("caBundle", ""),
        namespace=namespace,
        most=most,
        upload=upload.addressee_of(kind, operation.obj, source),
        container_image="" if container is None else container["image"],
    )


class Import(Operation[Images, "Image"]):
    """All that becomes of an image whose source is there."""

    kind: ClassVar = "Import"

    def __init__(self, context: Images, obj: Image, op_uid: str) -> None:
        super().__init__(context, obj, op_uid)
        self._source = source_of(context.context, obj)
        endpoint = context.context.images.endpoint
        self._request = import_request(self, context.kind, endpoint, obj["spec"]["dataSource"])
        self._step = self._first()
        if on_volume(obj):
            self._step.share = 0.5

    def steps(self) -> Sequence[Step]:
        return [self._step, VolumeStep(self.context.context, self.obj, self._step)]

    def first(self) -> str:
        return self._step.name

    def _first(self) -> ImageStep:
        meta, images = self.obj["metadata"], self.context.context.images
        namespace = meta.get("namespace", "")
        repository = repository_of(images.endpoint, self.context.kind, namespace, meta["name"])
        onto = provisioner_of(self.context.context, self.obj)
        match self._source:
            case FromImage(reference):
                return CopyStep(images, CopyRequest(reference, repository, meta["uid"], namespace))
            case FromDisk():
                request = VolumeRequest(self.op_uid, repository, meta["uid"], namespace)
                return TakeStep(self.context.context, request, self._source, onto=onto, held=self.context.held)
            case FromVolume():
                request = VolumeRequest(self.op_uid, repository, meta["uid"], namespace)
                return ReadStep(self.context.context, request, self._source, onto=onto)
            case FromSnapshot():
                request = VolumeRequest(self.op_uid, repository, meta["uid"], namespace)
                return SnapshotStep(self.context.context, request, self._source, onto=onto)
        return ImportStep(self.context.context, self, self._request)

    def show(self, obj: Image) -> None:
        addressee, progress, events = self._request.upload, self.progress, self.context.context.events
        if addressee is not None and progress is not None and progress.waits:
            transfer.show_begun(events, obj, ImagePhase.WAIT_FOR_USER_UPLOAD)
            intake = self.context.context.images.intake
            upload.show_waiting(self.context.kind, obj, obj["status"], progress, intake, addressee)
            return
        transfer.show_begun(events, obj, ImagePhase.PROVISIONING)
        transfer.show_progress(obj["status"], self.progress)
        transfer.show_going_on(events, obj, self.progress)

    async def succeeded(self, obj: Image) -> Result | None:
        imported, status = await self._step.imported(), obj["status"]
        transfer.tell_continued(self.context.context.events, obj)
        status["phase"] = ImagePhase.READY
        status["format"] = str(imported.format)
        status["cdrom"] = imported.cdrom
        status["size"] = transfer.sizes(imported.stored_bytes, imported.unpacked_bytes)
        copied = "" if isinstance(self._source, FromElsewhere | Waiting) else self._source.uid
        status["sourceUID"] = copied or obj["metadata"]["uid"]
        if on_volume(obj):
            show_volume(obj)
        else:
            status["target"] = {"registryURL": imported.reference}
        upload.forget(status)
        transfer.finish_progress(status, imported.average_speed)
        set_condition(obj, ImageCondition.READY, True, reason=ReadyReason.READY, message=imported.warning)
        events = self.context.context.events
        where = "on its volume" if on_volume(obj) else "in the registry"
        events.event(obj, "Normal", transfer.COMPLETED, f"The image is {where}.")
        if imported.warning:
            events.event(obj, "Warning", transfer.DOUBTFUL, imported.warning)
        return Result(self.context.context.settings.registry.presence_check_seconds)

    def failed(self, obj: Image, err: HyperdError, *, final: bool) -> None:
        status = obj["status"]
        if transfer.failure_reason(err) is ReadyReason.QUOTA_EXCEEDED:
            self._show_no_room(obj, err)
            return
        transfer.show_failure(self.context.context.events, obj, err)
        if final:
            status["phase"] = ImagePhase.FAILED
            status.pop("target", None)
            transfer.stop_progress(status)
            upload.forget(status)
            self.context.context.events.event(obj, "Warning", transfer.FAILED, err.message)
            return
        if transfer.was_postponed(obj) or status.get("phase") != ImagePhase.PROVISIONING:
            status["phase"] = ImagePhase.PENDING
            transfer.stop_progress(status)

    def _show_no_room(self, obj: Image, err: HyperdError) -> None:
        """As the reference does: an image, unlike a disk, is Failed meanwhile. It goes on once there is room."""
        obj["status"]["phase"] = ImagePhase.FAILED
        transfer.stop_progress(obj["status"])
        reason, message = ReadyReason.PROVISIONING_FAILED, f"Quota exceeded: {err.message}"
        if set_condition(obj, ImageCondition.READY, False, reason=reason, message=message):
            self.context.context.events.event(obj, "Warning", transfer.QUOTA, err.message)
