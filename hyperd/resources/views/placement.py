"""Views of what ``hyperd.resources.kinds.placement`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.views.base import LabelSelector


class Toleration(TypedDict):
    key: NotRequired[str]
    operator: NotRequired[str]
    value: NotRequired[str]
    effect: NotRequired[str]
    tolerationSeconds: NotRequired[int]


class NodeSelectorRequirement(TypedDict):
    key: str
    operator: str
    values: NotRequired[list[str]]


class NodeSelectorTerm(TypedDict):
    matchExpressions: NotRequired[list[NodeSelectorRequirement]]
    matchFields: NotRequired[list[NodeSelectorRequirement]]


class NodeSelectorTerms(TypedDict):
    nodeSelectorTerms: list[NodeSelectorTerm]


class PreferredNode(TypedDict):
    weight: int
    preference: NodeSelectorTerm


class NodeAffinity(TypedDict):
    requiredDuringSchedulingIgnoredDuringExecution: NotRequired[NodeSelectorTerms]
    preferredDuringSchedulingIgnoredDuringExecution: NotRequired[list[PreferredNode]]


class AffinityTerm(TypedDict):
    labelSelector: NotRequired[LabelSelector]
    namespaceSelector: NotRequired[LabelSelector]
    namespaces: NotRequired[list[str]]
    topologyKey: str
    matchLabelKeys: NotRequired[list[str]]
    mismatchLabelKeys: NotRequired[list[str]]


class WeightedAffinityTerm(TypedDict):
    weight: int
    virtualMachineAndPodAffinityTerm: AffinityTerm


class VirtualMachineAndPodAffinity(TypedDict):
    requiredDuringSchedulingIgnoredDuringExecution: NotRequired[list[AffinityTerm]]
    preferredDuringSchedulingIgnoredDuringExecution: NotRequired[list[WeightedAffinityTerm]]


class Affinity(TypedDict):
    nodeAffinity: NotRequired[NodeAffinity]
    virtualMachineAndPodAffinity: NotRequired[VirtualMachineAndPodAffinity]
    virtualMachineAndPodAntiAffinity: NotRequired[VirtualMachineAndPodAffinity]


class TopologySpreadConstraint(TypedDict):
    maxSkew: int
    topologyKey: str
    whenUnsatisfiable: str
    labelSelector: NotRequired[LabelSelector]
    minDomains: NotRequired[int]
    matchLabelKeys: NotRequired[list[str]]
    nodeAffinityPolicy: NotRequired[str]
    nodeTaintsPolicy: NotRequired[str]
