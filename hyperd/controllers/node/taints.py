"""Which taints of nodes keep machines away, by the rules that a scheduler has for Pods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hyperd.resources.schema.kind import AnyObject, Object

_REPELLING = frozenset({"NoSchedule", "NoExecute"})
_FOLLOWING = frozenset(f"node.kubernetes.io/{state}" for state in ("not-ready", "unreachable", "unschedulable"))
"""What the node controller taints some moments after the node says so itself; that is looked at instead."""


def tolerations(machine_spec: AnyObject, class_spec: AnyObject) -> Sequence[Object]:
    """The machine's own, and its class's."""
    return [*(machine_spec.get("tolerations") or ()), *(class_spec.get("tolerations") or ())]


def repelling(node: Object, tolerated: Iterable[Object]) -> str:
    """The first taint that keeps a machine off the node, as kubectl writes it; empty when none does."""
    tolerated = list(tolerated)
    for taint in _taints(node):
        if taint.get("effect") in _REPELLING and not any(tolerates(one, taint) for one in tolerated):
            value = f"={taint['value']}" if taint.get("value") else ""
            return f"{taint['key']}{value}:{taint['effect']}"
    return ""


def disliked(node: Object, tolerated: Iterable[Object]) -> int:
    """How many taints say that the machine had better be elsewhere."""
    tolerated = list(tolerated)
    return sum(
        taint.get("effect") == "PreferNoSchedule" and not any(tolerates(one, taint) for one in tolerated)
        for taint in _taints(node)
    )


def _taints(node: Object) -> Sequence[Object]:
    return [taint for taint in (node.get("spec") or {}).get("taints") or () if taint.get("key") not in _FOLLOWING]


def tolerates(toleration: Object, taint: Object) -> bool:
    """Whether a machine with the toleration may be on a node with the taint."""
    effect, key = toleration.get("effect"), toleration.get("key")
    if (effect and effect != taint.get("effect")) or (key and key != taint.get("key")):
        return False
    return toleration.get("operator") == "Exists" or (toleration.get("value") or "") == (taint.get("value") or "")
