"""VirtualDisk: a volume on this node, blank or over an image.

A disk from an image is an overlay on the node's cached copy; a disk from HTTP is imported into the registry first
(progress 0 to 50 %), then as any image's. The volume is the file of the disk's uid, so a crash leaves nothing to
remember: the next reconcile finds the file or makes it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from hyperd.controllers import usage
from hyperd.controllers.claims import Room, claim, is_claimed, waits
from hyperd.controllers.context import Context
from hyperd.controllers.deletion_marks import DeletionMarks
from hyperd.controllers.disk import moves
from hyperd.controllers.disk.fetching import Fetching
from hyperd.controllers.disk.keeping import RETRY_SECONDS, Keeping
from hyperd.controllers.disk.moves import Moves
from hyperd.controllers.disk.operations import TYPES
from hyperd.controllers.disk.operations.fill import Fill
from hyperd.controllers.disk.ready import Disks, keepers, show_no_room, show_ready
from hyperd.controllers.disk.source import (
    Source,
    Waiting,
    digest_of,
    guard_secret,
    size_to_claim,
    source_of,
)
from hyperd.controllers.disk.storage_class import PROVISIONED, DiskClasses
from hyperd.controllers.disk.used import show_snapshot, show_usage
from hyperd.controllers.image import transfer, upload
from hyperd.controllers.image.source import IMPORTED, SOURCE_INDEX, source_key, source_values
from hyperd.controllers.machine.holders import holder
from hyperd.controllers.ownership import bind_disk, disk_node
from hyperd.controllers.placement.interface import Placement
from hyperd.controllers.retries import Retries
from hyperd.controllers.unbuilt import name_unbuilt_fields
from hyperd.errors import QuotaExceeded
from hyperd.resources.all import (
    CLUSTER_VIRTUAL_IMAGE,
    NODE,
    STORAGE_CLASS,
    VIRTUAL_DISK,
    VIRTUAL_DISK_SNAPSHOT,
    VIRTUAL_MACHINE,
)
from hyperd.resources.kinds.data_source import ReadyReason, TerminatingReason
from hyperd.resources.kinds.virtual_disk import (
    DiskDatasourceReason,
    VirtualDiskCondition,
    VirtualDiskPhase,
)
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values.conditions import remove_condition, set_condition
from hyperd.runtime.controller import Controller, Key, Mapper, Result
from hyperd.runtime.operations.engine import Operations
from hyperd.runtime.operations.record import Record
from hyperd.runtime.recorder import EventLevel
from hyperd.runtime.status import add_finalizer, make_sure, remove_finalizer, update_status
from hyperd.store.interface import Item
from registry.naming import repository_of

if TYPE_CHECKING:
    from hyperd.controllers.usage import Image
    from hyperd.resources.views.core import StorageClass
    from hyperd.resources.views.virtual_disk import VirtualDisk
    from hyperd.resources.views.virtual_disk_snapshot import VirtualDiskSnapshot

_AGAIN_SECONDS = 30.0
"""When to look again at what an event should tell of."""


class DiskController(Controller):
    """Makes, grows and removes volumes."""

    name = "virtualdisk"
    kind = VIRTUAL_DISK

    def __init__(self, context: Context, placement: Placement) -> None:
        super().__init__()
        self._context = context
        self._marks = DeletionMarks(context.images)
        self._disks = context.informer(VIRTUAL_DISK)
        self._rules = DiskClasses(context, placement)
        self._retries = Retries()
        self._world = Disks(context)
        self._operations = Operations(self._world, TYPES, waits=self._retries, notify=self.enqueue)
        for kind in usage.IMAGE_KINDS.values():
            context.informer(kind).add_index(SOURCE_INDEX, source_values)
        self._disks.add_index("source", _source_values)
        context.informer(VIRTUAL_DISK_SNAPSHOT)
        context.reservations.tell(self.enqueue)
        context.volumes.ask(keepers(self._disks))
        placement.wake_disks(self.enqueue)
        self._moves = Moves(context)
        self._keeping = Keeping(context)
        self._fetching = Fetching(self._world)
        self._room = Room(context, self._disks)

    def watches(self) -> Mapping[Kind, Mapper]:
        return {
            VIRTUAL_MACHINE: usage.device_keys(VIRTUAL_DISK),
            **{kind: self._of_image(kind) for kind in usage.IMAGE_KINDS.values()},
            VIRTUAL_DISK_SNAPSHOT: self._of_snapshot,
            STORAGE_CLASS: lambda _: self._without_volume(),
            NODE: lambda node: self._without_volume() if node.name == self._context.node_name else (),
            **self._room.watches(),
        }

    def _without_volume(self) -> Iterable[Key]:
        """Disks that may get their volume, or another, now that their class or this node is another."""
        for disk in self._disks.items():
            obj = disk.object()
            if (obj.get("status") or {}).get("phase") not in PROVISIONED or moves.asked_for(obj).wanted:
                yield Key(disk.namespace, disk.name)

    def _of_image(self, kind: Kind[Image]) -> Mapper:
        """From a changed image to the disks that are made of it, and to the one that it is made of."""

        def keys(item: Item[Image]) -> Iterable[Key]:
            for disk in self._disks.by_index("source", f"{kind.kind}/{item.namespace}/{item.name}"):
                yield Key(disk.namespace, disk.name)
            image = item.object()
            ref, key = image["spec"]["dataSource"].get("objectRef"), source_key(image)
            if ref is not None and key is not None and ref["kind"] == VIRTUAL_DISK.kind:
                yield key

        return keys

    def _of_snapshot(self, item: Item[VirtualDiskSnapshot]) -> Iterable[Key]:
        """The disk that is snapshotted, and those that are made of that."""
        yield Key(item.namespace, item.object()["spec"]["virtualDiskName"])
        for disk in self._disks.by_index("source", f"{VIRTUAL_DISK_SNAPSHOT.kind}/{item.namespace}/{item.name}"):
            yield Key(disk.namespace, disk.name)

    async def close(self) -> None:
        """Stop provisioning; it is taken up again at the next start."""
        await self._operations.close()

    async def reconcile(self, key: Key) -> Result | None:
        freed = self._room.may_be(key)
        before = self._disks.get(*key)
        ours = before is not None and self._context.ownership.keeps(before)
        # A claim that another node fills by now is written to by that one alone.
        await self._operations.keep_only(key, before["metadata"]["uid"] if before is not None and ours else "")
        if before is None:
            return None
        if not ours:
            if not disk_node(before) and await self._context.volumes.find(before["metadata"]["uid"]) is not None:
                # Kept here before an earlier state of the store was restored.
                await bind_disk(self._context.store, before, self._context.node_name)
            return None
        self._world.age(before)
        before = await add_finalizer(self._context.store, VIRTUAL_DISK, before)
        after = copy.deepcopy(before)
        status = after.setdefault("status", {})
        if freed and waits(before):
            self._retries.forget(after)
        if before["metadata"].get("deletionTimestamp"):
            return await self._delete(before, after)
        name_unbuilt_fields(VIRTUAL_DISK, after)
        outdated = status.get("phase") not in PROVISIONED and await self._begin_anew(after)
        class_ = None if outdated else self._rules.of(after)
        if outdated:
            result = None
        elif status.get("phase") in PROVISIONED:
            moving = usage.is_moved(after) and moves.is_under_way(after)
            fetched = None if moving else await self._fetching.look(after)
            kept = None if moving else await self._keeping.keep(after, class_)
            result = _sooner(fetched, kept, await self._move(after))
        else:
            before, result = await self._make(before, after, class_)
        readers = self._context.reservations.of(after["metadata"]["uid"])
        show_usage(self._context, after)
        show_snapshot(self._context, after)
        try:
            await update_status(self._context.store, VIRTUAL_DISK, before, after)
        except QuotaExceeded as err:  # of the second volume of a move
            await self._operations.undo(after)
            after, result = copy.deepcopy(before), Result(_AGAIN_SECONDS)
            moves.show_no_room(after, err)
            await update_status(self._context.store, VIRTUAL_DISK, before, after)
        self._context.reservations.show(readers)
        self._operations.written(after)
        return result

    async def _make(
        self, before: VirtualDisk, disk: VirtualDisk, class_: StorageClass | None
    ) -> tuple[VirtualDisk, Result | None]:
        """A disk that has no volume yet, and ``before`` as it is stored by then."""
        if class_ is None:
            disk["status"].pop("target", None)
            return before, Result(_AGAIN_SECONDS)
        try:
            before = await self._claimed(before, disk)
        except QuotaExceeded as err:
            await self._operations.undo(disk)
            show_no_room(disk, err)
            return before, Result(_AGAIN_SECONDS)
        if not (self._begun(disk) or self._rules.allows(disk, class_)):
            return before, Result(_AGAIN_SECONDS)
        return before, await self._provision(disk)

    async def _claimed(self, before: VirtualDisk, disk: VirtualDisk) -> VirtualDisk:
        """``before`` with the claim of its volume, if its size is known by now. Raises QuotaExceeded."""
        status = disk["status"]
        failed = status.get("phase") == VirtualDiskPhase.FAILED
        size = None if failed and self._is_seen(disk) else size_to_claim(self._context, disk)
        same = (before.get("status") or {}).get("storageClassName") == status.get("storageClassName")
        if same and (size is None or is_claimed(before, size)):
            return before
        if size is None:
            status.pop("target", None)  # of another class
            return before
        stored: VirtualDisk = (await claim(self._context, VIRTUAL_DISK, disk, size, unchanged=True)).object()
        status["target"] = stored["status"]["target"]
        return stored

    def _is_seen(self, disk: VirtualDisk) -> bool:
        return disk["status"].get("observedGeneration") == disk["metadata"]["generation"]

    async def _move(self, disk: VirtualDisk) -> Result | None:
        """To the class that its spec names, if that is another one than it is in; what names the first ends it."""
        asked, move, status = moves.asked_for(disk), moves.move_of(disk), disk["status"]
        begun = moves.is_under_way(disk)
        ends = begun and move.target != asked.target and not moves.switched(disk, move)
        if not (begun or asked.wanted):
            remove_condition(disk, VirtualDiskCondition.MIGRATING)
            return await self._operations.look(disk)
        waits = not self._operations.running(disk) and not (begun and moves.switched(disk, move))
        other = waits and self._moves.begun_otherwise(disk)
        if not ends and not other and not (waits and self._moves.hindered(disk)):
            status["observedGeneration"] = disk["metadata"]["generation"]
            return await self._operations.advance(disk, moves.kind_of(disk) or self._moves.kind(disk))
        left = await moves.undone(self._operations, disk) if begun else ""
        if begun:
            self._retries.forget(disk)
        if ends:
            moves.end_state(disk, f'It was taken back: the spec names StorageClass "{asked.target}".')
            moves.show_left(disk, left)
        if usage.is_moved(disk) and (volume := await self._context.volumes.find(disk["metadata"]["uid"])):
            transfer.finish_progress(status, 0)
            show_ready(disk, volume)
        return Result(RETRY_SECONDS if ends or other else _AGAIN_SECONDS)

    def _begun(self, disk: VirtualDisk) -> bool:
        """Whether its volume is being made, or could not be."""
        return self._operations.running(disk) or disk["status"].get("phase") == VirtualDiskPhase.FAILED

    async def _provision(self, disk: VirtualDisk) -> Result | None:
        meta, status = disk["metadata"], disk["status"]
        if status.get("phase") == VirtualDiskPhase.FAILED and self._is_seen(disk):
            return None
        status["observedGeneration"] = meta["generation"]
        if status.get("phase") == VirtualDiskPhase.WAIT_FOR_FIRST_CONSUMER:
            self._retries.forget(disk)
            self._world.note_duration(disk, "waitingForFirstConsumer")
        source = source_of(self._context, disk)
        if isinstance(source, Source) and not self._operations.running(disk):
            source = await guard_secret(self._context, disk) or source
        if isinstance(source, Waiting):
            set_condition(
                disk, VirtualDiskCondition.DATASOURCE_READY, False, reason=source.reason, message=source.message
            )
        if isinstance(source, Waiting) and not await self._filled(disk):
            await self._operations.undo(disk)
            self._retries.forget(disk)
            status["phase"] = VirtualDiskPhase.PENDING
            transfer.stop_progress(status)
            set_condition(
                disk, VirtualDiskCondition.READY, False, reason=source.ready_reason, message=source.message
            )
            lacks_secret = source.reason is DiskDatasourceReason.CONTAINER_REGISTRY_SECRET_NOT_FOUND
            # Nobody follows Secrets: what waits for one looks again soon.
            return Result(RETRY_SECONDS) if lacks_secret else None
        if isinstance(source, Source):
            set_condition(
                disk, VirtualDiskCondition.DATASOURCE_READY, True, reason=DiskDatasourceReason.DATASOURCE_READY
            )
        if not self._retries.left(disk):
            self._world.note_duration(disk, "waitingForDependencies")
        return await self._operations.advance(disk, Fill.kind)

    async def _begin_anew(self, disk: VirtualDisk) -> bool:
        """The spec may be another than that by which the volume is being made, or was: what then goes on ends.

        True where the volume is there by then: what it holds is no longer asked for, and it is never removed for
        that. The record stays, by which no later spec takes it for its own either.
        """
        meta, status, record = disk["metadata"], disk["status"], Record.of(disk)
        seen = status.get("observedGeneration") == meta["generation"]
        other = record is not None and record.digest not in ("", digest_of(disk))
        if seen and (not other or status.get("phase") == VirtualDiskPhase.FAILED):
            return other
        await self._operations.undo(disk)
        self._retries.forget(disk)
        upload.forget(status)
        if record is None or not other or await self._context.volumes.find(meta["uid"]) is None:
            if not seen and "observedGeneration" in status:
                event = "VirtualDiskSpecHasBeenChanged"
                self._event(disk, "Normal", event, "The spec changed: the disk is provisioned anew.")
            return False
        message = (
            f"The volume of disk {meta['name']} was already made from the earlier source or class; delete the "
            "disk and create it again, or take the change of its spec back."
        )
        record.put(disk)
        status["observedGeneration"], status["phase"] = meta["generation"], VirtualDiskPhase.FAILED
        transfer.stop_progress(status)
        set_condition(
            disk, VirtualDiskCondition.READY, False, reason=ReadyReason.PROVISIONING_FAILED, message=message
        )
        self._event(disk, "Warning", transfer.FAILED, message)
        return True

    async def _filled(self, disk: VirtualDisk) -> bool:
        """Whether its volume is being made, or was made by the operation that stands, without being told of."""
        if self._operations.running(disk) or Record.of(disk) is None:
            return self._operations.running(disk)
        return await self._context.volumes.find(disk["metadata"]["uid"]) is not None

    async def _delete(self, before: VirtualDisk, disk: VirtualDisk) -> Result | None:
        meta = disk["metadata"]
        uid = meta["uid"]
        self._retries.forget(disk)
        await moves.undone(self._operations, disk)
        disk["status"]["phase"] = VirtualDiskPhase.TERMINATING
        upload.forget(disk["status"])
        readers = self._context.reservations.of(uid)
        used = show_usage(self._context, disk)
        held = used or await holder(self._context, disk)
        if held:
            set_condition(
                disk,
                VirtualDiskCondition.TERMINATING,
                True,
                reason=TerminatingReason.CLEANUP_PENDING,
                message=held,
            )
            await update_status(self._context.store, VIRTUAL_DISK, before, disk)
            self._context.reservations.show(readers)
            return None if used else Result(RETRY_SECONDS)
        await make_sure(self._context.store, VIRTUAL_DISK, before)
        await self._context.volumes.delete(uid)
        repository = repository_of(self._context.images.endpoint, VIRTUAL_DISK, meta["namespace"], meta["name"])
        imported = (disk["spec"].get("dataSource") or {}).get("type") in IMPORTED
        if imported and not await self._marks.deleted(repository, uid):
            return Result(RETRY_SECONDS)
        await remove_finalizer(self._context.store, VIRTUAL_DISK, before)
        return None

    def _event(self, disk: VirtualDisk, level: EventLevel, reason: str, message: str) -> None:
        self._context.events.event(disk, level, reason, message)


def _sooner(*results: Result | None) -> Result | None:
    """To be looked at again as soon as any of them asks for that."""
    waits = [one.requeue_after for one in results if one is not None and one.requeue_after is not None]
    return Result(min(waits)) if waits else None


def _source_values(disk: VirtualDisk) -> list[str]:
    ref = (disk["spec"].get("dataSource") or {}).get("objectRef")
    if not ref:
        return []
    namespace = "" if ref.get("kind") == CLUSTER_VIRTUAL_IMAGE.kind else disk["metadata"]["namespace"]
    return [f"{ref.get('kind')}/{namespace}/{ref.get('name')}"]
