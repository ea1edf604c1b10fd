"""Which taints of nodes keep machines away, by the rules that a scheduler has for Pods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hyperd.resources.core.node import TaintEffect

if TYPE_CHECKING:
    from hyperd.resources.views.core import Node, NodeSpecTaintsItem
    from hyperd.resources.views.placement import Toleration
    from hyperd.resources.views.virtual_machine import VirtualMachineSpec
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClassSpec

_REPELLING = frozenset({TaintEffect.NO_SCHEDULE, TaintEffect.NO_EXECUTE})
_FOLLOWING = frozenset(f"node.kubernetes.io/{state}" for state in ("not-ready", "unreachable", "unschedulable"))
"""What the node controller taints some moments after the node says so itself; that is looked at instead."""


def tolerations(machine_spec: VirtualMachineSpec, class_spec: VirtualMachineClassSpec) -> Sequence[Toleration]:
    """The machine's own, and its class's."""
    return [*(machine_spec.get("tolerations") or ()), *(class_spec.get("tolerations") or ())]


def repelling(node: Node, tolerated: Iterable[Toleration]) -> str:
    """The first taint that keeps a machine off the node, as kubectl writes it; empty when none does."""
    tolerated = list(tolerated)
    for taint in _taints(node):
        if taint.get("effect") in _REPELLING and not any(tolerates(one, taint) for one in tolerated):
            value = f"={taint['value']}" if taint.get("value") else ""
            return f"{taint['key']}{value}:{taint['effect']}"
    return ""


def disliked(node: Node, tolerated: Iterable[Toleration]) -> int:
    """How many taints say that the machine had better be elsewhere."""
    tolerated = list(tolerated)
    taints = [taint for taint in _taints(node) if taint.get("effect") == TaintEffect.PREFER_NO_SCHEDULE]
    return sum(not any(tolerates(one, taint) for one in tolerated) for taint in taints)


def _taints(node: Node) -> Sequence[NodeSpecTaintsItem]:
    return [taint for taint in (node.get("spec") or {}).get("taints") or () if taint.get("key") not in _FOLLOWING]


def tolerates(toleration: Toleration, taint: NodeSpecTaintsItem) -> bool:
    """Whether a machine with the toleration may be on a node with the taint."""
    effect, key = toleration.get("effect"), toleration.get("key")
    if (effect and effect != taint.get("effect")) or (key and key != taint.get("key")):
        return False
    return toleration.get("operator") == "Exists" or (toleration.get("value") or "") == (taint.get("value") or "")
