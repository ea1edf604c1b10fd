"""What is exported, held still and opened: a disk that nobody uses, a snapshot, an image.

A disk is reserved first, which its status then shows (phase Exporting), and only then it is asked whether a
machine has it. Who starts a machine writes that, and then asks the disk: of two at once, one at least sees the
other.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final

from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.image.reference import reference_of
from hyperd.controllers.image.volume import on_volume
from hyperd.controllers.ownership import disk_node
from hyperd.controllers.readiness import unready
from hyperd.controllers.reservations import Reservation
from hyperd.errors import Conflict, NotFound, ServiceUnavailable
from hyperd.imagefile import devices
from hyperd.imagefile.exporting import Content
from hyperd.imagefile.handle import Handle
from hyperd.imagefile.layers import opened
from hyperd.imagefile.qemuimg import Layer
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT
from hyperd.resources.kinds.data_source import InUseReason
from hyperd.resources.kinds.virtual_disk import VirtualDiskPhase
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values.meta import Key, is_deleting

if TYPE_CHECKING:
    from hyperd.controllers.usage import Image
    from hyperd.resources.views.virtual_disk import VirtualDisk

Held = Callable[["VirtualDisk"], Awaitable[str]]
"""Who has a disk open, asked of the store and of the host: a sentence, empty when nobody has."""
_RESERVED_SECONDS: Final = 30.0
_OPEN_PHASES: Final = (VirtualDiskPhase.READY, VirtualDiskPhase.RESIZING, VirtualDiskPhase.EXPORTING)
"""A disk that grows is waited for."""


class Exports:
    """Opens what is read. Raises Conflict where that must not be, NotFound where there is nothing."""

    def __init__(self, context: Context, held: Held) -> None:
        self._context = context
        self._held = held

    def open(self, kind: Kind, namespace: str, name: str) -> AbstractAsyncContextManager[Content]:
        """The content of an object, which does not change until the block ends."""
        if kind is VIRTUAL_DISK:
            return self._disk(Key(namespace, name))
        if kind is VIRTUAL_DISK_SNAPSHOT:
            return self._snapshot(Key(namespace, name))
        return self._image(kind, Key(namespace, name))

    @asynccontextmanager
    async def _disk(self, key: Key) -> AsyncIterator[Content]:
        context = self._context
        disk = (await context.store.get(VIRTUAL_DISK, *key)).object()
        uid = disk["metadata"]["uid"]
        self._require_here(VIRTUAL_DISK, key, disk_node(disk))
        await self._require_unused(key, disk)
        # Of a damaged one it tells so; its controller shows nothing more.
        await context.volumes.find(uid)
        with context.reservations.held(key, uid) as reservation:
            await self._reserved(key, uid, reservation)
            async with context.volumes.reading(uid):
                layers = await context.volumes.layers(uid)
                async with _content(f"VirtualDisk {key}", key.name, uid, layers) as content:
                    yield content

    async def _require_unused(self, key: Key, disk: VirtualDisk) -> None:
        phase = (disk.get("status") or {}).get("phase") or VirtualDiskPhase.PENDING
        if is_deleting(disk):
            raise Conflict(f"VirtualDisk {key} is being deleted.")
        if usage.reader(disk) is InUseReason.USED_FOR_IMAGE_CREATION:
            raise Conflict(f"VirtualDisk {key} is being read for an image; export it when that is made.")
        machine = usage.running_user(self._context, *key)
        why = f'VirtualMachine "{machine}" uses it.' if machine else await self._held(disk)
        if why:
            raise Conflict(
                f"VirtualDisk {key} cannot be exported now: {why} Stop the machine, or make a VirtualDiskSnapshot "
                "of the disk and export that."
            )
        if phase not in _OPEN_PHASES:
            raise Conflict(f"VirtualDisk {key} is {phase}, not Ready.")
        if usage.is_being_fetched(disk):
            raise Conflict(f"VirtualDisk {key} cannot be exported yet: its image is still being fetched.")

    async def _reserved(self, key: Key, uid: str, reservation: Reservation) -> None:
        """Return once the disk's status says that it is exported, and nobody has it."""
        try:
            async with asyncio.timeout(_RESERVED_SECONDS):
                while True:
                    await reservation.shown.wait()
                    # What its controller saw last may be older than what the store has.
                    reservation.shown.clear()
                    disk = await self._context.store.find(VIRTUAL_DISK, *key)
                    if disk is None or disk["metadata"]["uid"] != uid:
                        raise NotFound(f"VirtualDisk {key} is gone.")
                    await self._require_unused(key, disk)
                    if (disk.get("status") or {}).get("phase") == VirtualDiskPhase.EXPORTING:
                        return
        except TimeoutError:
            raise ServiceUnavailable(
                f"VirtualDisk {key} is not free to be read yet.", retry_after_seconds=5
            ) from None

    @asynccontextmanager
    async def _snapshot(self, key: Key) -> AsyncIterator[Content]:
        context, title = self._context, f"VirtualDiskSnapshot {key}"
        snapshot = (await context.store.get(VIRTUAL_DISK_SNAPSHOT, *key)).object()
        if why := unready(VIRTUAL_DISK_SNAPSHOT, key.name, snapshot):
            raise Conflict(why)
        self._require_here(VIRTUAL_DISK_SNAPSHOT, key, disk_node(snapshot))
        uid = snapshot["metadata"]["uid"]
        try:
            async with context.volumes.reading(uid):
                layers = await context.volumes.layers(uid)
                async with _content(title, key.name, uid, layers, tag=uid) as content:
                    yield content
        except NotFound as err:
            raise NotFound(f"What {title} held is gone from the node's pool.") from err

    @asynccontextmanager
    async def _image(self, kind: Kind[Image], key: Key) -> AsyncIterator[Content]:
        context, title = self._context, f"{kind.kind} {key}"
        image = (await context.store.get(kind, *key)).object()
        if why := unready(kind, key.name, image):
            raise Conflict(why)
        uid = image["metadata"]["uid"]
        if on_volume(image):
            async with context.volumes.reading(uid):
                layers = await context.volumes.layers(uid)
                async with _content(title, key.name, uid, layers, tag=uid) as content:
                    yield content
            return
        async with (
            context.images.held(reference_of(context, kind, image)) as copy,
            _content(title, key.name, uid, [copy.handle], tag=copy.layer_digest, iso=copy.cdrom) as content,
        ):
            yield content

    def _require_here(self, kind: Kind, key: Key, node: str) -> None:
        here = self._context.node_name
        if self._context.ownership.binds and node != here:
            raise Conflict(f"{kind.kind} {key} is on node {node or 'none yet'}, and this hyperd on node {here}.")


@asynccontextmanager
async def _content(
    title: str, name: str, uid: str, handles: Sequence[Handle], *, tag: str = "", iso: bool = False
) -> AsyncIterator[Content]:
    """Opened; without a ``tag`` the files tell by their times whether they have changed since another time."""
    with opened(handles) as layers:
        yield Content(title, name, uid, tag or _seen(layers), layers, iso)


def _seen(layers: Sequence[Layer]) -> str:
    text = repr([_stamp(layer) for layer in layers])
    return hashlib.sha256(text.encode()).hexdigest()


def _stamp(layer: Layer) -> object:
    if layer.device:
        return devices.stamp(layer.fd)
    found = os.fstat(layer.fd)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
