"""Whether a machine may be on a node: the one question that both homes ask.

A cluster's leader asks it of every node before it binds a machine; each hyperd asks it of its own node before a
start, and on one machine that is all of placement. A machine that runs stays where it is. The rules are a
scheduler's for Pods; how much room is left is ``machine.capacity``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from hyperd.controllers.node import taints
from hyperd.controllers.node.processors import can_give
from hyperd.resources.core.node import TaintEffect
from hyperd.resources.values.meta import labels
from hyperd.store.interface import whole_number

if TYPE_CHECKING:
    from hyperd.resources.views.base import LabelSelector, LabelSelectorRequirement
    from hyperd.resources.views.core import Node, NodeSpecTaintsItem
    from hyperd.resources.views.placement import (
        NodeAffinity,
        NodeSelectorRequirement,
        NodeSelectorTerm,
        Toleration,
    )
    from hyperd.resources.views.virtual_machine import VirtualMachineSpec
    from hyperd.resources.views.virtual_machine_class import ClassNodeSelector, VirtualMachineClass

CORDONED = "is cordoned"
_CORDON: NodeSpecTaintsItem = {"key": "node.kubernetes.io/unschedulable", "effect": TaintEffect.NO_SCHEDULE}
"""The taint that Kubernetes takes a cordon for: who tolerates it is not kept off."""


def misfit(node: Node, machine_spec: VirtualMachineSpec, class_: VirtualMachineClass) -> str:
    """What keeps a new instance off the node, as what follows the node's name; empty when nothing does."""
    if cordoned(node, taints.tolerations(machine_spec, class_["spec"])):
        return CORDONED
    return mismatch(node, machine_spec, class_)


def mismatch(node: Node, machine_spec: VirtualMachineSpec, class_: VirtualMachineClass) -> str:
    """Likewise, whether or not the node takes new work now."""
    selector = class_["spec"].get("nodeSelector") or {}
    name = class_["metadata"]["name"]
    tolerated = taints.tolerations(machine_spec, class_["spec"])
    if not fits(node, selector):
        return f'does not match the nodeSelector of VirtualMachineClass "{name}"'
    if not can_give(node, class_):
        return f'cannot give the processor of VirtualMachineClass "{name}"'
    # Where both name a label the class decides.
    own = {**(machine_spec.get("nodeSelector") or {}), **(selector.get("matchLabels") or {})}
    if not fits(node, {"matchLabels": own}):
        wanted = ", ".join(f"{key}={value}" for key, value in sorted(own.items()))
        return f"does not have the labels of the machine's nodeSelector: {wanted}"
    if not _has_affinity(node, machine_spec):
        return "does not match the machine's affinity.nodeAffinity"
    if taint := taints.repelling(node, tolerated):
        return f"has the taint {taint}, which the machine does not tolerate"
    return ""


def cordoned(node: Node, tolerated: Iterable[Toleration] = ()) -> bool:
    """Whether the node takes no new work, as ``kubectl cordon`` says."""
    unschedulable = (node.get("spec") or {}).get("unschedulable")
    return bool(unschedulable) and not any(taints.tolerates(one, _CORDON) for one in tolerated)


def suits(node: Node, class_: VirtualMachineClass) -> bool:
    """Whether machines of the class may be on the node: it is selected, and can give the class's processor."""
    return fits(node, class_["spec"].get("nodeSelector") or {}) and can_give(node, class_)


def fits(node: Node, selector: ClassNodeSelector) -> bool:
    """Whether the node is one that a class's nodeSelector names."""
    return selects(selector, labels(node))


def selects(selector: ClassNodeSelector | LabelSelector, own: Mapping[str, str]) -> bool:
    """Whether what has the labels ``own`` is selected."""
    if any(own.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_matches(own, expression) for expression in selector.get("matchExpressions") or ())


def preference(node: Node, machine_spec: VirtualMachineSpec) -> int:
    """How much the machine would rather be on this node than on another: the weights of what it matches."""
    preferred = _node_affinity(machine_spec).get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return sum(one["weight"] for one in preferred if _meets(node, one.get("preference") or {}))


def _has_affinity(node: Node, machine_spec: VirtualMachineSpec) -> bool:
    required = _node_affinity(machine_spec).get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(_meets(node, term) for term in required.get("nodeSelectorTerms") or ())


def _node_affinity(machine_spec: VirtualMachineSpec) -> NodeAffinity:
    return (machine_spec.get("affinity") or {}).get("nodeAffinity") or {}


def _meets(node: Node, term: NodeSelectorTerm) -> bool:
    """Whether the node meets all of a term; a term that asks nothing is met by none, as in Kubernetes."""
    by_label, by_field = term.get("matchExpressions") or (), term.get("matchFields") or ()
    own_fields = {"metadata.name": node["metadata"]["name"]}
    return bool(by_label or by_field) and (
        all(_matches(labels(node), one) for one in by_label) and all(_matches(own_fields, one) for one in by_field)
    )


def _matches(own: Mapping[str, str], expression: LabelSelectorRequirement | NodeSelectorRequirement) -> bool:
    operator, values = expression["operator"], expression.get("values") or []
    present = own.get(expression["key"])
    match operator:
        case "In":
            return present in values
        case "NotIn":
            return present not in values
        case "Exists":
            return present is not None
        case "DoesNotExist":
            return present is None
        case "Gt" | "Lt":
            here, bound = whole_number(present or ""), whole_number(values[0] if values else "")
            if here is None or bound is None:
                return False
            return here > bound if operator == "Gt" else here < bound
    return False
