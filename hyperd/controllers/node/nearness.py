"""Whether a node is near to, and far from, the machines that a machine wants to be near to and far from.

As far as machines' Pods tell: those of others are not seen here. What may be meant of them is taken as met.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from hyperd.controllers.node.fitting import selects
from hyperd.resources.values import meta

if TYPE_CHECKING:
    from hyperd.resources.schema.kind import AnyObject
    from hyperd.resources.views.core import Node
    from hyperd.resources.views.placement import AffinityTerm
    from hyperd.resources.views.virtual_machine import VirtualMachine

_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"


def amiss(node: Node, machine: VirtualMachine, pods: Iterable[AnyObject], nodes: Mapping[str, Node]) -> str:
    """What is amiss with the node, as what follows its name; empty for nothing.

    ``pods`` are those of other machines, each with its node's name; ``nodes`` all nodes by name.
    """
    affinity = machine["spec"].get("affinity") or {}
    near = (affinity.get("virtualMachineAndPodAffinity") or {}).get(_REQUIRED) or ()
    far = (affinity.get("virtualMachineAndPodAntiAffinity") or {}).get(_REQUIRED) or ()
    if not near and not far:
        return ""
    placed = [pod for pod in pods if (pod.get("spec") or {}).get("nodeName")]
    for term in far:
        if any(_beside(node, pod, term["topologyKey"], nodes) for pod in _meant(machine, term, placed)):
            return "has a machine beside it that the machine is to be far from"
    for term in near:
        meant = _meant(machine, term, placed)
        if meant and not any(_beside(node, pod, term["topologyKey"], nodes) for pod in meant):
            return "has no machine beside it that the machine is to be near to"
    return ""


def _meant(machine: VirtualMachine, term: AffinityTerm, pods: Iterable[AnyObject]) -> Sequence[AnyObject]:
    """The Pods that a term speaks of; none of one that tells namespaces by their labels."""
    namespaces, chosen = term.get("namespaces") or (), term.get("namespaceSelector")
    if chosen:
        return ()
    everywhere = chosen is not None
    within = namespaces or (() if everywhere else (machine["metadata"]["namespace"],))
    own, selector = meta.labels(machine), term.get("labelSelector")
    if selector is None:
        return ()
    alike = [key for key in term.get("matchLabelKeys") or () if key in own]
    unlike = [key for key in term.get("mismatchLabelKeys") or () if key in own]
    return [
        pod
        for pod in pods
        if (everywhere or pod["metadata"]["namespace"] in within)
        and selects(selector, labels := meta.labels(pod))
        and all(labels.get(key) == own[key] for key in alike)
        and all(labels.get(key) != own[key] for key in unlike)
    ]


def _beside(node: Node, pod: AnyObject, topology: str, nodes: Mapping[str, Node]) -> bool:
    """Whether the Pod is in the node's part of the cluster."""
    there = nodes.get(pod["spec"]["nodeName"])
    here = meta.labels(node).get(topology)
    return there is not None and here is not None and meta.labels(there).get(topology) == here
