"""Conditions in ``status.conditions``, kept as metav1.Condition wants them.

``lastTransitionTime`` moves only when ``status`` does; an equal condition is left untouched, so that a reconcile
that changes nothing writes nothing. Quiet conditions are removed, not set to their boring value.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, cast

from hyperd.resources.schema.kind import AnyObject, Object
from hyperd.resources.values.meta import now_rfc3339

Condition = dict[str, Any]


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


UNKNOWN_REASON = "Unknown"
"""Reason of a condition that no controller has looked at yet."""


def find_condition(obj: AnyObject, type_: str) -> Condition | None:
    """The condition of that type, not copied; None when absent."""
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition.get("type") == type_:
            found: Condition = condition
            return found
    return None


def is_true(obj: AnyObject, type_: str) -> bool:
    """Whether the condition is there and ``True``."""
    condition = find_condition(obj, type_)
    return condition is not None and condition.get("status") == ConditionStatus.TRUE


def set_condition(
    obj: AnyObject,
    type_: StrEnum,
    status: bool | ConditionStatus,
    *,
    reason: StrEnum,
    message: str = "",
    now: str = "",
) -> bool:
    """Put the condition into ``obj`` in place; whether anything changed.

    ``observedGeneration`` follows the object's generation. ``now`` is RFC 3339, the clock's when empty.
    """
    if isinstance(status, bool):
        status = ConditionStatus.TRUE if status else ConditionStatus.FALSE
    wanted: Condition = {
        "type": str(type_),
        "status": str(status),
        "reason": str(reason),
        "message": message,
        "observedGeneration": obj.get("metadata", {}).get("generation", 0),
    }
    existing = find_condition(obj, type_)
    if existing is None:
        conditions = cast(Object, obj).setdefault("status", {}).setdefault("conditions", [])
        conditions.append({**wanted, "lastTransitionTime": now or now_rfc3339()})
        return True
    if all(existing.get(key) == value for key, value in wanted.items()):
        return False
    if existing.get("status") != wanted["status"] or not existing.get("lastTransitionTime"):
        existing["lastTransitionTime"] = now or now_rfc3339()
    existing.update(wanted)
    return True


def remove_condition(obj: AnyObject, type_: str) -> bool:
    """Drop the condition in place; whether it was there."""
    conditions = (obj.get("status") or {}).get("conditions") or []
    kept = [condition for condition in conditions if condition.get("type") != type_]
    if len(kept) == len(conditions):
        return False
    obj["status"]["conditions"] = kept
    return True
