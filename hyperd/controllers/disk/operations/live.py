"""From one StorageClass to another, of a disk that a guest has open: its QEMU copies it, and goes on in the copy.

Until the status names the copy the first volume is the disk's, whatever ends first, guest or daemon. So the guest
is stopped for the moment between: it pivots to the copy, which holds all that it wrote, the status names that, and
only then it goes on. Both are the same until then. What a crash leaves stopped goes on with the next daemon. A
store that answers nobody meanwhile holds it for seconds: then this node notes durably which of both the disk's
volume is, the guest goes on, and the status follows when it can.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, ClassVar, Final

from hyperd import clock
from hyperd.controllers.disk import moves
from hyperd.controllers.disk.fetching import waits_for_layers
from hyperd.controllers.disk.operations.migrate import CheckStep, Migrate, ReleaseStep
from hyperd.controllers.disk.operations.moving import (
    leave,
    remove_target,
    remove_volume,
    require_class,
    require_no_snapshot,
    switch_to,
    tried_again,
)
from hyperd.controllers.disk.ready import Disks
from hyperd.controllers.machine.held import serial_of
from hyperd.controllers.machine.holders import guest_of
from hyperd.crashpoints import CrashPoint, reached
from hyperd.errors import HyperdError, NotFound, PermanentError, TemporaryError
from hyperd.hypervisor.state import DomainInfo, DomainState
from hyperd.imagefile.handle import BlockHandle, FileHandle, Handle
from hyperd.imagefile.layers import opened
from hyperd.imagefile.qemuimg import allocated
from hyperd.progress import Progress, Report
from hyperd.resources.all import VIRTUAL_DISK
from hyperd.resources.kinds.virtual_disk import DiskMigratingReason, VirtualDiskPhase
from hyperd.resources.values.quantity import format_human
from hyperd.runtime.operations.operation import Step
from hyperd.runtime.operations.record import Record
from hyperd.storage.interface import NO_ROOM, Capability, Provisioner

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk

_log = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 0.5
_AGAIN_SECONDS: Final = 0.2
_HELD_SECONDS: Final = 5.0
"""How long a stopped guest waits for the store."""


class MigrateLive(Migrate):
    """A disk's volume, from under a guest that runs."""

    kind: ClassVar = moves.LIVE_KIND

    def __init__(self, context: Disks, obj: VirtualDisk, op_uid: str) -> None:
        super().__init__(context, obj, op_uid)
        self.uid = obj["metadata"]["uid"]
        self.serial = serial_of(self.uid)
        self.is_first = False
        """Whether it is sure that the guest has not gone on in the copy."""
        self._stopped = 0.0
        self._held_seconds = 0.0

    @classmethod
    def wanted(cls, context: Disks, obj: VirtualDisk) -> bool:
        return False

    def how(self) -> str:
        return f"; its guest was held for {1000 * self._held_seconds:.0f} ms" if self._held_seconds else ""

    def stops(self) -> None:
        """The guest is about to be stopped."""
        self._stopped = clock.elapsed()

    def steps(self) -> Sequence[Step]:
        return [CheckStep(self), _Mirror(self), _Pivot(self), _ReleaseLive(self)]

    def failed(self, obj: VirtualDisk, err: HyperdError, *, final: bool) -> None:
        record = Record.of(obj)
        pivoting = record is not None and record.step not in _BEFORE and not self.is_first
        super().failed(obj, err, final=final)
        if pivoting and not moves.switched(obj, self.move):
            obj["status"]["phase"] = VirtualDiskPhase.MIGRATING

    async def guest(self) -> DomainInfo | None:
        """That has the disk open. Raises TemporaryError where nobody can tell."""
        if not self.context.context.hypervisor.connected:
            raise TemporaryError("libvirt does not answer: nobody knows whether a guest has the disk open.")
        meta = self.obj["metadata"]
        return await guest_of(self.context.context, meta["namespace"], meta["name"], self.uid)

    async def copy(self, provisioner: str) -> Handle | None:
        """What the volume that ``provisioner`` has is opened by; None without one."""
        try:
            return await self.context.context.volumes.attach_copy(self.uid, provisioner)
        except (NotFound, PermanentError):
            return None

    async def taken(self, guest: DomainInfo | None) -> str:
        """The other provisioner whose volume the guest has open, or had when it ended; empty for none."""
        if gone_on := self.gone_on():
            return gone_on
        if guest is None:
            return ""
        opened = (await self.context.context.hypervisor.sources(guest.uid)).get(self.serial)
        for other in self.context.context.volumes.provisioners:
            if opened is not None and other != self.move.provisioner and await self.copy(other) == opened:
                return other
        return ""

    @asynccontextmanager
    async def stopping(self) -> AsyncIterator[DomainInfo | None]:
        """The guest, which no other disk of it stops or lets go on until the block ends."""
        guest = await self.guest()
        if guest is None:
            yield None
            return
        async with self.context.stopping[guest.uid]:
            yield await self.guest()

    async def go_on(self, *, asked: bool = True) -> None:
        """Let a guest go on that was stopped for the pivot, unless another disk of it has pivoted, and waits.

        Of the others the store is ``asked``, or what was last heard of it.
        """
        guest = await self.guest()
        if guest is None or guest.state is not DomainState.PAUSED or guest.reason != "user":
            return
        if not await self._others_wait(guest, asked):
            await self.context.context.hypervisor.resume(guest.uid)
            self._held_seconds = clock.elapsed() - self._stopped if self._stopped else 0.0

    async def _others_wait(self, guest: DomainInfo, asked: bool) -> bool:
        """Whether the guest must not write before the status of another disk names what it has open."""
        context, namespace = self.context.context, self.obj["metadata"]["namespace"]
        sources = await context.hypervisor.sources(guest.uid)
        heard = [item.object() for item in context.informer(VIRTUAL_DISK).items() if item.namespace == namespace]
        disks = await context.store.find_all(VIRTUAL_DISK, namespace) if asked else heard
        if await waits_for_layers(context, guest, disks, besides=self.uid):
            return True
        for disk in disks:
            uid, move = disk["metadata"]["uid"], moves.move_of(disk)
            opened, note = sources.get(serial_of(uid)), context.volumes.departures.get(uid, move.provisioner)
            live = moves.kind_of(disk) == moves.LIVE_KIND and not moves.switched(disk, move)
            if uid == self.uid or not live or opened is None or (note is not None and note.final):
                continue
            if opened != await context.volumes.attach_copy(uid, move.provisioner):
                return True
        return False

    async def switch(self, provisioner: str) -> None:
        """The status names what ``provisioner`` has, and the guest, which waits for that, goes on.

        Raises TemporaryError where the store does not take that in time. The guest goes on all the same.
        """
        try:
            async with asyncio.timeout(_HELD_SECONDS):
                await self._name(provisioner)
        except TimeoutError as err:
            await self._go_on_in(provisioner)
            raise TemporaryError(
                "The guest has gone on in the copy of the disk, which the store does not take yet; trying again."
            ) from err
        reached(CrashPoint.MOVE_AFTER_SWITCH)
        await self.go_on()

    async def _name(self, provisioner: str) -> None:
        while True:
            try:
                return await switch_to(self, await self.stored(), provisioner)
            except HyperdError as err:
                _log.info("A guest waits for the status of its disk %s: %s", self.uid, err.message)
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _go_on_in(self, provisioner: str) -> None:
        """By this node's own word: from now on the copy alone has what the guest writes."""
        if provisioner != self.move.provisioner and await self.copy(provisioner) is not None:
            await leave(self, provisioner, final=True)
        await self.go_on(asked=False)


class _Mirror(Step):
    """A copy in the other storage, which follows what the guest writes."""

    name: ClassVar = "mirror"

    def __init__(self, operation: MigrateLive) -> None:
        self._operation = operation
        self._context = operation.context.context
        self._uid, self._serial = operation.uid, operation.serial

    async def done(self) -> bool:
        """One that a guest has is found by its next step; of all others nobody knows how far they are."""
        if await self._operation.is_switched():
            return True
        return bool(await self._operation.taken(await self._operation.guest()))

    async def run(self, report: Report) -> None:
        with tried_again():
            await self._run(report)

    async def _run(self, report: Report) -> None:
        operation, volumes, mirrors = self._operation, self._context.volumes, self._context.hypervisor.mirrors
        require_class(operation)
        if operation.move.to == operation.move.provisioner:
            return
        await require_no_snapshot(operation)
        guest = await operation.guest()
        if guest is None or guest.state is not DomainState.RUNNING:
            reason = DiskMigratingReason.WAIT_FOR_SOURCE_VOLUME_RELEASE
            raise TemporaryError("The guest that has the disk does not run any more.", key=reason)
        provisioner, source = volumes.provisioner(operation.move.to), operation.move.provisioner
        there = await volumes.find(self._uid)
        if there is None:
            raise TemporaryError("The volume of the disk is gone.")
        await mirrors.end(guest.uid, self._serial)
        await remove_volume(operation, provisioner.name, kept=source)
        await self._require_room(provisioner, there.virtual_size)
        await provisioner.receive(self._uid, there.virtual_size, layers=(), op_uid=operation.op_uid, report=report)
        target = await operation.copy(provisioner.name)
        if target is None:
            raise TemporaryError("What was made for the copy of the disk is gone again.")
        limit = self._context.settings.storage.move_bytes_per_second
        await mirrors.begin(guest.uid, self._serial, target, bytes_per_second=limit)
        try:
            await self._complete(guest.uid, provisioner, report)
        except HyperdError:
            with suppress(HyperdError):
                await mirrors.end(guest.uid, self._serial)
            raise

    async def _require_room(self, provisioner: Provisioner, size: int) -> None:
        """QEMU knows of no reserve, and is told to end only once it has taken of that."""
        layers = await self._context.volumes.layers(self._uid)
        used = min(size, await asyncio.to_thread(_allocated, layers))
        free, name = (await provisioner.capacity()).available, self._operation.move.target
        if used > free:
            raise TemporaryError(
                f'No room in StorageClass "{name}" for the {format_human(used)} that the disk takes: '
                f"{format_human(free)} are free beside what must stay so (setting storage.reserve_bytes).",
                key=NO_ROOM,
            )

    async def _complete(self, guest: str, provisioner: Provisioner, report: Report) -> None:
        """Wait until the copy has all that the guest has written."""
        began = clock.elapsed()
        while True:
            state = await self._context.hypervisor.mirrors.state(guest, self._serial)
            if state is None:
                raise TemporaryError("QEMU has given the copy of the disk up; there may be no room for it.")
            if state.ready:
                reached(CrashPoint.MOVE_AFTER_COPY)
                return
            if Capability.THIN in provisioner.capabilities and not (await provisioner.capacity()).available:
                name = self._operation.move.target
                raise TemporaryError(f'No room in StorageClass "{name}" for what the disk has.', key=NO_ROOM)
            speed = int(state.copied / max(clock.elapsed() - began, 0.001))
            fraction = min(1.0, state.copied / max(state.total, 1))
            report(Progress(fraction, state.copied, speed, speed))
            await asyncio.sleep(_LOOK_SECONDS)

    async def undo(self) -> None:
        if await self._operation.is_switched():
            return
        guest = await self._operation.guest()
        if await self._operation.taken(guest):
            raise TemporaryError("The guest has gone on in the copy of the disk.")
        if guest is not None:
            await self._context.hypervisor.mirrors.end(guest.uid, self._serial)
        await remove_target(self._operation)


def _allocated(layers: Sequence[Handle]) -> int:
    """Bytes on disk of what can be opened here. Blocks."""
    with opened([layer for layer in layers if isinstance(layer, FileHandle | BlockHandle)]) as found:
        return allocated(layer.fd for layer in found)


class _Pivot(Step):
    """The guest goes on in the copy, which is the disk's volume from then on."""

    name: ClassVar = "pivot"

    def __init__(self, operation: MigrateLive) -> None:
        self._operation = operation

    async def done(self) -> bool:
        return await self._operation.is_switched()

    async def run(self, report: Report) -> None:
        operation, provisioner = self._operation, self._operation.move.to
        if provisioner == operation.move.provisioner:
            await operation.switch(provisioner)
            return
        async with operation.stopping() as guest:
            taken = await operation.taken(guest)
            if not taken:
                await self._take(guest, provisioner)
                taken = provisioner
            reached(CrashPoint.MOVE_AFTER_PIVOT)
            await operation.switch(taken)

    async def _take(self, guest: DomainInfo | None, provisioner: str) -> None:
        operation = self._operation
        target = await operation.copy(provisioner)
        if guest is None or target is None:
            operation.is_first = True
            raise TemporaryError("The guest ended before its disk was copied.")
        await operation.stored()  # a store that answers nobody now would hold the guest
        operation.stops()
        try:
            await operation.context.context.hypervisor.mirrors.take(guest.uid, operation.serial, target)
        except HyperdError:
            operation.is_first = not await operation.taken(await operation.guest())
            raise

    async def undo(self) -> None:
        """Too late where the guest has gone on in the copy: that is the disk's then."""
        async with self._operation.stopping() as guest:
            if await self._operation.is_switched():
                await self._operation.go_on()
            elif taken := await self._operation.taken(guest):
                await self._operation.switch(taken)


class _ReleaseLive(ReleaseStep):
    """And a guest that a crash has left stopped goes on."""

    def __init__(self, operation: MigrateLive) -> None:
        super().__init__(operation)
        self._operation: MigrateLive = operation

    async def run(self, report: Report) -> None:
        async with self._operation.stopping():
            await self._operation.go_on()
        await super().run(report)


_BEFORE: Final = (CheckStep.name, _Mirror.name)
"""Steps in which the guest has what it had, whatever fails."""
