"""Which disks are free and for how long, which are missing, and which are not needed any more.

A disk is free when no machine names it or has it, and none that is to be made will have it. It belongs to its
machine where it goes with that one, and to the pool where it is kept; a template that is changed from the one to
the other moves the disks that are in use, and leaves free ones to the pool.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from hyperd import clock
from hyperd.controllers.pool.seen import Disk, Member, Seen
from hyperd.resources import pooling
from hyperd.resources.kinds.virtual_disk import VirtualDiskPhase
from hyperd.resources.values.quantity import to_bytes

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine_pool import DiskTemplate, FreeDisk, PoolCreation

_UNFIT: Final = (
    VirtualDiskPhase.FAILED, VirtualDiskPhase.PVC_LOST, VirtualDiskPhase.MIGRATING, VirtualDiskPhase.EXPORTING,
    VirtualDiskPhase.TERMINATING,
)  # fmt: skip
"""No machine could start with it."""


@dataclass
class Disks:
    """What is to be done about disks."""

    missing: list[tuple[Member, DiskTemplate, str]] = field(default_factory=list)
    """Machine, template and name of disks to make."""
    grow: list[tuple[Disk, str]] = field(default_factory=list)
    """Disks, and the size that their template has now."""
    moved: list[tuple[Disk, Member | None]] = field(default_factory=list)
    """Disks that go with another owner from now on; None is the pool."""
    detach: list[tuple[Member, str]] = field(default_factory=list)
    """Machines, and a disk that they are not to have any more."""
    drop: list[Disk] = field(default_factory=list)
    """Disks to delete."""
    freed: list[Disk] = field(default_factory=list)
    """Disks to mark as free."""
    taken: list[Disk] = field(default_factory=list)
    """Disks to mark as used."""
    free: list[FreeDisk] = field(default_factory=list)
    """Replaces ``status.freeDisks``."""
    next_look: float | None = None
    """Seconds until a disk has been free for long enough, or that is to be noted."""


def available(seen: Seen, template: str, taken: Collection[str]) -> list[str]:
    """Names of the free disks of a template that machines can start with, the best one last.

    That is one which is ready, and of those the one that was freed last.
    """
    free = {one["name"]: clock.passed(one["timer"]) for one in _noted(seen)}
    fit = [
        disk
        for disk in _kept_free(seen, taken)
        if disk.template == template and not disk.going and disk.phase not in _UNFIT
    ]
    ordered = sorted(
        fit, key=lambda one: (one.phase == VirtualDiskPhase.READY, -free.get(one.name, 0.0), one.name)
    )
    return [disk.name for disk in ordered]


def disks(seen: Seen, creating: Sequence[PoolCreation]) -> Disks:
    """Compare disks with templates; ``creating`` are machines to be made, whose disks are theirs already."""
    found = Disks()
    templates = {template["name"]: template for template in seen.pool["spec"]["virtualDiskTemplates"]}
    _of_members(seen, templates, found)
    promised = {disk for one in creating for disk in one["disks"].values()}
    _of_templates(seen, templates, promised, found)
    _free(seen, templates, promised, found)
    return found


def _of_members(seen: Seen, templates: dict[str, DiskTemplate], found: Disks) -> None:
    """Make what machines name and is not there, and have each disk go with whom its template says."""
    pool = seen.pool["metadata"]
    for member in seen.members:
        for name in member.disks:
            disk = seen.disks.get(name)
            if disk is not None:
                template = templates.get(disk.template)
                owner = _owner(seen, member, disk, template) if template is not None else disk.owner
                if disk.owner != owner and not disk.going:
                    found.moved.append((disk, seen.by_uid.get(owner)))
            elif not member.going and name not in seen.given_away:
                key = pooling.template_of(name, machine=member.name, pool=pool["name"], templates=templates)
                if key:
                    found.missing.append((member, templates[key], name))


def _owner(seen: Seen, member: Member, disk: Disk, template: DiskTemplate) -> str:
    """uid of whom a disk that ``member`` names goes with; one that several name stays whose it is."""
    if pooling.is_retained(template):
        return seen.pool["metadata"]["uid"]
    other = seen.by_uid.get(disk.owner)
    return other.uid if other is not None and disk.name in other.disks else member.uid


def _of_templates(seen: Seen, templates: dict[str, DiskTemplate], promised: Collection[str], found: Disks) -> None:
    """Grow disks as their templates do, and take those away whose template is gone."""
    held = seen.held
    boots = {member.boots_from for member in seen.members}
    for disk in seen.disks.values():
        if disk.going:
            continue
        template = templates.get(disk.template)
        if template is not None:
            size = (template["spec"].get("persistentVolumeClaim") or {}).get("size")
            if size is not None and disk.size is not None and to_bytes(size) > disk.size:
                found.grow.append((disk, str(size)))
        elif disk.name not in boots:
            found.detach += [
                (member, disk.name) for member in seen.members if disk.name in member.disks and not member.going
            ]
            if disk.name not in held and disk.name not in promised:
                found.drop.append(disk)


def _free(seen: Seen, templates: dict[str, DiskTemplate], promised: Collection[str], found: Disks) -> None:
    """Note how long kept disks are free, and drop those that were for long enough, but for the newest."""
    noted = {one["uid"]: one["timer"] for one in _noted(seen)}
    free = sorted(
        (disk for disk in _kept_free(seen, promised) if disk.template in templates and not disk.going),
        key=lambda disk: (clock.passed(noted.get(disk.uid)), disk.name),
    )
    found.freed = [disk for disk in free if not disk.marked_free]
    names = {disk.name for disk in free}
    found.taken = [disk for disk in seen.disks.values() if disk.marked_free and disk.name not in names]
    newer: dict[str, int] = {}
    for disk in free:
        reclaim = templates[disk.template]["reclaim"]
        timer = noted.get(disk.uid) or clock.timer()
        ttl = pooling.seconds(reclaim["ttl"]) if "ttl" in reclaim else None
        if ttl is not None:
            passed = clock.passed(timer)
            if clock.due_to_note(timer, ttl):
                timer = clock.timer(passed)
            newer[disk.template] = place = newer.get(disk.template, 0) + 1
            if passed >= ttl and place > reclaim["keep"]:
                found.drop.append(disk)
            elif passed < ttl:
                look = clock.next_look(ttl - passed, ttl)
                found.next_look = look if found.next_look is None else min(look, found.next_look)
        found.free.append({"name": disk.name, "uid": disk.uid, "timer": {**timer}})


def _kept_free(seen: Seen, promised: Collection[str]) -> Iterator[Disk]:
    """Disks that are the pool's own and nobody's else."""
    held, uid = seen.held, seen.pool["metadata"]["uid"]
    for disk in seen.disks.values():
        if disk.owner == uid and disk.name not in held and disk.name not in promised:
            yield disk


def _noted(seen: Seen) -> list[FreeDisk]:
    return (seen.pool.get("status") or {}).get("freeDisks") or []
