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


class Nearness:
    """Of one machine; asked about one node after the other."""

    def __init__(
        self, machine: VirtualMachine, pods: Iterable[AnyObject], nodes: Mapping[str, Mapping[str, str]]
    ) -> None:
        """``pods`` are those of other machines, each with its node's name; ``nodes`` all their labels, by name."""
        near, far = _terms(machine)
        placed = [pod for pod in pods if (pod.get("spec") or {}).get("nodeName")]
        meant = [(term["topologyKey"], _meant(machine, term, placed)) for term in near]
        self._near = [(topology, _places(some, topology, nodes)) for topology, some in meant if some]
        self._far = [
            (term["topologyKey"], _places(_meant(machine, term, placed), term["topologyKey"], nodes))
            for term in far
        ]

    def amiss(self, node: Node) -> str:
        """What is amiss with the node, as what follows its name; empty for nothing."""
        own = meta.labels(node)
        if any(own.get(topology) in places for topology, places in self._far):
            return "has a machine beside it that the machine is to be far from"
        if any(own.get(topology) not in places for topology, places in self._near):
            return "has no machine beside it that the machine is to be near to"
        return ""


def is_asked(machine: VirtualMachine) -> bool:
    """Whether the machine wants to be near to others, or far from them."""
    return any(_terms(machine))


def _terms(machine: VirtualMachine) -> tuple[Sequence[AffinityTerm], Sequence[AffinityTerm]]:
    """Those that must hold: of what it is to be near to, and far from."""
    affinity = machine["spec"].get("affinity") or {}
    return (
        (affinity.get("virtualMachineAndPodAffinity") or {}).get(_REQUIRED) or (),
        (affinity.get("virtualMachineAndPodAntiAffinity") or {}).get(_REQUIRED) or (),
    )


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


def _places(pods: Iterable[AnyObject], topology: str, nodes: Mapping[str, Mapping[str, str]]) -> frozenset[str]:
    """The parts of the cluster in which the Pods are."""
    found = (nodes.get(pod["spec"]["nodeName"], {}).get(topology) for pod in pods)
    return frozenset(place for place in found if place is not None)
