"""A pool's machines and disks, as far as it looks at them.

Made of each object once for each of its versions: a pool of many machines hears of every change of each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hyperd.resources import pooling
from hyperd.resources.all import VIRTUAL_DISK
from hyperd.resources.kinds.virtual_machine_conditions import VirtualMachineCondition
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.values import meta, names
from hyperd.resources.values.conditions import find_condition, is_true
from hyperd.resources.values.quantity import to_bytes

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_pool import VirtualMachinePool

_READY = (VirtualMachinePhase.RUNNING, VirtualMachinePhase.MIGRATING)
"""A machine that moves serves as well."""


@dataclass(frozen=True)
class Member:
    """A machine of the pool."""

    name: str
    uid: str
    created: str
    going: bool
    phase: str
    disks: tuple[str, ...]
    """Disks that the spec names, in its order."""
    boots_from: str
    """The disk that is its first device; empty where that is none."""
    held: frozenset[str]
    """Disks that the spec names or the guest still has."""
    applied: str
    """The template that it runs by."""
    patched: str
    """The template that its spec has."""
    awaits_restart: bool
    """Whether some of its spec waits for a restart."""
    looked_at: bool
    """Whether its own controller has seen its spec as it is now, so that ``awaits_restart`` is about that."""
    trouble: str
    """What keeps it from running, in its own words."""

    @classmethod
    def of(cls, machine: VirtualMachine) -> Member:
        status, spec = machine.get("status") or {}, machine["spec"]
        refs = spec.get("blockDeviceRefs") or []
        disks = tuple(ref["name"] for ref in refs if ref.get("kind") == VIRTUAL_DISK.kind)
        first = refs[0] if refs else None
        has = (ref["name"] for ref in status.get("blockDeviceRefs") or () if ref.get("kind") == VIRTUAL_DISK.kind)
        running = find_condition(machine, VirtualMachineCondition.RUNNING)
        return cls(
            name=machine["metadata"]["name"],
            uid=machine["metadata"]["uid"],
            created=machine["metadata"]["creationTimestamp"],
            going=meta.is_deleting(machine),
            phase=str(status.get("phase") or ""),
            disks=disks,
            boots_from=first["name"] if first and first.get("kind") == VIRTUAL_DISK.kind else "",
            held=frozenset((*disks, *has)),
            applied=meta.labels(machine).get(names.POOL_TEMPLATE_HASH_LABEL, ""),
            patched=meta.annotations(machine).get(names.POOL_PATCHED_HASH_ANNOTATION, ""),
            awaits_restart=is_true(machine, VirtualMachineCondition.AWAITING_RESTART),
            looked_at=(status.get("observedGeneration") or 0) >= meta.generation(machine),
            trouble="" if running is None else str(running.get("message") or ""),
        )

    @property
    def settled(self) -> bool:
        """Whether it runs by its spec, or will once it starts."""
        return self.looked_at and not self.awaits_restart

    @property
    def ready(self) -> bool:
        return self.phase in _READY and not self.going


@dataclass(frozen=True)
class Disk:
    """A disk of the pool, or of one of its machines."""

    name: str
    uid: str
    version: str
    template: str
    going: bool
    phase: str
    size: int | None
    """Bytes that its spec asks for, or that it got where it leaves that to its source; None before that."""
    owner: str
    """uid of who answers for it."""
    marked_free: bool

    @classmethod
    def of(cls, disk: VirtualDisk) -> Disk:
        size = (disk["spec"].get("persistentVolumeClaim") or {}).get("size")
        if size is None:
            size = (disk.get("status") or {}).get("capacity")
        return cls(
            name=disk["metadata"]["name"],
            uid=disk["metadata"]["uid"],
            version=disk["metadata"]["resourceVersion"],
            template=meta.labels(disk).get(names.POOL_DISK_TEMPLATE_LABEL, ""),
            going=meta.is_deleting(disk),
            phase=str((disk.get("status") or {}).get("phase") or ""),
            size=None if size is None else to_bytes(size),
            owner=pooling.controller_of(disk),
            marked_free=names.POOL_FREE_SINCE_ANNOTATION in meta.annotations(disk),
        )


@dataclass(frozen=True)
class Seen:
    """A pool with what is its own, all read after the pool."""

    pool: VirtualMachinePool
    members: Sequence[Member]
    """Those that go included, the oldest first."""
    disks: Mapping[str, Disk]
    """By name."""
    held_by_others: frozenset[str] = frozenset()
    """Disks that machines which are not the pool's name or have."""
    by_uid: Mapping[str, Member] = field(default_factory=dict)
    given_away: frozenset[str] = frozenset()
    """Disks with the pool's label whose owner was taken away: somebody keeps them. They are left as they are."""

    @classmethod
    def of(
        cls,
        pool: VirtualMachinePool,
        members: Sequence[Member],
        disks: Sequence[Disk],
        held_by_others: frozenset[str] = frozenset(),
    ) -> Seen:
        """``disks`` with the pool's label; of them those are the pool's that it or a machine of it owns."""
        by_uid = {member.uid: member for member in members}
        owners = {pool["metadata"]["uid"], *by_uid}
        own = {disk.name: disk for disk in disks if disk.owner in owners and disk.template}
        return cls(
            pool,
            sorted(members, key=lambda member: (member.created, member.name)),
            own,
            held_by_others,
            by_uid,
            frozenset(disk.name for disk in disks if disk.name not in own),
        )

    @property
    def held(self) -> frozenset[str]:
        """Disks that any machine names or has."""
        return self.held_by_others.union(*(member.held for member in self.members))
