"""From an image in the registry to a volume: the second step of an image that is to be on one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hyperd.controllers.claims import claim_or_wait
from hyperd.controllers.context import Context
from hyperd.controllers.image import transfer
from hyperd.controllers.image.operations.step import ImageStep
from hyperd.controllers.image.volume import class_name_of, on_volume
from hyperd.errors import TemporaryError
from hyperd.progress import Report
from hyperd.resources.all import STORAGE_CLASS, VIRTUAL_IMAGE
from hyperd.resources.values.quantity import round_up
from hyperd.runtime.operations.operation import Step
from hyperd.storage.interface import Provisioner

if TYPE_CHECKING:
    from hyperd.controllers.usage import Image
    from hyperd.resources.views.virtual_image import VirtualImage


class VolumeStep(Step):
    """From the registry onto the volume; of an image that stays in the registry there is nothing to do."""

    name: ClassVar = "make"

    def __init__(self, context: Context, image: Image, first: ImageStep) -> None:
        self._context = context
        self._image = image
        self._uid = image["metadata"]["uid"]
        self._first = first

    async def done(self) -> bool:
        imported = await self._first.done()
        if not on_volume(self._image):
            return imported
        return await self._provisioner(self._image).find(self._uid) is not None

    async def run(self, report: Report) -> None:
        if not on_volume(self._image):
            return
        imported = await self._first.imported()
        volumes, reference = self._provisioner(self._image), imported.reference
        await claim_or_wait(self._context, VIRTUAL_IMAGE, self._image, round_up(imported.unpacked_bytes))
        async with self._context.images.held(
            reference, lambda progress: report(transfer.scaled(progress, start=0.5, end=1.0))
        ) as image:
            await volumes.create_from_image(self._uid, round_up(image.virtual_size), image=image.handle)

    async def undo(self) -> None:
        """Nobody has written to it."""
        if on_volume(self._image):
            await self._context.volumes.delete(self._uid)

    def _provisioner(self, image: VirtualImage) -> Provisioner:
        name = class_name_of(image)
        class_ = self._context.informer(STORAGE_CLASS).get("", name)
        if class_ is None:
            raise TemporaryError(f'StorageClass "{name}" does not exist.')
        return self._context.volumes.provisioner(class_["provisioner"])
