"""What a delete does to an object that something still holds.

The rule it keeps: an object with finalizers is only marked; it goes when the last finalizer goes. The two
propagation policies that need work before the object goes are finalizers themselves, so they survive a crash.
"""

from __future__ import annotations

from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.meta import now_rfc3339
from hyperd.store.grammar import core_kinds
from hyperd.store.interface import Propagation

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_BY_POLICY = {Propagation.FOREGROUND: FOREGROUND, Propagation.ORPHAN: ORPHAN}


def mark(kind: Kind, obj: Object, propagation: Propagation) -> bool:
    """Mark ``obj`` as being deleted, in place; False when it was marked so already."""
    meta = obj["metadata"]
    changed = _set_policy(meta, propagation)
    if meta.get("deletionTimestamp"):
        return changed
    if not may_go(kind, obj):
        meta["deletionTimestamp"] = now_rfc3339()
        meta["deletionGracePeriodSeconds"] = 0
        if "generation" in meta:
            meta["generation"] += 1
        core_kinds.terminate(kind, obj)
    return True


def may_go(kind: Kind, obj: Object) -> bool:
    """Whether nothing holds ``obj`` any more."""
    return not obj["metadata"].get("finalizers") and not core_kinds.holds(kind, obj)


def _set_policy(meta: Object, propagation: Propagation) -> bool:
    before = list(meta.get("finalizers") or ())
    after = [name for name in before if name not in (FOREGROUND, ORPHAN)]
    if propagation in _BY_POLICY:
        after.append(_BY_POLICY[propagation])
    if after == before:
        return False
    meta["finalizers"] = after
    if not after:
        del meta["finalizers"]
    return True
