"""From an object of ours into the registry: the first step of an image of type ObjectRef.

A disk that becomes an image is nobody's to use meanwhile. Its controller says so in its status once the image's
says that it is being made. Who starts a machine writes that first, then asks the disk, and what is here asks the
machines after the disk has said it: of two at once, one at least sees the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.image.operations.step import ImageStep
from hyperd.controllers.image.source import FromDisk, FromSnapshot, FromVolume
from hyperd.errors import NotFound, PermanentError, TemporaryError
from hyperd.imagefile.detect import FAILED
from hyperd.progress import Report
from hyperd.resources.all import VIRTUAL_DISK
from hyperd.resources.kinds.data_source import InUseReason, ReadyReason
from hyperd.storage.interface import Snapshot, Volume
from registry import interface
from registry.models import CopyRequest, ImportedImage, VolumeRequest

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk

Held = Callable[["usage.Device"], Awaitable[str]]
"""Who has a disk or image open, asked of the store and of the host: a sentence, empty when nobody has."""
_RESERVED_SECONDS = 30.0
_LOOK_SECONDS = 0.1
_NOT_YET = ReadyReason.PROVISIONING_NOT_STARTED
"""Key of errors by which nothing was read yet: the image has not failed, it waits."""


def _require_same(onto: str, found: Volume | Snapshot | None, what: str) -> None:
    """As in the reference: nothing goes from one provisioner's volume to another's without the registry."""
    if onto and found is not None and found.provisioner != onto:
        raise PermanentError(
            f"The source is of the provisioner {found.provisioner}, the image's StorageClass of {onto}. "
            f"Cross-provider {what} is not supported: make an image with storage ContainerRegistry of it first.",
            key=FAILED,
        )


class CopyStep(ImageStep):
    """Of another image."""

    def __init__(self, images: interface.Images, request: CopyRequest) -> None:
        super().__init__(images, request)
        self._copy = request

    async def make(self, report: Report | None) -> ImportedImage:
        return await self._images.copy_image(self._copy, report)


class TakeStep(ImageStep):
    """Of a disk."""

    def __init__(self, context: Context, request: VolumeRequest, disk: FromDisk, *, onto: str, held: Held) -> None:
        """``onto`` is the provisioner of the image's own volume, empty for one in the registry."""
        super().__init__(context.images, request)
        self._held, self._onto = held, onto
        self._context = context
        self._volume = request
        self._disk = disk

    async def make(self, report: Report | None) -> ImportedImage:
        volumes, uid = self._context.volumes, self._disk.uid
        _require_same(self._onto, await volumes.find(uid), "PVC copy")
        if held := await self._held(await self._reserved()):
            raise TemporaryError(held, key=_NOT_YET)
        try:
            await volumes.attach(uid)
            return await self._images.take_volume(self._volume, await volumes.layers(uid), report)
        finally:
            await volumes.detach(uid)

    async def _reserved(self) -> VirtualDisk:
        """The disk, once its status says that it is read for an image."""
        key = self._disk.key
        try:
            async with asyncio.timeout(_RESERVED_SECONDS):
                while True:
                    disk = await self._context.store.find(VIRTUAL_DISK, *key)
                    if disk is None or disk["metadata"]["uid"] != self._disk.uid:
                        raise TemporaryError(f'VirtualDisk "{key.name}" is gone.', key=_NOT_YET)
                    if usage.reader(disk) is InUseReason.USED_FOR_IMAGE_CREATION:
                        return disk
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError as err:
            raise TemporaryError(
                f'VirtualDisk "{key.name}" is not free to be read: a virtual machine may be starting with it, or '
                "it is being moved.",
                key=_NOT_YET,
            ) from err


class ReadStep(ImageStep):
    """Of another image's volume, which nobody writes to, and which is kept meanwhile."""

    def __init__(self, context: Context, request: VolumeRequest, image: FromVolume, *, onto: str) -> None:
        """``onto`` as of ``TakeStep``."""
        super().__init__(context.images, request)
        self._volumes, self._onto = context.volumes, onto
        self._volume = request
        self._uid = image.uid

    async def make(self, report: Report | None) -> ImportedImage:
        _require_same(self._onto, await self._volumes.find(self._uid), "PVC copy")
        async with self._volumes.reading(self._uid):
            return await self._images.take_volume(self._volume, await self._volumes.layers(self._uid), report)


class SnapshotStep(ImageStep):
    """Of a snapshot, which is kept meanwhile."""

    def __init__(self, context: Context, request: VolumeRequest, snapshot: FromSnapshot, *, onto: str) -> None:
        """``onto`` as of ``TakeStep``."""
        super().__init__(context.images, request)
        self._context, self._onto = context, onto
        self._volume = request
        self._uid = snapshot.uid

    async def make(self, report: Report | None) -> ImportedImage:
        volumes = self._context.volumes
        _require_same(self._onto, await volumes.find_snapshot(self._uid), "snapshot restore")
        try:
            async with volumes.reading(self._uid):
                return await self._images.take_volume(self._volume, await volumes.layers(self._uid), report)
        except NotFound as err:
            raise TemporaryError(
                f"The snapshot of the volume is not on node {self._context.node_name}, where images are made.",
                key=FAILED,
            ) from err
