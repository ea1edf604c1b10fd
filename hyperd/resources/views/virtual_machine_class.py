"""Views of what ``hyperd.resources.kinds.virtual_machine_class`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.kinds.virtual_machine_class import CPUType, VirtualMachineClassPhase
from hyperd.resources.views.base import Condition, LabelSelector, Resource
from hyperd.resources.views.placement import NodeSelectorRequirement, Toleration


class CPUDiscovery(TypedDict):
    nodeSelector: NotRequired[LabelSelector]


class ClassCPU(TypedDict):
    type: CPUType
    model: NotRequired[str]
    features: NotRequired[list[str]]
    discovery: NotRequired[CPUDiscovery]


class ClassNodeSelector(TypedDict):
    matchLabels: NotRequired[dict[str, str]]
    matchExpressions: NotRequired[list[NodeSelectorRequirement]]


class PolicyCores(TypedDict):
    min: int
    max: int
    step: NotRequired[int]


class MemoryRange(TypedDict):
    min: NotRequired[str | int]
    max: NotRequired[str | int]


class PolicyMemory(TypedDict):
    min: NotRequired[str | int]
    max: NotRequired[str | int]
    step: NotRequired[str | int]
    perCore: NotRequired[MemoryRange]


class SizingPolicy(TypedDict):
    cores: PolicyCores
    memory: NotRequired[PolicyMemory]
    coreFractions: NotRequired[list[int]]
    defaultCoreFraction: NotRequired[int | str]
    dedicatedCores: NotRequired[list[bool]]


class VirtualMachineClassSpec(TypedDict):
    cpu: ClassCPU
    nodeSelector: NotRequired[ClassNodeSelector]
    tolerations: NotRequired[list[Toleration]]
    sizingPolicies: NotRequired[list[SizingPolicy]]


class CPUFeatures(TypedDict):
    enabled: NotRequired[list[str]]
    notEnabledCommon: NotRequired[list[str]]


class VirtualMachineClassStatus(TypedDict):
    phase: NotRequired[VirtualMachineClassPhase]
    cpuFeatures: NotRequired[CPUFeatures]
    availableNodes: NotRequired[list[str]]
    maxAllocatableResources: NotRequired[dict[str, str | int]]
    conditions: NotRequired[list[Condition]]
    observedGeneration: NotRequired[int]


class VirtualMachineClass(Resource):
    spec: VirtualMachineClassSpec
    status: NotRequired[VirtualMachineClassStatus]
