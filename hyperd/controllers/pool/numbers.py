"""How many machines there are to be, which are made, and which go.

What is to be made stands in ``status.creating`` before the first of it is, names and all: after a crash, and where
another daemon leads now, the same names are made, and what is there already is not made again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hyperd.controllers.pool.disks import available
from hyperd.controllers.pool.seen import Member, Seen
from hyperd.resources import pooling
from hyperd.resources.kinds.virtual_machine_pool import ScaleDownPolicy

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine_pool import PoolCreation

BATCH: Final = 50
"""So many machines are on their way at once: a change of mind waits for no more."""


@dataclass(frozen=True)
class Numbers:
    """What is to be done about the number of machines."""

    creating: Sequence[PoolCreation]
    """What is to be made, and is not there yet; replaces ``status.creating``."""
    leaving: Sequence[Member]
    """Who is to be deleted."""
    named: frozenset[str]
    """uids of those that were named to go and are still there; replaces the annotation."""


def wanted(seen: Seen) -> int:
    return seen.pool["spec"].get("replicas") or 0


def numbers(seen: Seen, *, may_create: bool = True) -> Numbers:
    """Compare what there is with what is wanted; ``may_create`` is whether anything new may be thought of now."""
    asked = pooling.leaving(seen.pool)
    named = frozenset(asked & seen.by_uid.keys())
    going = [member for member in seen.members if member.going or member.uid in named]
    leaving = [member for member in going if not member.going]
    creating = _pending(seen)
    missing = wanted(seen) - len(seen.members) - len(creating)
    if missing < 0 and creating:
        creating = creating[: max(0, len(creating) + missing)]
    elif missing > 0 and may_create:
        creating = [*creating, *_thought_of(seen, creating, min(missing, BATCH - len(creating)))]
    surplus = len(seen.members) - len(going) - wanted(seen)
    return Numbers(creating, [*leaving, *_surplus(seen, surplus, named)], named)


def _pending(seen: Seen) -> list[PoolCreation]:
    there = {member.name for member in seen.members}
    noted = (seen.pool.get("status") or {}).get("creating") or []
    return [one for one in noted if one["name"] not in there]


def _surplus(seen: Seen, number: int, named: Collection[str]) -> Sequence[Member]:
    """Who goes without having been named; where only names count, nobody."""
    policy = seen.pool["spec"]["scaleDownPolicy"]
    if number <= 0 or policy == ScaleDownPolicy.EXPLICIT:
        return ()
    stay = [member for member in seen.members if not member.going and member.uid not in named]
    return stay[:number] if policy == ScaleDownPolicy.OLDEST_FIRST else stay[::-1][:number]


def _thought_of(seen: Seen, creating: Sequence[PoolCreation], number: int) -> list[PoolCreation]:
    """Names for so many machines and their disks."""
    pool = seen.pool["metadata"]["name"]
    templates = seen.pool["spec"]["virtualDiskTemplates"]
    names = {one["name"] for one in creating} | {member.name for member in seen.members}
    # A machine whose letters are a template's name would have disks that are called like kept ones.
    names |= {f"{pool}-{template['name']}" for template in templates}
    disks = {disk for one in creating for disk in one["disks"].values()}
    free = {
        template["name"]: available(seen, template["name"], disks)
        for template in templates
        if pooling.is_retained(template)
    }
    made: list[PoolCreation] = []
    for _ in range(max(0, number)):
        name = pooling.member_name(pool, names)
        names.add(name)
        made.append({"name": name, "disks": {}})
        for template in templates:
            made[-1]["disks"][template["name"]] = disk = _disk(seen, name, template["name"], free, disks)
            disks.add(disk)
    return made


def _disk(seen: Seen, machine: str, template: str, free: Mapping[str, list[str]], taken: Collection[str]) -> str:
    if template not in free:
        return pooling.own_disk_name(machine, template)
    if free[template]:
        return free[template].pop()
    pool = seen.pool["metadata"]["name"]
    return pooling.kept_disk_name(pool, template, {*taken, *seen.disks})
