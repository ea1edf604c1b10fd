"""A disk whose image is still being fetched: how far that is, and its guest's way to the file once that is there.

A guest that began before reads the image from who fetches it. When the file is there its QEMU copies the disk's
own layer into one that reads the file, and goes on in that: it is stopped between its pivot and the commit, so
that both are the same whoever dies in between. Each look reads from volume and hypervisor how far this is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from hyperd import clock
from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.disk.ready import Disks
from hyperd.controllers.image import transfer
from hyperd.controllers.machine.held import serial_of
from hyperd.controllers.machine.holders import guest_of
from hyperd.crashpoints import CrashPoint, reached
from hyperd.errors import HyperdError, NotFound
from hyperd.hypervisor.state import DomainInfo, DomainState
from hyperd.imagefile.handle import FileHandle, Handle, NbdHandle
from hyperd.imagefile.lazy import FetchState
from hyperd.progress import Progress
from hyperd.resources.all import VIRTUAL_DISK
from hyperd.resources.kinds.virtual_disk import DiskFetchReason, VirtualDiskCondition
from hyperd.resources.values.conditions import find_condition, remove_condition, set_condition
from hyperd.runtime.controller import Result

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk

_LOOK_SECONDS: Final = 2.0
_SOON_SECONDS: Final = 0.2


class Fetching:
    """What is shown is set in place."""

    def __init__(self, world: Disks) -> None:
        self._world = world
        self._context = world.context

    async def look(self, disk: VirtualDisk) -> Result | None:
        """Show it, and do the next step; when to look again, None once the disk is like any other."""
        uid = disk["metadata"]["uid"]
        try:
            image = await self._context.volumes.lazily.image(uid)
        except HyperdError:  # whoever keeps the volume tells
            return Result(_LOOK_SECONDS) if usage.is_being_fetched(disk) else None
        if image is None and not _is_settling(disk):
            _end(disk)
            return None
        if image is not None and not await asyncio.to_thread(image.exists):
            _show(disk, await self._context.images.fetching(image) or FetchState(0, 0))
            return Result(_LOOK_SECONDS)
        try:
            return await self._settle(disk)
        except HyperdError as err:
            _show_settling(disk, err.message)
            return Result(_LOOK_SECONDS)

    async def _settle(self, disk: VirtualDisk) -> Result | None:
        """The image is there: the guest, if there is one, reads it from now on."""
        lazily, uid = self._context.volumes.lazily, disk["metadata"]["uid"]
        if not self._context.hypervisor.connected:
            _show_settling(disk, "libvirt does not answer: nobody knows what the disk's guest reads.")
            return Result(_LOOK_SECONDS)
        guest = await self._guest(disk)
        if guest is None:
            await lazily.cancel(uid)
            _end(disk)
            return None
        async with self._world.stopping[guest.uid]:
            guest = await self._guest(disk)
            return Result(_SOON_SECONDS) if guest is None else await self._pivot(disk, guest)

    async def _pivot(self, disk: VirtualDisk, guest: DomainInfo) -> Result | None:
        """One step of it. What says that a guest may be stopped for this is in the store before one is."""
        context, uid = self._context, disk["metadata"]["uid"]
        lazily, mirrors, serial = context.volumes.lazily, context.hypervisor.mirrors, serial_of(uid)
        opened = (await context.hypervisor.sources(guest.uid)).get(serial)
        prepared = await lazily.prepared(uid)
        if prepared is not None and opened == prepared:
            return await self._commit(disk, guest, began=0.0)
        if opened is None:
            return Result(_SOON_SECONDS)
        if not _reads_from_server(opened):
            await lazily.cancel(uid)
            return await self._go_on(disk, guest)
        copy = await mirrors.state(guest.uid, serial)
        if copy is None or prepared is None:
            await mirrors.end(guest.uid, serial)
            await mirrors.begin(guest.uid, serial, await lazily.prepare(uid), bytes_per_second=0, shallow=True)
            reached(CrashPoint.LAZY_AFTER_OVERLAY)
        if copy is None or prepared is None or not copy.ready or not _is_settling(disk):
            _show_settling(disk, "The image is on this node; the guest goes on with it in a moment.")
            return Result(_SOON_SECONDS)
        began = clock.elapsed()
        await mirrors.take(guest.uid, serial, prepared)
        reached(CrashPoint.LAZY_AFTER_PIVOT)
        return await self._commit(disk, guest, began=began)

    async def _commit(self, disk: VirtualDisk, guest: DomainInfo, *, began: float) -> Result | None:
        """The guest, which is stopped, has the other layer open. ``began`` is when, if this process stopped it."""
        await self._context.volumes.lazily.commit(disk["metadata"]["uid"])
        reached(CrashPoint.LAZY_AFTER_COMMIT)
        result = await self._go_on(disk, guest)
        if began and result is None:
            held = f"; its guest was held for {1000 * (clock.elapsed() - began):.0f} ms"
            self._context.events.event(disk, "Normal", "ImageFetched", f"The image is on this node{held}.")
        return result

    async def _go_on(self, disk: VirtualDisk, guest: DomainInfo) -> Result | None:
        """Nothing of the guest's is fetched for this disk any more; if it was stopped for that it goes on."""
        now = await self._context.hypervisor.info(guest.uid)
        if now is not None and now.state is DomainState.PAUSED and now.reason == "user" and _is_settling(disk):
            if await self._others_wait(disk, now):
                return Result(_LOOK_SECONDS)
            try:
                await self._context.hypervisor.resume(guest.uid)
            except NotFound:
                return Result(_SOON_SECONDS)
        _end(disk)
        return None

    async def _others_wait(self, disk: VirtualDisk, guest: DomainInfo) -> bool:
        """Whether another disk of the guest may have stopped it: one that is moved, or fetched as this was."""
        serials = {each.serial for each in guest.disks}
        found = await self._context.store.find_all(VIRTUAL_DISK, disk["metadata"]["namespace"])
        if any(usage.is_moved(each) and serial_of(each["metadata"]["uid"]) in serials for each in found):
            return True
        return await waits_for_layers(self._context, guest, found, besides=disk["metadata"]["uid"])

    async def _guest(self, disk: VirtualDisk) -> DomainInfo | None:
        meta = disk["metadata"]
        return await guest_of(self._context, meta["namespace"], meta["name"], meta["uid"])


async def waits_for_layers(
    context: Context, guest: DomainInfo, disks: Iterable[VirtualDisk], *, besides: str
) -> bool:
    """Whether the guest must not write yet: one of its ``disks``, but for the uid ``besides``, has pivoted.

    What it has open is not the disk's layer before the commit, so what it wrote would be lost where QEMU died.
    """
    sources = await context.hypervisor.sources(guest.uid)
    for disk in disks:
        uid = disk["metadata"]["uid"]
        opened = sources.get(serial_of(uid))
        if uid == besides or opened is None or not usage.is_being_fetched(disk):
            continue
        if await context.volumes.lazily.prepared(uid) == opened:
            return True
    return False


def _reads_from_server(opened: Handle) -> bool:
    return isinstance(opened, FileHandle) and isinstance(opened.below, NbdHandle)


def _show(disk: VirtualDisk, state: FetchState) -> None:
    progress = Progress(state.fraction, state.fetched, state.speed, state.speed)
    transfer.show_progress(disk["status"], progress)
    far = transfer.progress_message(progress)
    reason, message = DiskFetchReason.FETCHING, f"The image comes while the disk is used: {far}"
    if state.fault:
        reason = DiskFetchReason.DAMAGE_READ if state.refused else DiskFetchReason.IMAGE_DAMAGED
        message = f"{state.fault} A guest that reads this is stopped until it comes right."
    elif state.trouble:
        reason = DiskFetchReason.WAITING_FOR_REGISTRY
        message = f"{state.trouble} Guests that read what has not come yet wait. {far}"
    set_condition(disk, VirtualDiskCondition.IMAGE_FETCHED, False, reason=reason, message=message)


def _show_settling(disk: VirtualDisk, message: str) -> None:
    reason = DiskFetchReason.SETTLING
    set_condition(disk, VirtualDiskCondition.IMAGE_FETCHED, False, reason=reason, message=message)


def _is_settling(disk: VirtualDisk) -> bool:
    found = find_condition(disk, VirtualDiskCondition.IMAGE_FETCHED)
    return found is not None and found["reason"] == DiskFetchReason.SETTLING


def _end(disk: VirtualDisk) -> None:
    if find_condition(disk, VirtualDiskCondition.IMAGE_FETCHED) is not None:
        remove_condition(disk, VirtualDiskCondition.IMAGE_FETCHED)
        transfer.finish_progress(disk["status"], 0)
