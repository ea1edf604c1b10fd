"""VirtualImage and ClusterVirtualImage: from a source into the registry.

One machine for both kinds; they differ in scope. An image is imported once: when it is Ready only its presence in
the registry is watched. Its manifest is removed by the registry's garbage collection, not by its deletion.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeGuard

from hyperd import clock
from hyperd.controllers import usage
from hyperd.controllers.claims import Room, waits
from hyperd.controllers.context import Context
from hyperd.controllers.deletion_marks import DeletionMarks
from hyperd.controllers.image import pull_secret, transfer, upload
from hyperd.controllers.image.operations import TYPES
from hyperd.controllers.image.operations.copying import Held
from hyperd.controllers.image.operations.importing import Images, Import
from hyperd.controllers.image.reference import reference_of
from hyperd.controllers.image.source import SOURCE_INDEX, SOURCE_KINDS, Waiting, source_of, source_values
from hyperd.controllers.image.volume import choose_class, on_volume, was_on_volume, watch_over
from hyperd.controllers.retries import Retries
from hyperd.controllers.unbuilt import name_unbuilt_fields
from hyperd.errors import HyperdError
from hyperd.resources.all import (
    CLUSTER_VIRTUAL_IMAGE,
    STORAGE_CLASS,
    VIRTUAL_DISK,
    VIRTUAL_IMAGE,
    VIRTUAL_MACHINE,
)
from hyperd.resources.kinds.data_source import InUseReason, ReadyReason, TerminatingReason
from hyperd.resources.kinds.virtual_image import (
    PROVISIONED,
    ImageCondition,
    ImageDatasourceReason,
    ImagePhase,
    ImageReadyReason,
)
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values.conditions import set_condition
from hyperd.runtime.controller import Controller, Key, Mapper, Result
from hyperd.runtime.operations.engine import Operations
from hyperd.runtime.recorder import EventLevel
from hyperd.runtime.status import make_sure, remove_finalizer, update_status
from hyperd.store.interface import Item
from registry.naming import repository_of

if TYPE_CHECKING:
    from hyperd.controllers.usage import Image
    from hyperd.resources.views.cluster_virtual_image import ClusterVirtualImage
    from hyperd.resources.views.virtual_machine import VirtualMachine

RETRY_SECONDS = 5.0
"""How soon the registry is asked again whether it has an image."""


class ImageController(Controller):
    """Imports images of one kind."""

    cluster_wide = True

    def __init__(self, context: Context, kind: Kind[Image], *, held: Held) -> None:
        super().__init__()
        self.kind = kind
        self.name = kind.singular
        self._context = context
        self._held = held
        self._images = context.informer(kind)
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._retries = Retries()
        self._operations = Operations(Images(context, kind, held), TYPES, waits=self._retries, notify=self.enqueue)
        for source in SOURCE_KINDS:
            context.informer(source)
        context.informer(STORAGE_CLASS)
        self._images.add_index(SOURCE_INDEX, source_values)
        self._checked: dict[str, float] = {}
        self._marks = DeletionMarks(context.images)
        self._room = Room(context, self._images)

    def watches(self) -> Mapping[Kind, Mapper]:
        return {
            VIRTUAL_MACHINE: self._of_machine,
            **{kind: self._of_source(kind) for kind in SOURCE_KINDS},
            STORAGE_CLASS: lambda _: self._without_class(),
            **(self._room.watches() if self.kind is VIRTUAL_IMAGE else {}),
        }

    def _without_class(self) -> Iterable[Key]:
        """Images that may get their volume now that their class is another."""
        for item in self._images.items():
            image = item.object()
            if on_volume(image) and (image.get("status") or {}).get("phase") == ImagePhase.PENDING:
                yield Key(item.namespace, item.name)

    def _of_machine(self, item: Item[VirtualMachine]) -> Iterable[Key]:
        """From a changed machine to its images, and to those that wait for one of its disks."""
        yield from usage.device_keys(self.kind)(item)
        for kind, name in set(usage.references(item.object())):
            if kind == VIRTUAL_DISK.kind:
                yield from self._made_of(kind, item.namespace, name)

    def _of_source(self, kind: Kind) -> Mapper:
        """From a changed source to the images that are to be made of it."""
        return lambda item: self._made_of(kind.kind, item.namespace, item.name)

    def _made_of(self, kind: str, namespace: str, name: str) -> Iterable[Key]:
        for image in self._images.by_index(SOURCE_INDEX, usage.device_value(kind, namespace, name)):
            yield Key(image.namespace, image.name)

    async def close(self) -> None:
        """Stop imports; they are taken up again at the next start."""
        await self._operations.close()

    async def stand_down(self) -> None:
        await self._operations.close()

    async def reconcile(self, key: Key) -> Result | None:
        freed = self._room.may_be(key)
        before = self._images.get(*key)
        await self._operations.keep_only(key, "" if before is None else before["metadata"]["uid"])
        if before is None:
            return None
        after = copy.deepcopy(before)
        status = after.setdefault("status", {})
        status.setdefault("cdrom", False)
        if freed and waits(before):
            self._retries.forget(after)
        if before["metadata"].get("deletionTimestamp"):
            return await self._delete(before, after)
        name_unbuilt_fields(self.kind, after)
        looked_at = status.get("observedGeneration") == before["metadata"]["generation"]
        if status.get("phase") in PROVISIONED or (looked_at and status.get("phase") == ImagePhase.FAILED):
            _observe(after)
            result = await self._operations.look(after) or await self._watch_over(after)
        else:
            result = await self._provision(after)
        self._show_usage(after)
        await update_status(self._context.store, self.kind, before, after)
        self._operations.written(after)
        return result

    async def _provision(self, image: Image) -> Result | None:
        meta, status = image["metadata"], image["status"]
        if (seen := status.get("observedGeneration")) != meta["generation"]:
            await self._operations.undo(image)
            if on_volume(image):
                status.pop("target", None)
            if seen is not None:
                event = f"{self.kind.kind}SpecHasBeenChanged"
                self._event(image, "Normal", event, "The spec changed: importing anew.")
            self._retries.forget(image)
            upload.forget(status)
        status["observedGeneration"] = meta["generation"]
        source = source_of(self._context, image)
        if not self._operations.running(image):
            if choose_class(self._context, image):
                await self._operations.undo(image)
                status["phase"] = ImagePhase.PENDING
                transfer.stop_progress(status)
                return None
            if isinstance(source, Waiting):
                return await self._wait(image, source)
            try:
                await pull_secret.read(self._context.store, image, image["spec"]["dataSource"])
            except pull_secret.SecretMissing as err:
                await self._wait(
                    image, Waiting(ImageDatasourceReason.CONTAINER_REGISTRY_SECRET_NOT_FOUND, err.message)
                )
                # Nobody follows Secrets: what waits for one looks again soon.
                return Result(RETRY_SECONDS)
        reason = ImageDatasourceReason.DATASOURCE_READY
        set_condition(image, ImageCondition.DATASOURCE_READY, True, reason=reason)
        return await self._operations.advance(image, Import.kind)

    async def _wait(self, image: Image, source: Waiting) -> Result | None:
        """Until the source is there; an event tells of it."""
        await self._operations.undo(image)
        self._retries.forget(image)
        image["status"]["phase"] = ImagePhase.PENDING
        transfer.stop_progress(image["status"])
        set_condition(image, ImageCondition.DATASOURCE_READY, False, reason=source.reason, message=source.message)
        reason = ImageReadyReason.DATASOURCE_NOT_READY
        set_condition(image, ImageCondition.READY, False, reason=reason, message=source.message)
        return None

    async def _watch_over(self, image: Image) -> Result | None:
        """An image can be lost from the registry, and come back."""
        status = image["status"]
        if status["phase"] == ImagePhase.FAILED:
            return None
        if on_volume(image):
            if await watch_over(self._context, image):
                self._tell_recovered(image, "The image's volume is there again.")
            return Result(self._context.settings.registry.presence_check_seconds)
        reference = reference_of(self._context, self.kind, image)
        uid, now = image["metadata"]["uid"], clock.elapsed()
        period = self._context.settings.registry.presence_check_seconds
        if self._context.ownership.binds and not self._context.images.endpoint.has(reference):
            # In the embedded registry of a node that led before; its disks there are well.
            return Result(period)
        due = self._checked.get(uid, -period) + period
        if now < due:
            return Result(due - now)
        try:
            present = await self._context.images.exists(reference)
        except HyperdError:
            # Nobody can tell: the image keeps the phase it had.
            return Result(RETRY_SECONDS)
        self._checked[uid] = now
        status.setdefault("target", {})["registryURL"] = reference
        if not present and status["phase"] == ImagePhase.READY:
            message = f"The registry no longer has {reference}; delete and create the image again."
            status["phase"] = ImagePhase.IMAGE_LOST
            set_condition(image, ImageCondition.READY, False, reason=ImageReadyReason.IMAGE_LOST, message=message)
        elif present and status["phase"] == ImagePhase.IMAGE_LOST:
            status["phase"] = ImagePhase.READY
            set_condition(image, ImageCondition.READY, True, reason=ReadyReason.READY)
            self._tell_recovered(image, "The image is in the registry again.")
        return Result(period)

    def _tell_recovered(self, image: Image, message: str) -> None:
        self._event(image, "Normal", f"{self.kind.kind}LostRecovered", message)

    def _show_usage(self, image: Image) -> bool:
        meta = image["metadata"]
        users = usage.machines_using(self._machines, self.kind, meta.get("namespace", ""), meta["name"])
        if users:
            set_condition(image, ImageCondition.IN_USE, True, reason=InUseReason.ATTACHED_TO_VIRTUAL_MACHINE)
        else:
            set_condition(image, ImageCondition.IN_USE, False, reason=InUseReason.NOT_IN_USE)
        if _is_cluster_wide(image):
            namespaces = sorted({user.namespace for user in users})
            if namespaces:
                image["status"]["usedInNamespaces"] = namespaces
            else:
                image["status"].pop("usedInNamespaces", None)
        return bool(users)

    async def _delete(self, before: Image, image: Image) -> Result | None:
        await self._operations.undo(image)
        image["status"]["phase"] = ImagePhase.TERMINATING
        upload.forget(image["status"])
        if self._show_usage(image):
            message = "A virtual machine uses the image; remove it from the machine's blockDeviceRefs first."
            reason = TerminatingReason.CLEANUP_PENDING
            set_condition(image, ImageCondition.TERMINATING, True, reason=reason, message=message)
            await update_status(self._context.store, self.kind, before, image)
            return None
        self._checked.pop(image["metadata"]["uid"], None)
        self._retries.forget(image)
        meta = image["metadata"]
        repository = repository_of(
            self._context.images.endpoint, self.kind, meta.get("namespace", ""), meta["name"]
        )
        if was_on_volume(image) and not self._context.ownership.binds:
            if why := await self._held(image):
                reason = TerminatingReason.CLEANUP_PENDING
                set_condition(image, ImageCondition.TERMINATING, True, reason=reason, message=why)
                await update_status(self._context.store, self.kind, before, image)
                return Result(RETRY_SECONDS)
            await make_sure(self._context.store, self.kind, before)
            await self._context.volumes.delete(meta["uid"])
        if not await self._marks.deleted(repository, meta["uid"]):
            return Result(RETRY_SECONDS)
        await remove_finalizer(self._context.store, self.kind, before)
        return None

    def _event(self, image: Image, level: EventLevel, reason: str, message: str) -> None:
        self._context.events.event(image, level, reason, message)


def _observe(image: Image) -> None:
    """What still may change of the spec of an image that was made changes nothing of it."""
    status, generation = image["status"], image["metadata"]["generation"]
    if status.get("observedGeneration") != generation:
        status["observedGeneration"] = generation
        for condition in status.get("conditions") or ():
            condition["observedGeneration"] = generation


def _is_cluster_wide(image: Image) -> TypeGuard[ClusterVirtualImage]:
    return image["kind"] == CLUSTER_VIRTUAL_IMAGE.kind
