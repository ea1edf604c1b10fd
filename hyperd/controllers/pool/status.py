"""What a pool tells of itself: numbers, conditions, and what keeps it from being as it should."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from hyperd.controllers.pool.disks import Disks
from hyperd.controllers.pool.doing import Sort, Troubles
from hyperd.controllers.pool.numbers import Numbers, wanted
from hyperd.controllers.pool.seen import Member, Seen
from hyperd.resources import pooling
from hyperd.resources.kinds.virtual_machine_pool import (
    PoolAvailableReason,
    PoolCondition,
    PoolProgressingReason,
    PoolSyncedReason,
    ScaleDownPolicy,
)
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.values.conditions import remove_condition, set_condition

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine_pool import VirtualMachinePool, VirtualMachinePoolStatus

_LONGEST: Final = 1024
"""So much of what a machine or a refusal says is told on."""


def note_intent(pool: VirtualMachinePool, numbers: Numbers) -> None:
    """Write what is to be made into ``pool``, in place."""
    status: VirtualMachinePoolStatus = pool.setdefault("status", {})
    status["creating"] = [*numbers.creating]
    if not numbers.creating:
        del status["creating"]


def describe(pool: VirtualMachinePool, seen: Seen, numbers: Numbers, disks: Disks, troubles: Troubles) -> None:
    """Write numbers and conditions into ``pool``, in place."""
    note_intent(pool, numbers)
    digest, stay = pooling.template_hash(pool), [member for member in seen.members if not member.going]
    updated = sum(_is_updated(member, digest) for member in stay)
    waiting = sum(_waits(member, digest) for member in stay)
    status: VirtualMachinePoolStatus = pool["status"]
    status["observedGeneration"] = pool["metadata"]["generation"]
    status["replicas"] = len(seen.members)
    status["readyReplicas"] = sum(member.ready for member in stay)
    status["updatedReplicas"] = updated
    status["restartPendingReplicas"] = waiting
    status["desiredTemplateHash"] = digest
    status["selector"] = pooling.selector(pool["metadata"]["uid"])
    status["freeDisks"] = disks.free
    if not disks.free:
        del status["freeDisks"]
    _tell_available(pool, seen, troubles)
    _tell_progress(pool, seen, troubles)
    _tell_synced(pool, len(stay), updated, waiting, troubles)


def _is_updated(member: Member, digest: str) -> bool:
    return member.applied == digest and member.settled


def _waits(member: Member, digest: str) -> bool:
    """Whether nothing but a restart keeps it from running by the template."""
    return member.patched == digest and member.awaits_restart


def _tell_available(pool: VirtualMachinePool, seen: Seen, troubles: Troubles) -> None:
    ready = sum(member.ready for member in seen.members)
    if ready >= wanted(seen):
        reason = PoolAvailableReason.ALL_REPLICAS_READY
        set_condition(pool, PoolCondition.AVAILABLE, True, reason=reason)
        return
    reason = PoolAvailableReason.INSUFFICIENT_READY_REPLICAS
    told = [f"{ready} of {wanted(seen)} machines {'runs' if ready == 1 else 'run'}{_rest(seen)}."]
    told += [*troubles.of(Sort.CREATION, Sort.DISKS), _first_trouble(seen)]
    set_condition(
        pool, PoolCondition.AVAILABLE, False, reason=reason, message=" ".join(filter(None, told))[:_LONGEST]
    )


def _rest(seen: Seen) -> str:
    """What those are that do not run."""
    phases = Counter(
        str(VirtualMachinePhase.TERMINATING if member.going else member.phase or VirtualMachinePhase.PENDING)
        for member in seen.members
        if not member.ready
    )
    parts = [f"{number} {phase}" for phase, number in sorted(phases.items())]
    if (missing := wanted(seen) - len(seen.members)) > 0:
        parts.append(f"{missing} not made yet")
    return f" ({', '.join(parts)})" if parts else ""


def _first_trouble(seen: Seen) -> str:
    found = next((one for one in seen.members if not one.ready and not one.going and one.trouble), None)
    return "" if found is None else f'VirtualMachine "{found.name}": {found.trouble}'


def _tell_progress(pool: VirtualMachinePool, seen: Seen, troubles: Troubles) -> None:
    there, number = len(seen.members), wanted(seen)
    refused = troubles.of(Sort.CREATION, Sort.DELETION)
    if there == number and not refused:
        remove_condition(pool, PoolCondition.PROGRESSING)
        return
    told = [f"{there} of {number} machines {'is' if there == 1 else 'are'} there."]
    explicit = pool["spec"]["scaleDownPolicy"] == ScaleDownPolicy.EXPLICIT
    if explicit and sum(not member.going for member in seen.members) > number:
        told.append("scaleDownPolicy Explicit removes only those that are named to the subresource scaledownwith.")
    told += refused
    reason = PoolProgressingReason.REPLICAS_PROGRESSING
    set_condition(pool, PoolCondition.PROGRESSING, True, reason=reason, message=" ".join(told)[:_LONGEST])


def _tell_synced(pool: VirtualMachinePool, stay: int, updated: int, waiting: int, troubles: Troubles) -> None:
    refused = " ".join(troubles.of(Sort.TEMPLATE, Sort.CARE))
    if updated == stay and not refused:
        set_condition(pool, PoolCondition.SYNCED, True, reason=PoolSyncedReason.POOL_SYNCED)
        return
    if waiting and not refused:
        reason = PoolSyncedReason.RESTART_PENDING_APPROVAL
        message = f"{waiting} of {stay} machines wait for a restart to run by the template."
    else:
        reason = PoolSyncedReason.ROLLOUT_IN_PROGRESS
        message = f"{updated} of {stay} machines run by the template. {refused}".rstrip()
    set_condition(pool, PoolCondition.SYNCED, False, reason=reason, message=message[:_LONGEST])
