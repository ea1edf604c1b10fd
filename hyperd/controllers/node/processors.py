"""The processor that a class gives its guests, and which nodes can give it.

Nodes tell by labels what their guests may have. A class of type Discovery finds its features once, in what the
chosen nodes have in common, and keeps them in its status: a node that is added later must have them too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from hyperd.resources.kinds.virtual_machine_class import CPUType
from hyperd.resources.values import names
from hyperd.resources.values.meta import labels

if TYPE_CHECKING:
    from hyperd.resources.views.core import Node
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClass, VirtualMachineClassSpec

_NAMED, _LISTED = 3, 20
"""How many names a sentence gives at most: of what is asked, of what there is."""


def features_of(node: Node) -> frozenset[str]:
    """The features that guests of the node may have."""
    prefix = names.CPU_FEATURE_LABEL_PREFIX
    return frozenset(
        key.removeprefix(prefix)
        for key, value in labels(node).items()
        if value == "true" and key.startswith(prefix)
    )


def common_features(nodes: Iterable[Node]) -> list[str]:
    """What all of the nodes have, sorted; nothing of no nodes."""
    each = [features_of(node) for node in nodes]
    return sorted(frozenset.intersection(*each)) if each else []


def enabled_features(class_: VirtualMachineClass) -> Sequence[str]:
    """The features that a class of type Features names, or that one of type Discovery has found."""
    cpu = class_["spec"]["cpu"]
    if cpu["type"] == CPUType.DISCOVERY:
        return ((class_.get("status") or {}).get("cpuFeatures") or {}).get("enabled") or ()
    return cpu.get("features") or ()


def with_features(class_: VirtualMachineClass) -> VirtualMachineClassSpec:
    """The class's spec, in which ``cpu.features`` are those that its guests get."""
    spec = class_["spec"]
    return {**spec, "cpu": {**spec["cpu"], "features": list(enabled_features(class_))}}


def can_give(node: Node, class_: VirtualMachineClass) -> bool:
    """Whether guests of the node can have the class's processor. One that emulates has a stand-in for each."""
    node_labels, cpu = labels(node), class_["spec"]["cpu"]
    if node_labels.get(names.KVM_ENABLED_LABEL) != "true":
        prefix, asked = _asked(class_)
        known = _known(node, prefix)
        return not known or known.issuperset(asked)
    if cpu["type"] == CPUType.MODEL:
        return node_labels.get(names.CPU_MODEL_LABEL_PREFIX + cpu["model"]) == "true"
    return features_of(node).issuperset(set(enabled_features(class_)) - names.OPTIONAL_CPU_FEATURES)


def unknown_to_all(class_: VirtualMachineClass, nodes: Iterable[Node]) -> str:
    """A sentence about models or features of the class that no node has a name for, and what they may have meant.

    Empty where each is known somewhere, and where no node tells what it knows.
    """
    prefix, asked = _asked(class_)
    known = frozenset[str]().union(*(_known(node, prefix) for node in nodes))
    unknown = sorted(asked - known) if known else []
    if not unknown:
        return ""
    what = "processor model" if prefix == names.CPU_MODEL_LABEL_PREFIX else "processor feature"
    named = ", ".join(f'"{name}"' for name in unknown[:_NAMED])
    folded = {name.lower(): name for name in sorted(known)}
    close = [folded[name] for one in unknown for name in get_close_matches(one.lower(), folded, n=_NAMED)]
    hint = f"did you mean {' or '.join(dict.fromkeys(close[:_NAMED]))}?" if close else _listed(sorted(known))
    return f"No node knows the {what} {named}: {hint}"


def _listed(known: Sequence[str]) -> str:
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return f"known are {', '.join(known[:_LISTED])}{more}."


def asked_labels(class_: VirtualMachineClass) -> frozenset[str]:
    """The labels of nodes that tell of what the class asks for."""
    prefix, asked = _asked(class_)
    return frozenset(prefix + name for name in asked)


def _asked(class_: VirtualMachineClass) -> tuple[str, frozenset[str]]:
    """The prefix of the labels that tell of what the class asks for, and the names that it asks for."""
    cpu = class_["spec"]["cpu"]
    if cpu["type"] == CPUType.MODEL:
        return names.CPU_MODEL_LABEL_PREFIX, frozenset({cpu["model"]})
    return names.CPU_FEATURE_LABEL_PREFIX, frozenset(enabled_features(class_)) - names.OPTIONAL_CPU_FEATURES


def _known(node: Node, prefix: str) -> frozenset[str]:
    return frozenset(key.removeprefix(prefix) for key in labels(node) if key.startswith(prefix))
