"""The processor that a class gives its guests, and which nodes can give it.

Nodes tell by labels what their guests may have. A class of type Discovery finds its features once, in what the
chosen nodes have in common, and keeps them in its status: a node that is added later must have them too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hyperd.resources import names
from hyperd.resources.kind import Object
from hyperd.resources.meta import labels
from hyperd.resources.virtual_machine_class import CPUType


def features_of(node: Object) -> frozenset[str]:
    """The features that guests of the node may have."""
    prefix = names.CPU_FEATURE_LABEL_PREFIX
    return frozenset(
        key.removeprefix(prefix)
        for key, value in labels(node).items()
        if value == "true" and key.startswith(prefix)
    )


def common_features(nodes: Iterable[Object]) -> list[str]:
    """What all of the nodes have, sorted; nothing of no nodes."""
    each = [features_of(node) for node in nodes]
    return sorted(frozenset.intersection(*each)) if each else []


def enabled_features(class_: Object) -> Sequence[str]:
    """The features that a class of type Features names, or that one of type Discovery has found."""
    cpu = class_["spec"]["cpu"]
    if cpu["type"] == CPUType.DISCOVERY:
        found: Sequence[str] = ((class_.get("status") or {}).get("cpuFeatures") or {}).get("enabled") or ()
        return found
    return cpu.get("features") or ()


def with_features(class_: Object) -> Object:
    """The class's spec, in which ``cpu.features`` are those that its guests get."""
    spec = class_["spec"]
    return {**spec, "cpu": {**spec["cpu"], "features": list(enabled_features(class_))}}


def can_give(node: Object, class_: Object) -> bool:
    """Whether guests of the node can have the class's processor. One that emulates has a stand-in for each."""
    told = labels(node)
    if told.get(names.KVM_ENABLED_LABEL) != "true":
        return True
    cpu = class_["spec"]["cpu"]
    if cpu["type"] == CPUType.MODEL:
        return told.get(names.CPU_MODEL_LABEL_PREFIX + cpu["model"]) == "true"
    return features_of(node).issuperset(set(enabled_features(class_)) - names.OPTIONAL_CPU_FEATURES)
