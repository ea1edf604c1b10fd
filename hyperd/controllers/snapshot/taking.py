"""From disks to their snapshots, all of one moment: what a disk's snapshot and a machine's have in common.

The volumes' new tops are prepared before the guest is touched, and what was written until then becomes the
snapshots' once it goes on: it is held for no longer than its QEMU takes to open the new files. What came of it is
read from the volumes and from what QEMU has open, so that a crash anywhere is taken up where it was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.machine.held import serial_of
from hyperd.controllers.machine.holders import guest_of
from hyperd.crashpoints import CrashPoint, reached
from hyperd.errors import HyperdError, NotFound, PermanentError, TemporaryError
from hyperd.hypervisor.state import DomainInfo, DomainState
from hyperd.imagefile.handle import Handle
from hyperd.resources.all import VIRTUAL_DISK
from hyperd.resources.kinds.virtual_disk_snapshot import DiskSnapshotReadyReason
from hyperd.storage.interface import Snapshot

INCONSISTENT: Final = DiskSnapshotReadyReason.POTENTIALLY_INCONSISTENT
"""Key of the error of a snapshot that may not be had."""


class Stage(StrEnum):
    """What is being done; the values are the reference's reasons."""

    SNAPSHOTTING = DiskSnapshotReadyReason.SNAPSHOTTING
    FREEZING = DiskSnapshotReadyReason.FILE_SYSTEM_FREEZING
    UNFREEZING = DiskSnapshotReadyReason.FILE_SYSTEM_UNFREEZING


@dataclass(frozen=True)
class Part:
    """One disk: its name and uid, and the uid of its snapshot."""

    namespace: str
    name: str
    disk: str
    snapshot: str


Parts = Callable[[], Awaitable[Sequence[Part] | None]]
"""Tells the disks, None while they are not known yet."""


class Taking:
    """The snapshots ``parts`` of disks that one guest has open, or none."""

    def __init__(self, context: Context, parts: Parts, op_uid: str, *, required: bool) -> None:
        """``required``: a guest that cannot be held is reason to fail."""
        self._context = context
        self._ask = parts
        self._parts: Sequence[Part] = ()
        self._op_uid = op_uid
        self._required = required
        self.stage = Stage.SNAPSHOTTING
        self.consistent = False
        """Whether it is sure that nothing was being written at that moment."""
        self.held_seconds = 0.0
        """How long the guest was held."""

    async def prepared(self) -> bool:
        found = await self._found()
        return found is not None and None not in found

    async def committed(self) -> bool:
        found = await self._found()
        return found is not None and not any(each is None or each.pending for each in found)

    async def prepare(self) -> dict[Part, Handle | None]:
        """Part → what its guest is to write to from now on, None where that stays."""
        await self._load()
        if not self._context.hypervisor.connected:
            raise TemporaryError("libvirt does not answer: nobody knows whether a guest has the disk open.")
        in_use = await self._guest() is not None
        return {part: await self._prepare(part, in_use=in_use) for part in self._parts}

    async def pivot(self) -> None:
        """From now on the guest writes elsewhere. Raises PermanentError where it must be held and cannot be."""
        tops = await self.prepare()
        guest = await self._guest()
        stay = [part for part, top in tops.items() if top is None]
        if guest is None:
            for part in stay:
                await self._copy_now(part, in_use=False)
            self.consistent = True
            return
        serials = {serial_of(part.disk): top for part, top in tops.items() if top is not None}
        if not stay and not _differ(await self._context.hypervisor.sources(guest.uid), serials):
            await self._go_on(guest)
            return
        async with self._held(guest):
            reached(CrashPoint.SNAPSHOT_FROZEN)
            await self._context.hypervisor.pivot(guest.uid, serials)
            for part in stay:
                await self._copy_now(part, in_use=True)
            reached(CrashPoint.SNAPSHOT_AFTER_PIVOT)
            self.stage = Stage.UNFREEZING
        self.stage = Stage.SNAPSHOTTING
        if self._required and not self.consistent:
            raise PermanentError(
                f"The guest of virtual machine {guest.vm_name} went on writing before its snapshot was taken; "
                "take another one.",
                key=INCONSISTENT,
            )

    async def commit(self) -> None:
        await self._load()
        for part in self._parts:
            await self._commit(part)
            reached(CrashPoint.SNAPSHOT_AFTER_COMMIT)

    async def thaw(self) -> None:
        """What an earlier try may have left frozen."""
        await self._known()
        guest = await self._guest()
        if guest is not None and guest.agent_connected:
            await self._context.hypervisor.holds.thaw(guest.uid)

    async def undo(self) -> None:
        """As if nothing had been asked for. Raises TemporaryError while that is not to be known."""
        await self._known()
        guest = await self._guest()
        sources = {} if guest is None else await self._context.hypervisor.sources(guest.uid)
        for part in self._parts:
            found = await self._context.volumes.find_snapshot(part.snapshot, of=part.disk)
            if found is not None and found.pending:
                top = await self._prepare(part, in_use=True)
                if guest is None or sources.get(serial_of(part.disk)) == top:
                    # What was prepared is, or may have been, written to.
                    await self._commit(part)
            await self._context.volumes.cancel_snapshot(part.disk, snapshot=part.snapshot)
            await self._context.volumes.delete_snapshot(part.snapshot, of=part.disk)

    async def _known(self) -> bool:
        """Whether the disks are."""
        found = await self._ask()
        self._parts = found or ()
        return found is not None

    async def _load(self) -> None:
        if not await self._known():
            raise TemporaryError("It is not known yet of which disks snapshots are to be taken.")

    async def _found(self) -> list[Snapshot | None] | None:
        """What there is of each, prepared or more; None while the disks are not known."""
        if not await self._known():
            return None
        return [await self._context.volumes.find_snapshot(part.snapshot, of=part.disk) for part in self._parts]

    async def _require_own(self, part: Part) -> None:
        """A status may name any uid: the disk is the one that is called so in its namespace, or none."""
        disk = await self._context.store.find(VIRTUAL_DISK, part.namespace, part.name)
        if disk is None or disk["metadata"]["uid"] != part.disk:
            raise PermanentError(f'VirtualDisk "{part.name}" is gone, or another one by now.')
        if usage.is_moved(disk):
            raise TemporaryError(f'VirtualDisk "{part.name}" {usage.MOVED}.')
        if usage.is_being_fetched(disk):
            raise TemporaryError(f'VirtualDisk "{part.name}" is snapshotted once its image is on this node.')

    async def _prepare(self, part: Part, *, in_use: bool) -> Handle | None:
        if await self._context.volumes.find_snapshot(part.snapshot, of=part.disk) is None:
            await self._require_own(part)
        try:
            return await self._context.volumes.prepare_snapshot(
                part.disk, snapshot=part.snapshot, op_uid=self._op_uid, in_use=in_use
            )
        except NotFound:
            raise PermanentError(f'The volume of VirtualDisk "{part.name}" is gone.') from None

    async def _copy_now(self, part: Part, *, in_use: bool) -> None:
        """A volume that its guest goes on in: what was prepared of it is what it was then, maybe long ago."""
        await self._context.volumes.cancel_snapshot(part.disk, snapshot=part.snapshot)
        await self._prepare(part, in_use=in_use)
        await self._commit(part)

    async def _commit(self, part: Part) -> None:
        await self._context.volumes.commit_snapshot(part.disk, snapshot=part.snapshot, op_uid=self._op_uid)

    async def _guest(self) -> DomainInfo | None:
        found: dict[str, DomainInfo] = {}
        for part in self._parts:
            guest = await guest_of(self._context, part.namespace, part.name, part.disk)
            if guest is not None:
                found[guest.uid] = guest
        if len(found) > 1:
            names = ", ".join(sorted(guest.vm_name for guest in found.values()))
            raise PermanentError(f"The disks are open in the guests of several virtual machines: {names}.")
        return next(iter(found.values()), None)

    async def _go_on(self, guest: DomainInfo) -> None:
        """It was pivoted before a crash: what is still frozen was frozen then."""
        try:
            thawed = await self._context.hypervisor.holds.thaw(guest.uid) if guest.agent_connected else 0
        except HyperdError:
            thawed = 0
        self.consistent = self.consistent or thawed > 0
        if self._required and not self.consistent:
            raise PermanentError(
                "hyperd ended while the snapshot was being taken, and nobody knows whether the guest went on "
                "writing meanwhile; take another one.",
                key=INCONSISTENT,
            )

    @asynccontextmanager
    async def _held(self, guest: DomainInfo) -> AsyncIterator[None]:
        if why := cannot_freeze(guest):
            if self._required:
                raise PermanentError(why, key=INCONSISTENT)
            yield
            return
        self.stage = Stage.FREEZING
        async with self._context.hypervisor.holds.frozen(guest.uid) as frozen:
            yield
        self.consistent, self.held_seconds = frozen.whole, frozen.seconds


def cannot_freeze(guest: DomainInfo) -> str:
    """Why the guest cannot be held; a sentence, empty if it may."""
    if guest.state is DomainState.PAUSED:
        return f"Virtual machine {guest.vm_name} is paused, so that its file systems cannot be frozen."
    if not guest.agent_connected:
        return (
            f"Virtual machine {guest.vm_name} runs and its guest agent does not answer, so that its file systems "
            "cannot be frozen: start qemu-guest-agent in it, stop it, or set requiredConsistency to false."
        )
    return ""


def _differ(sources: Mapping[str, Handle], wanted: Mapping[str, Handle]) -> bool:
    return any(sources.get(serial) != top for serial, top in wanted.items())
