"""VirtualMachinePool: as many machines as are wanted, each with its disks, all by one template.

What there is to do is found by what the informers know, and costs no request. Whether it is to be done is decided
by what the store says then: pool, machines and disks are read anew, and all is planned again by those. So an
informer that is behind makes nothing twice and removes nobody instead of another. Names of what is to be made are
in the status before anything is made (``numbers``), so that two daemons that both believe to lead, or one that was
killed, make the same machines.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from hyperd.backoff import backoff
from hyperd.controllers.context import Context
from hyperd.controllers.pool import doing
from hyperd.controllers.pool.disks import Disks, disks
from hyperd.controllers.pool.doing import Doing, Sort, Troubles
from hyperd.controllers.pool.numbers import Numbers, numbers
from hyperd.controllers.pool.seen import Disk, Member, Seen
from hyperd.controllers.pool.status import describe, note_intent
from hyperd.controllers.usage import references
from hyperd.crashpoints import CrashPoint, reached
from hyperd.errors import NotFound
from hyperd.resources import pooling
from hyperd.resources.all import VIRTUAL_DISK, VIRTUAL_MACHINE, VIRTUAL_MACHINE_POOL
from hyperd.resources.schema.kind import AnyObject, Kind
from hyperd.resources.values import meta, names
from hyperd.runtime.controller import Controller, Key, Mapper, Result
from hyperd.runtime.status import update_status
from hyperd.store.interface import Item, Requirement, Selector

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_pool import VirtualMachinePool

_INDEX: Final = "pool"
_HELD_INDEX: Final = "disks held"
_FIRST_SECONDS: Final = 1.0
_LAST_SECONDS: Final = 60.0
_SOON_SECONDS: Final = 0.05
_MARK: Final = names.POOL_LABEL.encode()


@dataclass
class _Refused:
    """What of a pool's generation was refused, how often, and when it is tried again."""

    spec: tuple[str, int]
    """uid and generation."""
    told: Mapping[Sort, str]
    failures: int
    due: float


@dataclass
class _Known:
    """What was made of a pool's objects, with their version, by uid."""

    members: dict[str, tuple[str, Member]] = field(default_factory=dict)
    disks: dict[str, tuple[str, Disk]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Plan:
    numbers: Numbers
    disks: Disks
    digest: str

    def work(self, seen: Seen) -> frozenset[Sort]:
        """Of which sorts something is to be done; where of none, there is only to tell."""
        found, digest = self.disks, self.digest
        stale = any(doing.is_to_rewrite(one, digest) for one in seen.members)
        unmarked = any(doing.is_to_mark(one, digest) for one in seen.members)
        forgotten = self.numbers.named != pooling.leaving(seen.pool)
        there = {
            Sort.CREATION: self.numbers.creating,
            Sort.DELETION: self.numbers.leaving or found.drop,
            Sort.DISKS: found.missing,
            Sort.CARE: found.grow or found.moved or found.freed or found.taken or unmarked or forgotten,
            Sort.TEMPLATE: stale or found.detach,
        }
        return frozenset(sort for sort, work in there.items() if work)


class PoolController(Controller):
    """Makes and removes the machines of pools."""

    name = "virtualmachinepool"
    kind = VIRTUAL_MACHINE_POOL
    workers = 2
    cluster_wide = True
    writes: ClassVar = {
        VIRTUAL_MACHINE_POOL: ("patch",),
        VIRTUAL_MACHINE: ("create", "delete", "patch", "update"),
        VIRTUAL_DISK: ("create", "delete", "patch"),
    }

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._pools = context.informer(VIRTUAL_MACHINE_POOL)
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._disks = context.informer(VIRTUAL_DISK)
        for informer in (self._machines, self._disks):
            informer.add_index(_INDEX, _pool_in_namespace)
        self._machines.add_index(_HELD_INDEX, _held)
        self._known: dict[Key, _Known] = {}
        self._refused: dict[Key, _Refused] = {}

    def watches(self) -> Mapping[Kind, Mapper]:
        return {VIRTUAL_MACHINE: _pool_of, VIRTUAL_DISK: _pool_of}

    async def stand_down(self) -> None:
        """What was refused is tried by who leads then."""
        self._refused.clear()

    async def reconcile(self, key: Key) -> Result | None:
        pool = self._pools.get(*key)
        if pool is None or meta.is_deleting(pool):
            # Its machines and disks go with it, by their owner references.
            self._known.pop(key, None)
            self._refused.pop(key, None)
            return None
        held = self._held(pool)
        seen = self._as_informers_know(key, pool)
        plan = _plan(seen, held)
        if plan.work(seen) - held.keys():
            return await self._act(pool, held)
        if not held:
            self._refused.pop(key, None)  # what was refused is not asked for any more
        after = copy.deepcopy(pool)
        describe(after, seen, plan.numbers, plan.disks, Troubles(dict(held)))
        await update_status(self._context.store, self.kind, pool, after)
        return self._next_look(pool, plan.disks.next_look)

    async def _act(self, known: VirtualMachinePool, held: Mapping[Sort, str]) -> Result | None:
        """Do what is to be done by what the store says now, but for what is ``held``."""
        try:
            seen, machines = await self._as_stored(known)
        except NotFound:
            return None
        pool = seen.pool
        if pool["metadata"]["uid"] != known["metadata"]["uid"] or meta.is_deleting(pool):
            return None
        plan = _plan(seen, held)
        noted = copy.deepcopy(pool)
        note_intent(noted, plan.numbers)
        noted = await update_status(self._context.store, self.kind, pool, noted)
        reached(CrashPoint.POOL_AFTER_INTENT)
        doer = Doing(self._context, seen, machines)
        work = plan.work(seen) - held.keys()
        if Sort.DELETION in work:
            await doer.remove(plan.numbers.leaving)
        if Sort.CREATION in work:
            await doer.create(plan.numbers.creating)
        if Sort.DISKS in work:
            await doer.make_disks(plan.disks)
        if Sort.TEMPLATE in work:
            await doer.rewrite(plan.disks, plan.digest)
        if Sort.CARE in work:
            await doer.mark(plan.digest)
            await doer.care_for(plan.disks)
        if Sort.DELETION in work:
            await doer.drop(plan.disks)
        troubles = doer.troubles
        self._note(pool, {**held, **troubles.told}, tried=work)
        creating = [one for one in plan.numbers.creating if one["name"] not in troubles.clashes]
        left = Numbers(creating, plan.numbers.leaving, plan.numbers.named)
        after = copy.deepcopy(noted)
        describe(after, seen, left, plan.disks, Troubles({**held, **troubles.told}))
        stored = await update_status(self._context.store, self.kind, noted, after)
        await doer.forget_named(stored, plan.numbers)
        soon = _SOON_SECONDS if troubles.raced or troubles.clashes else None
        return self._next_look(pool, plan.disks.next_look, soon)

    def _as_informers_know(self, key: Key, pool: VirtualMachinePool) -> Seen:
        mine = f"{key.namespace}/{pool['metadata']['uid']}"
        former, known = self._known.get(key, _Known()), _Known()
        for machine in self._machines.by_index(_INDEX, mine):
            version, member = former.members.get(machine.uid, ("", None))
            if member is None or version != machine.resource_version:
                member = Member.of(machine.object())
            known.members[machine.uid] = machine.resource_version, member
        for item in self._disks.by_index(_INDEX, mine):
            version, disk = former.disks.get(item.uid, ("", None))
            if disk is None or version != item.resource_version:
                disk = Disk.of(item.object())
            known.disks[item.uid] = item.resource_version, disk
        self._known[key] = known
        disks = [disk for _, disk in known.disks.values()]
        return Seen.of(pool, [member for _, member in known.members.values()], disks, self._elsewhere(key, known))

    def _elsewhere(self, key: Key, known: _Known) -> frozenset[str]:
        """Disks that machines which are not the pool's name or have."""
        return frozenset(
            disk.name
            for _, disk in known.disks.values()
            for machine in self._machines.by_index(_HELD_INDEX, f"{key.namespace}/{disk.name}")
            if machine.uid not in known.members
        )

    async def _as_stored(self, known: VirtualMachinePool) -> tuple[Seen, Mapping[str, VirtualMachine]]:
        """The same, asked of the store: the pool first. Raises NotFound when it is gone."""
        store, where = self._context.store, known["metadata"]
        pool = (await store.get(self.kind, where["namespace"], where["name"])).object()
        uid = pool["metadata"]["uid"]
        mine = Selector((Requirement(names.POOL_UID_LABEL, "in", frozenset({uid})),))
        # Who else has a disk matters where disks outlive their machines.
        kept = any(map(pooling.is_retained, pool["spec"]["virtualDiskTemplates"]))
        known_templates = {template["name"] for template in pool["spec"]["virtualDiskTemplates"]}
        disks_found = await store.list(VIRTUAL_DISK, where["namespace"], selector=mine)
        found = [Disk.of(item.object()) for item in disks_found.items]
        whole = kept or any(disk.template not in known_templates for disk in found)
        listing = await store.list(VIRTUAL_MACHINE, where["namespace"], selector=Selector() if whole else mine)
        machines: dict[str, VirtualMachine] = {}
        others: set[str] = set()
        for item in listing.items:
            machine = item.object()
            if pooling.is_member(machine, uid):
                machines[item.uid] = machine
            else:
                others.update(name for kind, name in references(machine) if kind == VIRTUAL_DISK.kind)
        members = [Member.of(machine) for machine in machines.values()]
        return Seen.of(pool, members, found, frozenset(others)), machines

    def _held(self, pool: VirtualMachinePool) -> Mapping[Sort, str]:
        """What was refused and is not tried again yet, with why; nothing once the spec is another one."""
        refused = self._refused.get(meta.key(pool))
        if refused is None or refused.spec != _spec_of(pool):
            return {}
        return refused.told if refused.due > asyncio.get_running_loop().time() else {}

    def _note(self, pool: VirtualMachinePool, told: Mapping[Sort, str], *, tried: Collection[Sort]) -> None:
        """Remember what was refused, later each time; what is still held keeps its time."""
        key, spec = meta.key(pool), _spec_of(pool)
        former = self._refused.get(key)
        if not told:
            self._refused.pop(key, None)
            return
        failures = former.failures if former is not None and former.spec == spec else 0
        due = former.due if former is not None else 0.0
        if any(sort in tried for sort in told):
            failures += 1
            due = asyncio.get_running_loop().time() + backoff(failures, first=_FIRST_SECONDS, last=_LAST_SECONDS)
        self._refused[key] = _Refused(spec, told, failures, due)

    def _next_look(self, pool: VirtualMachinePool, *seconds: float | None) -> Result | None:
        refused = self._refused.get(meta.key(pool))
        due = [one for one in seconds if one is not None]
        if refused is not None:
            due.append(refused.due - asyncio.get_running_loop().time())
        return Result(max(0.001, min(due))) if due else None


def _plan(seen: Seen, held: Collection[Sort]) -> _Plan:
    found = numbers(seen, may_create=Sort.CREATION not in held)
    return _Plan(found, disks(seen, found.creating), pooling.template_hash(seen.pool))


def _spec_of(pool: VirtualMachinePool) -> tuple[str, int]:
    return pool["metadata"]["uid"], pool["metadata"]["generation"]


def _pool_in_namespace(obj: AnyObject) -> list[str]:
    """The pool whose label ``obj`` has, by namespace and uid; of a machine it must be its owner too.

    A uid alone is anybody's to write: what is elsewhere is no part of a pool, whatever it says.
    """
    uid = meta.labels(obj).get(names.POOL_UID_LABEL, "")
    if not uid or (obj["kind"] == VIRTUAL_MACHINE.kind and not pooling.is_member(obj, uid)):
        return []
    return [f"{obj['metadata']['namespace']}/{uid}"]


def _held(machine: VirtualMachine) -> list[str]:
    namespace = machine["metadata"]["namespace"]
    return sorted({f"{namespace}/{name}" for kind, name in references(machine) if kind == VIRTUAL_DISK.kind})


def _pool_of(item: Item) -> Iterable[Key]:
    if _MARK not in item.raw:  # most are of no pool, and reading them all costs
        return
    name = meta.labels(item.object()).get(names.POOL_LABEL)
    if name:
        yield Key(item.namespace, name)
