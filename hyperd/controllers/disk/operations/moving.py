"""What moves of disks ask and do, whether a guest has the disk or not: see ``migrate`` and ``live``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from hyperd.controllers import usage
from hyperd.controllers.disk.moves import COPY_LEFT, Move, move_of
from hyperd.controllers.disk.ready import Disks, claim_name
from hyperd.controllers.machine.holders import holder
from hyperd.errors import NotFound, PermanentError, TemporaryError
from hyperd.resources.all import STORAGE_CLASS, VIRTUAL_DISK, VIRTUAL_DISK_SNAPSHOT
from hyperd.resources.core import storage_class
from hyperd.resources.kinds.virtual_disk import DiskMigratingReason
from hyperd.resources.kinds.virtual_disk_snapshot import SnapshotPhase
from hyperd.storage.departures import Departure
from hyperd.storage.interface import NO_ROOM
from hyperd.store.interface import PatchType

if TYPE_CHECKING:
    from hyperd.controllers.disk.operations.migrate import Migrate
    from hyperd.resources.views.virtual_disk import VirtualDisk


@contextmanager
def tried_again() -> Iterator[None]:
    """What is found wrong may be mended; it is asked later each time, also whether there is room by then."""
    try:
        yield
    except (NotFound, PermanentError, TemporaryError) as err:
        if isinstance(err, TemporaryError) and err.key != NO_ROOM:
            raise
        raise TemporaryError(err.message, key=DiskMigratingReason.WAIT_FOR_TARGET_READY) from err


def require_class(operation: Migrate) -> None:
    """Raises TemporaryError where no volume can be made in the class that the disk is moved to."""
    name, context = operation.move.target, operation.context.context
    class_ = context.informer(STORAGE_CLASS).get("", name)
    if class_ is None:
        reason = DiskMigratingReason.STORAGE_CLASS_NOT_FOUND
        raise TemporaryError(f'StorageClass "{name}" does not exist.', key=reason)
    fault = storage_class.fault(class_, context.volumes.provisioners)
    if not fault and class_.get("provisioner") != operation.move.to:
        fault = f'StorageClass "{name}" is another one by now; the move begins anew.'
    if fault:
        raise TemporaryError(fault, key=DiskMigratingReason.WAIT_FOR_TARGET_READY)


async def require_unused(operation: Migrate, disk: VirtualDisk) -> None:
    """Asked of the store and of the host, once the store has it that the disk is moved."""
    if not usage.is_moved(disk):
        raise TemporaryError("The disk is not said to be moved; looking again.")
    if held := await holder(operation.context.context, disk):
        raise TemporaryError(held, key=DiskMigratingReason.WAIT_FOR_SOURCE_VOLUME_RELEASE)
    await require_no_snapshot(operation)


async def require_no_snapshot(operation: Migrate) -> None:
    """Asked once the store has it that the disk is moved: TemporaryError where one is being taken."""
    meta, key = operation.obj["metadata"], DiskMigratingReason.SNAPSHOTTING_IN_PROGRESS
    context = operation.context.context
    for snapshot in await context.store.find_all(VIRTUAL_DISK_SNAPSHOT, meta["namespace"]):
        status = snapshot.get("status") or {}
        under_way = status.get("operation") or status.get("phase") == SnapshotPhase.IN_PROGRESS
        if snapshot["spec"]["virtualDiskName"] == meta["name"] and under_way:
            name = snapshot["metadata"]["name"]
            raise TemporaryError(f'VirtualDiskSnapshot "{name}" is being taken of the disk.', key=key)
    for found in await context.volumes.snapshots():
        if found.volume == meta["uid"] and found.pending:
            raise TemporaryError("A snapshot of the disk's volume is being taken.", key=key)


async def remove_target(operation: Migrate) -> None:
    """What was made of the disk in the other storage, as long as it is a copy."""
    await stay(operation)
    try:
        await remove_volume(operation, operation.move.to, kept=operation.move.provisioner)
    except (NotFound, PermanentError):
        pass  # the only one that is left is no copy
    except TemporaryError as err:
        raise TemporaryError(err.message, key=COPY_LEFT) from err


async def remove_volume(operation: Migrate, provisioner: str, *, kept: str) -> None:
    """What ``provisioner`` has of the disk, unless the store may be behind what this node has seen.

    NotFound where ``kept`` has not all of it.
    """
    context = operation.context.context
    if provisioner == kept or provisioner not in context.volumes.provisioners:
        return
    if context.witness.waits and await has_volume(operation, provisioner):
        raise TemporaryError(f"Neither volume of the disk is removed: {context.witness.sentence()}")
    if provisioner == operation.move.to:
        await stay(operation)
    await context.volumes.remove_copy(operation.obj["metadata"]["uid"], provisioner, kept=kept)


async def has_volume(operation: Migrate, provisioner: str) -> bool:
    """Whether it has a volume of the disk, whole or damaged."""
    uid, volumes = operation.obj["metadata"]["uid"], operation.context.context.volumes
    try:
        return await volumes.provisioner(provisioner).find(uid) is not None
    except PermanentError:
        return True


def intended(context: Disks, disk: VirtualDisk) -> Move:
    """The move that the record tells of, else the one that is asked for, to where its class makes volumes now."""
    move = move_of(disk)
    if move.to:
        return move
    class_ = context.context.informer(STORAGE_CLASS).get("", move.target)
    return replace(move, to="" if class_ is None else str(class_.get("provisioner") or ""))


async def switch_to(operation: Migrate, disk: VirtualDisk, provisioner: str) -> None:
    """What ``provisioner`` has is the disk's volume, and the class it is moved to the disk's, by one write.

    TemporaryError or Conflict, and nothing is written, where the store has another ``disk`` by now.
    """
    context, meta = operation.context.context, disk["metadata"]
    if not provisioner or await context.volumes.provisioner(provisioner).find(meta["uid"]) is None:
        raise TemporaryError("The copy of the disk's volume is gone again.")
    same = provisioner == operation.move.provisioner
    if not same:
        await leave(operation, provisioner)
    claim = (disk["status"].get("target") or {}) if same else {}
    name = claim.get("persistentVolumeClaimName") or claim_name(disk, operation.op_uid)
    await name_volume(operation, disk, operation.move.target, provisioner, name)
    if not same:
        with suppress(TemporaryError):  # its release notes it, before anything else
            await leave(operation, provisioner, final=True)


async def name_volume(operation: Migrate, disk: VirtualDisk, class_: str, provisioner: str, claim: str) -> None:
    meta = disk["metadata"]
    body = {
        "metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]},
        "status": {
            "storageClassName": class_,
            "target": {"persistentVolumeClaimName": claim, "provisioner": provisioner},
        },
    }
    where = (VIRTUAL_DISK, meta["namespace"], meta["name"])
    await operation.context.context.store.patch(*where, PatchType.MERGE, body, subresource="status")


async def leave(operation: Migrate, provisioner: str, *, final: bool = False) -> None:
    """Note that what the disk is moved away from is older than what ``provisioner`` has, from now on."""
    departures, uid = operation.context.context.volumes.departures, operation.obj["metadata"]["uid"]
    if final or not operation.is_noted(final=True):
        await departures.note(uid, Departure(operation.move.provisioner, provisioner, operation.op_uid, final))


async def stay(operation: Migrate) -> None:
    """It does not move, as far as anybody has seen: a copy is no more than that again."""
    if not operation.gone_on():
        await forget(operation)


async def forget(operation: Migrate) -> None:
    """Nothing is left where it was: then there is nothing to be told from it."""
    if operation.is_noted():
        uid, left = operation.obj["metadata"]["uid"], operation.move.provisioner
        await operation.context.context.volumes.departures.forget(uid, left)
