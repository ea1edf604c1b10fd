"""From one StorageClass to another, of a disk that no machine has: its volume is copied, and goes where it was.

The copy is a volume of the disk's own uid in the other storage, and appears there whole. Which one is the disk's
its status says, and names another by a single write: before that the copy is removed by whatever ends the move,
after it what the first storage has. Nobody may use the disk meanwhile: its phase says so, and who starts a
machine, takes a snapshot or reads it for an image asks for that after having written what they are about to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from hyperd.controllers import usage
from hyperd.controllers.disk.moves import KIND, move_of, show_failed, show_moving, switched
from hyperd.controllers.disk.operations.moving import (
    forget,
    has_volume,
    intended,
    leave,
    name_volume,
    remove_target,
    remove_volume,
    require_class,
    require_unused,
    switch_to,
    tried_again,
)
from hyperd.controllers.disk.ready import Disks, claim_name, show_ready
from hyperd.controllers.image import transfer
from hyperd.controllers.machine.held import serial_of
from hyperd.controllers.machine.holders import openers
from hyperd.crashpoints import CrashPoint, reached
from hyperd.errors import HyperdError, NotFound, PermanentError, TemporaryError
from hyperd.progress import Report
from hyperd.resources.all import VIRTUAL_DISK
from hyperd.resources.kinds.virtual_disk import DiskMigratingReason, MigrationResult, VirtualDiskCondition
from hyperd.resources.values.conditions import remove_condition
from hyperd.resources.values.meta import now_rfc3339
from hyperd.runtime.controller import Result
from hyperd.runtime.operations.operation import Operation, Step
from hyperd.runtime.operations.record import Record
from hyperd.storage.interface import Provisioner

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk


class Migrate(Operation[Disks, "VirtualDisk"]):
    """A disk's volume, to where another StorageClass has it."""

    kind: ClassVar = KIND

    def __init__(self, context: Disks, obj: VirtualDisk, op_uid: str) -> None:
        super().__init__(context, obj, op_uid)
        self.move = intended(context, obj)
        self.copied = ""
        """The provisioner with the copy that this very try has made; what an earlier one made may be stale."""

    @classmethod
    def wanted(cls, context: Disks, obj: VirtualDisk) -> bool:
        return move_of(obj).wanted

    @classmethod
    def digest(cls, context: Disks, obj: VirtualDisk) -> str:
        return intended(context, obj).encode()

    def steps(self) -> Sequence[Step]:
        return [CheckStep(self), _Copy(self), _Switch(self), ReleaseStep(self)]

    def show(self, obj: VirtualDisk) -> None:
        status = obj["status"]
        if switched(obj, self.move) and not usage.is_moved(obj):
            return  # it is used again, while what it was before is still to go
        show_moving(obj, self.op_uid, transfer.progress_message(self.progress))
        transfer.show_progress(status, self.progress)
        status.pop("downloadSpeed", None)

    async def succeeded(self, obj: VirtualDisk) -> Result | None:
        volume = await self.context.context.volumes.find(obj["metadata"]["uid"])
        if volume is None:
            raise TemporaryError(f"The volume of disk {obj['metadata']['name']} was moved, and is gone again.")
        if self.move.provisioner in self.context.context.volumes.provisioners:
            await forget(self)
        status = obj["status"]
        if usage.is_moved(obj):
            show_ready(obj, volume)
        remove_condition(obj, VirtualDiskCondition.MIGRATING)
        transfer.finish_progress(status, 0)
        state = status.setdefault("migrationState", {})
        state |= {"endTimestamp": now_rfc3339(), "result": MigrationResult.SUCCEEDED}
        state.pop("message", None)
        message = f'The disk is in StorageClass "{self.move.target}" now{self.how()}.'
        self.context.context.events.event(obj, "Normal", "VolumeMigrationCompleted", message)
        return None

    def how(self) -> str:
        """What is to be told of it beside, the end of a sentence."""
        return ""

    def failed(self, obj: VirtualDisk, err: HyperdError, *, final: bool) -> None:
        transfer.finish_progress(obj["status"], 0)
        show_failed(obj, self.move, err)
        self.context.context.events.event(obj, "Warning", "VolumeMigrationFailed", err.message)

    async def stored(self) -> VirtualDisk:
        """The disk as the store has it now. Raises TemporaryError where it is another one, or gone."""
        meta = self.obj["metadata"]
        found = await self.context.context.store.find(VIRTUAL_DISK, meta["namespace"], meta["name"])
        if found is None or found["metadata"]["uid"] != meta["uid"]:
            raise TemporaryError(f'VirtualDisk "{meta["name"]}" is gone.')
        return found

    def is_noted(self, *, final: bool = False) -> bool:
        """Whether the node knows that this very move takes the volume away; and, if ``final``, has done so."""
        note = self.context.context.volumes.departures.get(self.obj["metadata"]["uid"], self.move.provisioner)
        return note is not None and note.op_uid == self.op_uid and (note.final or not final)

    def gone_on(self) -> str:
        """The provisioner that this move has surely taken the volume to, whatever the store says, or empty."""
        note = self.context.context.volumes.departures.get(self.obj["metadata"]["uid"], self.move.provisioner)
        return note.to if note is not None and self.is_noted(final=True) else ""

    async def is_switched(self) -> bool:
        """Whether the disk's volume is the one in the class that it is moved to."""
        return switched(await self.stored(), self.move)


class CheckStep(Step):
    """Nothing of the disk is in the other storage: only what is found there afterwards is this move's to remove.

    What was there before may be all that the disk's guest wrote, where an earlier state of the store was restored.
    """

    name: ClassVar = "check"

    def __init__(self, operation: Migrate) -> None:
        self._operation = operation

    async def done(self) -> bool:
        record = Record.of(self._operation.obj)
        passed = (
            record is not None and record.op_uid == self._operation.op_uid and record.step not in ("", self.name)
        )
        return passed or await self._operation.is_switched()

    async def run(self, report: Report) -> None:
        require_class(self._operation)
        move, meta = self._operation.move, self._operation.obj["metadata"]
        if move.to == move.provisioner or not await has_volume(self._operation, move.to):
            return
        message = (
            f'StorageClass "{move.target}" has a volume of the disk already, {meta["uid"]}, which this move has '
            "not made, and which may hold what the disk's own does not: nothing is copied over it. Look at what "
            "is in it, and move it away; the disk is moved then."
        )
        raise TemporaryError(message, key=DiskMigratingReason.WAIT_FOR_TARGET_READY)

    async def undo(self) -> None:
        """It made nothing."""


class _Copy(Step):
    """The content, in the other storage. Nothing to do where both classes are of one.

    It counts for the try that has made it: after that the disk may be used, and what was copied is stale. So there
    is no copy that is done before the switch; each try makes its own.
    """

    name: ClassVar = "copy"

    def __init__(self, operation: Migrate) -> None:
        self._operation = operation
        self._context = operation.context.context
        self._disk = operation.obj
        self._uid = operation.obj["metadata"]["uid"]

    async def done(self) -> bool:
        return bool(self._operation.gone_on()) or await self._operation.is_switched()

    async def run(self, report: Report) -> None:
        with tried_again():
            await self._run(report)

    async def _run(self, report: Report) -> None:
        require_class(self._operation)
        await require_unused(self._operation, await self._operation.stored())
        volumes = self._context.volumes
        target, source = volumes.provisioner(self._operation.move.to), self._operation.move.provisioner
        if target.name != source:
            await self._receive(target, source, report)
        self._operation.copied = target.name
        reached(CrashPoint.MOVE_AFTER_COPY)

    async def _receive(self, target: Provisioner, source: str, report: Report) -> None:
        volumes = self._context.volumes
        await remove_volume(self._operation, target.name, kept=source)
        async with volumes.reading(self._uid):
            there = await volumes.find(self._uid)
            if there is None:
                raise TemporaryError(f"The volume of disk {self._disk['metadata']['name']} is gone.")
            layers = await volumes.layers(self._uid)
            await target.receive(
                self._uid, there.virtual_size, layers=layers, op_uid=self._operation.op_uid, report=report
            )

    async def undo(self) -> None:
        """Remove the copy, as long as it is one."""
        if await self._operation.is_switched():
            return
        if gone_on := self._operation.gone_on():
            await switch_to(self._operation, await self._operation.stored(), gone_on)
        else:
            await remove_target(self._operation)


class _Switch(Step):
    """The copy becomes the disk's volume, and its class the disk's, by one write."""

    name: ClassVar = "switch"

    def __init__(self, operation: Migrate) -> None:
        self._operation = operation

    async def done(self) -> bool:
        return await self._operation.is_switched()

    async def run(self, report: Report) -> None:
        """Asks again whether anybody uses the disk: the write holds for the very object that was asked about."""
        operation = self._operation
        disk = await operation.stored()
        await require_unused(operation, disk)
        copied = operation.gone_on() or operation.copied
        if not copied:
            raise TemporaryError("The disk is not copied yet; looking again.")
        await switch_to(operation, disk, copied)
        reached(CrashPoint.MOVE_AFTER_SWITCH)

    async def undo(self) -> None:
        """What is switched is the disk's, and goes with it, or is moved back."""


class ReleaseStep(Step):
    """What the first storage had goes."""

    name: ClassVar = "release"

    def __init__(self, operation: Migrate) -> None:
        self._operation = operation
        self._volumes = operation.context.context.volumes
        self._uid = operation.obj["metadata"]["uid"]

    async def done(self) -> bool:
        disk, source = await self._operation.stored(), self._operation.move.provisioner
        if not switched(disk, self._operation.move):
            return False
        if self._operation.is_noted():
            await leave(self._operation, _kept(disk), final=True)
        if source == self._operation.move.to or source not in self._volumes.provisioners:
            return True
        try:
            return await self._volumes.provisioner(source).find(self._uid) is None
        except PermanentError:  # damaged, and there
            return False

    async def run(self, report: Report) -> None:
        disk, source = await self._operation.stored(), self._operation.move.provisioner
        if not switched(disk, self._operation.move):
            raise TemporaryError("The disk is not said to be where it was moved to; looking again.")
        if source == self._operation.move.to or source not in self._volumes.provisioners:
            return
        try:
            await self._require_moved(disk)
            await self._require_closed(source)
            await remove_volume(self._operation, source, kept=_kept(disk))
        except (NotFound, PermanentError) as err:
            key = DiskMigratingReason.WAIT_FOR_SOURCE_VOLUME_RELEASE
            raise TemporaryError(err.message, key=key) from err

    async def undo(self) -> None:
        """It is a copy of the disk no more."""

    async def _require_moved(self, disk: VirtualDisk) -> None:
        """A store that was restored may tell of a move that is long undone: the disk is where its volume is."""
        move, kept = self._operation.move, _kept(disk)
        if self._volumes.departures.get(self._uid, kept) is not None:
            raise TemporaryError(
                "The store is older than the disk: its volume was moved away from where the store has it, and "
                "both are kept."
            )
        if kept != move.provisioner and await self._volumes.provisioner(kept).find(self._uid) is not None:
            return
        if await self._volumes.provisioner(move.provisioner).find(self._uid) is None:
            return
        if self._volumes.departures.get(self._uid, move.provisioner) is not None:
            raise TemporaryError(
                f'The volume of the disk is gone from StorageClass "{move.target}". What "{move.source}" still '
                "has of it is older than the move: it is kept, and not used for it."
            )
        claim = (disk["status"].get("migrationState") or {}).get("sourcePVC") or claim_name(disk)
        await name_volume(self._operation, disk, move.source, move.provisioner, claim)
        raise TemporaryError(f'The volume of the disk is still in StorageClass "{move.source}".')

    async def _require_closed(self, source: str) -> None:
        """No guest has it open, whatever the store says: one may have the disk, where it is now."""
        context = self._operation.context.context
        for domain in openers(context, self._uid):
            opened = (await context.hypervisor.sources(domain)).get(serial_of(self._uid))
            if opened is not None and opened == await self._volumes.attach_copy(self._uid, source):
                raise TemporaryError(f"The guest of domain {domain} has the disk's former volume open.")


def _kept(disk: VirtualDisk) -> str:
    """The provisioner that has the disk's volume."""
    return (disk["status"].get("target") or {}).get("provisioner") or ""
