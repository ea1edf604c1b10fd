"""What a pool's controller does to machines and disks, one piece at a time.

A piece that fails keeps no other from being done; what failed is told in the pool's conditions. Every deletion
names the uid, and every change the version, of what was looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from hyperd.controllers.context import Context
from hyperd.controllers.pool.disks import Disks
from hyperd.controllers.pool.numbers import Numbers
from hyperd.controllers.pool.seen import Disk, Member, Seen
from hyperd.crashpoints import CrashPoint, reached
from hyperd.errors import AlreadyExists, Conflict, HyperdError, NotFound
from hyperd.resources import pooling
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE, VIRTUAL_MACHINE_POOL
from hyperd.resources.kinds.virtual_machine import BlockDeviceKind
from hyperd.resources.schema.kind import AnyObject, Kind, Object
from hyperd.resources.values import meta, names
from hyperd.runtime.recorder import EventLevel
from hyperd.store.interface import PatchType, Preconditions, Write

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_pool import DiskTemplate, PoolCreation, VirtualMachinePool

_AS_ASKED: Final = Write(shares=True)
"""A number in one object asks for all these: they count as if each had been asked for."""


def is_to_rewrite(member: Member, digest: str) -> bool:
    """Whether its spec is not the template's."""
    return member.patched != digest and not member.going


def is_to_mark(member: Member, digest: str) -> bool:
    """Whether it runs by the template, and does not say so yet."""
    return member.patched == digest != member.applied and member.settled and not member.going


class Sort(StrEnum):
    """Of work: what is refused of one sort keeps no other from being done."""

    CREATION = "creation"
    DELETION = "deletion"
    DISKS = "disks"
    CARE = "care"
    TEMPLATE = "template"


@dataclass
class Troubles:
    """What could not be done, in the words of who refused it: the first of each sort."""

    told: dict[Sort, str] = field(default_factory=dict)
    clashes: set[str] = field(default_factory=set)
    """Names of machines to be made that somebody else has."""
    raced: bool = False
    """Something changed meanwhile; it is looked at again."""

    def add(self, sort: Sort, message: str) -> None:
        self.told.setdefault(sort, message)

    def of(self, *sorts: Sort) -> list[str]:
        return [self.told[sort] for sort in sorts if sort in self.told]


class Doing:
    """One look at one pool. ``machines`` are the members as they are stored, by uid."""

    def __init__(self, context: Context, seen: Seen, machines: Mapping[str, VirtualMachine]) -> None:
        self._context = context
        self._store = context.store
        self._seen = seen
        self._machines = machines
        self._namespace: str = seen.pool["metadata"]["namespace"]
        self.troubles = Troubles()

    async def remove(self, leaving: Sequence[Member]) -> None:
        """Delete these machines."""
        for member in leaving:
            preconditions = Preconditions(uid=member.uid)
            try:
                await self._store.delete(
                    VIRTUAL_MACHINE, self._namespace, member.name, preconditions=preconditions
                )
            except (NotFound, Conflict):
                self.troubles.raced = True
            except HyperdError as err:
                self.troubles.add(Sort.DELETION, err.message)
                self._tell("Warning", "FailedDelete", f'VirtualMachine "{member.name}": {err.message}')
            else:
                self._tell("Normal", "SuccessfulDelete", f'VirtualMachine "{member.name}" is removed.')

    async def create(self, creating: Sequence[PoolCreation]) -> None:
        """Make these machines and their disks. Where one is refused so are the others: they are not tried."""
        templates = {template["name"]: template for template in self._seen.pool["spec"]["virtualDiskTemplates"]}
        for one in creating:
            if templates.keys() - one["disks"].keys():
                # It was thought of before there was this template: it is thought of anew.
                self.troubles.clashes.add(one["name"])
                continue
            body = pooling.member(self._seen.pool, one["name"], one["disks"])
            try:
                item = await self._store.create(VIRTUAL_MACHINE, self._namespace, body, write=_AS_ASKED)
            except AlreadyExists:
                found = await self._store.find(VIRTUAL_MACHINE, self._namespace, one["name"])
                if found is None or not pooling.is_member(found, self._seen.pool["metadata"]["uid"]):
                    self.troubles.clashes.add(one["name"])
                self.troubles.raced = True
                continue
            except HyperdError as err:
                self.troubles.add(Sort.CREATION, err.message)
                self._tell("Warning", "FailedCreate", f'VirtualMachine "{one["name"]}": {err.message}')
                return
            reached(CrashPoint.POOL_AFTER_MACHINE)
            self._tell("Normal", "SuccessfulCreate", f'VirtualMachine "{one["name"]}" is made.')
            machine = item.object()
            for key, template in templates.items():
                if one["disks"][key] not in self._seen.disks:
                    await self._make_disk(machine, template, one["disks"][key])

    async def make_disks(self, disks: Disks) -> None:
        """Make what machines wait for."""
        for member, template, name in disks.missing:
            if Sort.DISKS in self.troubles.told:
                return
            await self._make_disk(self._machines[member.uid], template, name)

    async def _make_disk(self, machine: AnyObject, template: DiskTemplate, name: str) -> None:
        owner: AnyObject = self._seen.pool if pooling.is_retained(template) else machine
        body = pooling.pool_disk(self._seen.pool, template, name, owner)
        try:
            await self._store.create(VIRTUAL_DISK, self._namespace, body, write=_AS_ASKED)
        except AlreadyExists:
            found = await self._store.find(VIRTUAL_DISK, self._namespace, name)
            uid = self._seen.pool["metadata"]["uid"]
            if found is not None and meta.labels(found).get(names.POOL_UID_LABEL) != uid:
                self.troubles.add(
                    Sort.DISKS,
                    f'VirtualDisk "{name}" is there and is none of the pool\'s: rename or delete it, or delete '
                    f'VirtualMachine "{machine["metadata"]["name"]}", in whose place another one is made.',
                )
            self.troubles.raced = True
        except HyperdError as err:
            self.troubles.add(Sort.DISKS, err.message)
            self._tell("Warning", "FailedCreate", f'VirtualDisk "{name}": {err.message}')

    async def rewrite(self, disks: Disks, digest: str) -> None:
        """Bring machines to the template, and take disks out of them whose template is gone."""
        detached: dict[str, set[str]] = {}
        for member, disk in disks.detach:
            detached.setdefault(member.uid, set()).add(disk)
        for member in self._seen.members:
            stale = is_to_rewrite(member, digest)
            if member.going or not (stale or member.uid in detached):
                continue
            machine = self._machines[member.uid]
            body: Object = {**machine, "metadata": {**machine["metadata"]}}
            if stale:
                body["spec"] = pooling.respecified(self._seen.pool, machine)
                noted = {**meta.annotations(machine), names.POOL_PATCHED_HASH_ANNOTATION: digest}
                body["metadata"]["annotations"] = noted
            gone = detached.get(member.uid, set())
            spec = {**body["spec"]}
            spec["blockDeviceRefs"] = [
                ref
                for ref in spec["blockDeviceRefs"]
                if ref["kind"] != BlockDeviceKind.VIRTUAL_DISK or ref["name"] not in gone
            ]
            body["spec"] = spec
            try:
                await self._store.update(VIRTUAL_MACHINE, self._namespace, member.name, body)
            except (NotFound, Conflict):
                self.troubles.raced = True
            except HyperdError as err:
                self.troubles.add(Sort.TEMPLATE, f'VirtualMachine "{member.name}": {err.message}')

    async def mark(self, digest: str) -> None:
        """Say of machines that run by the template that they do."""
        for member in self._seen.members:
            if is_to_mark(member, digest):
                version = self._machines[member.uid]["metadata"]["resourceVersion"]
                labels = {names.POOL_TEMPLATE_HASH_LABEL: digest}
                patch = {"metadata": {"resourceVersion": version, "labels": labels}}
                await self._patch(VIRTUAL_MACHINE, member.name, patch)

    async def care_for(self, disks: Disks) -> None:
        """Grow disks, have them go with whom they should, and mark those that are free."""
        for disk, size in disks.grow:
            await self._patch_disk(disk, {"spec": {"persistentVolumeClaim": {"size": size}}})
        for disk, owner in disks.moved:
            whose: AnyObject = self._seen.pool if owner is None else self._machines[owner.uid]
            await self._patch_disk(
                disk, {"metadata": {"ownerReferences": [meta.owner_reference(whose, block=False)]}}
            )
        for marked, since in ((disks.freed, meta.now_rfc3339()), (disks.taken, None)):
            for disk in marked:
                note = {"annotations": {names.POOL_FREE_SINCE_ANNOTATION: since}}
                await self._patch_disk(disk, {"metadata": note})

    async def drop(self, disks: Disks) -> None:
        """Delete disks that nobody needs, unless they changed since."""
        for disk in disks.drop:
            preconditions = Preconditions(uid=disk.uid, resource_version=disk.version)
            try:
                await self._store.delete(VIRTUAL_DISK, self._namespace, disk.name, preconditions=preconditions)
            except (NotFound, Conflict):
                self.troubles.raced = True
            except HyperdError as err:
                self.troubles.add(Sort.DELETION, err.message)
            else:
                self._tell("Normal", "SuccessfulDelete", f'VirtualDisk "{disk.name}" is removed.')

    async def forget_named(self, pool: VirtualMachinePool, numbers: Numbers) -> None:
        """Those that were named to go and are gone need not be named any more in ``pool``, as it is stored."""
        if numbers.named != pooling.leaving(pool):
            note = {names.POOL_LEAVING_ANNOTATION: pooling.leaving_text(numbers.named)}
            patch = {"metadata": {"resourceVersion": pool["metadata"]["resourceVersion"], "annotations": note}}
            await self._patch(VIRTUAL_MACHINE_POOL, pool["metadata"]["name"], patch)

    async def _patch_disk(self, disk: Disk, patch: Object) -> None:
        if disk.going:
            return
        # Two changes of one disk in one look are rare: the second one is made at the next.
        patch = {**patch, "metadata": {**patch.get("metadata", {}), "resourceVersion": disk.version}}
        await self._patch(VIRTUAL_DISK, disk.name, patch)

    async def _patch(self, kind: Kind, name: str, patch: Object) -> None:
        try:
            await self._store.patch(kind, self._namespace, name, PatchType.MERGE, patch)
        except (NotFound, Conflict):
            self.troubles.raced = True
        except HyperdError as err:
            self.troubles.add(Sort.CARE, f'{kind.kind} "{name}": {err.message}')

    def _tell(self, level: EventLevel, reason: str, message: str) -> None:
        self._context.events.event(self._seen.pool, level, reason, message)
