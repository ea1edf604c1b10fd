"""VirtualMachineClass: which processor guests see, and which sizes they may have.

Declared as v1alpha2, the storage version; v1alpha3, in a module of its own, differs only in how fractions are
spelt (``"5%"`` for ``5``).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field, WithJsonSchema

from hyperd.resources.kinds.base import (
    LIST_ATOMIC,
    Conditions,
    Int64,
    LabelSelector,
    NonEmpty,
    Quantity,
    Resource,
    Section,
)
from hyperd.resources.kinds.placement import NodeSelectorRequirement, Toleration
from hyperd.resources.kinds.virtual_image import AGE
from hyperd.resources.schema.applies import LIVE, NeverAfter
from hyperd.resources.schema.kind import KINDS, Column, Kind, Object
from hyperd.resources.schema.rule import Rule
from hyperd.resources.values.names import CLUSTER_CATEGORY, GROUP, VERSION, VM_CLASS_CLEANUP


class CPUType(StrEnum):
    HOST = "Host"
    HOST_PASSTHROUGH = "HostPassthrough"
    DISCOVERY = "Discovery"
    MODEL = "Model"
    FEATURES = "Features"


class VirtualMachineClassPhase(StrEnum):
    PENDING = "Pending"
    READY = "Ready"
    TERMINATING = "Terminating"


class VirtualMachineClassCondition(StrEnum):
    READY = "Ready"
    DISCOVERED = "Discovered"
    IN_USE = "InUse"


class ClassReadyReason(StrEnum):
    SUITABLE_NODES_FOUND = "SuitableNodesFound"
    NO_SUITABLE_NODES_FOUND = "NoSuitableNodesFound"
    NO_CPU_FEATURES_ENABLED = "NoCpuFeaturesEnabled"


class DiscoveredReason(StrEnum):
    DISCOVERY_SUCCEEDED = "DiscoverySucceeded"
    DISCOVERY_SKIP = "DiscoverySkip"
    DISCOVERY_FAILED = "DiscoveryFailed"


class ClassInUseReason(StrEnum):
    """Of ``InUse``, which is only present while a deletion is blocked."""

    IN_USE = "VirtualMachineClassInUse"


class CPUDiscovery(Section):
    """Which nodes' common features make up the processor."""

    node_selector: LabelSelector | None = None
    """The nodes to look at; all when empty."""


class ClassCPU(Section):
    """The processor that guests see. It cannot change later."""

    type: CPUType
    """How the processor is chosen: the host's, a named model, or a set of features."""
    model: NonEmpty | None = None
    """For Model: the name that QEMU gives it, such as Nehalem."""
    features: Annotated[list[str], Field(min_length=1, json_schema_extra=LIST_ATOMIC)] | None = None
    """For Features: what the processor must have, such as vmx."""
    discovery: CPUDiscovery | None = None
    """For Discovery: which nodes' common features make it up."""


class ClassNodeSelector(Section):
    """Nodes that virtual machines of the class may run on."""

    match_labels: dict[str, str] | None = None
    """Labels with exactly these values."""
    match_expressions: Annotated[list[NodeSelectorRequirement] | None, Field(json_schema_extra=LIST_ATOMIC)] = None
    """Further requirements: In, NotIn, Exists, DoesNotExist, Gt or Lt."""


class PolicyCores(Section):
    """Numbers of cores that a policy is for."""

    min: Annotated[int, Field(ge=1)]
    """The fewest."""
    max: Annotated[int, Field(ge=1, le=1024)]
    """The most."""
    step: Annotated[int, Field(ge=1)] | None = None
    """Allowed are min, min + step and so on up to max."""


class MemoryRange(Section):
    """The least and the most memory."""

    min: Quantity | None = None
    """The least."""
    max: Quantity | None = None
    """The most."""


class PolicyMemory(Section):
    """Memory that a policy allows."""

    min: Quantity | None = None
    """The least."""
    max: Quantity | None = None
    """The most."""
    step: Quantity | None = None
    """Allowed are min, min + step and so on up to max."""
    per_core: MemoryRange | None = None
    """The least and the most for each core."""


DefaultCoreFraction = Annotated[
    int | str,
    WithJsonSchema({
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
    }),
]  # fmt: skip


class SizingPolicy(Section):
    """What virtual machines of some numbers of cores may have."""

    cores: PolicyCores
    """Numbers of cores that the policy is for; ranges may not overlap."""
    memory: PolicyMemory | None = None
    """Memory they may have; any when empty."""
    core_fractions: Annotated[
        list[Annotated[int, Field(ge=1, le=100)]] | None, Field(json_schema_extra=LIST_ATOMIC)
    ] = None
    """Shares of a core they may ask for, in percent; any when empty."""
    default_core_fraction: DefaultCoreFraction | None = None
    """Share of a core that they get unless they say otherwise, in percent; one of coreFractions, or Auto."""
    dedicated_cores: Annotated[list[bool] | None, Field(json_schema_extra=LIST_ATOMIC)] = None
    """Without effect; kept for old manifests."""


class VirtualMachineClassSpec(Section):
    """What the class gives and allows."""

    cpu: Annotated[ClassCPU, NeverAfter("spec.cpu is immutable: make another class instead")]
    """The processor that guests see."""
    node_selector: Annotated[ClassNodeSelector, LIVE] | None = None
    """Nodes that virtual machines of the class may run on."""
    tolerations: Annotated[list[Toleration], Field(json_schema_extra=LIST_ATOMIC), LIVE] | None = None
    """Taints of nodes that its virtual machines put up with."""
    sizing_policies: (
        Annotated[list[SizingPolicy], Field(max_length=16, json_schema_extra=LIST_ATOMIC), LIVE] | None
    ) = None
    """What sizes are allowed; any when empty."""


class CPUFeatures(Section):
    """Features of the processor."""

    enabled: list[str] = Field(default_factory=list)
    """Features that guests see."""
    not_enabled_common: list[str] = Field(default_factory=list)
    """Features that all nodes have and guests do not see."""


class VirtualMachineClassStatus(Section):
    """What became of the class."""

    phase: VirtualMachineClassPhase | None = None
    """State of the class in one word."""
    cpu_features: CPUFeatures | None = None
    """Features of the processor, for the types Discovery and Features."""
    available_nodes: list[str] = Field(default_factory=list)
    """Nodes that its virtual machines can run on, sorted."""
    max_allocatable_resources: dict[str, Quantity] | None = None
    """The most that one of these nodes has, by resource: cpu, memory, and whatever else nodes offer."""
    conditions: Conditions = Field(default_factory=list)
    """Aspects of its state."""
    observed_generation: Int64 | None = None
    """Generation of the spec that this status is about."""


class VirtualMachineClass(Resource):
    """A class of virtual machines: the processor they see, where they may run, and what sizes they may have."""

    spec: VirtualMachineClassSpec
    """What the class gives and allows."""
    status: VirtualMachineClassStatus = Field(default_factory=VirtualMachineClassStatus)
    """What became of the class."""


def _cpu_rule(types: tuple[CPUType, ...], *, needs: str = "", bars: tuple[str, ...]) -> Rule:
    terms = [f"has(self.{needs})"] if needs else []
    terms += [f"!has(self.{barred})" for barred in bars]
    quoted = ", ".join(f"'{type_}'" for type_ in types)

    def holds(value: Object, _: Object | None) -> bool:
        return value["type"] not in types or (
            (not needs or needs in value) and not any(barred in value for barred in bars)
        )

    required = f"requires {needs} and " if needs else ""
    return Rule(
        path="spec.cpu",
        message=f"type {' and '.join(types)} {required}cannot have {' or '.join(bars)}",
        cel=f"!(self.type in [{quoted}]) || ({' && '.join(terms)})",
        holds=holds,
    )


_RULES = (
    _cpu_rule((CPUType.HOST, CPUType.HOST_PASSTHROUGH), bars=("model", "features", "discovery")),
    _cpu_rule((CPUType.MODEL,), needs="model", bars=("features", "discovery")),
    _cpu_rule((CPUType.FEATURES,), needs="features", bars=("model", "discovery")),
    _cpu_rule((CPUType.DISCOVERY,), bars=("model", "features")),
    Rule(
        path="spec.sizingPolicies[].cores",
        message="max must be greater than min",
        cel="self.max > self.min",
        holds=lambda cores, _: cores["max"] > cores["min"],
    ),
    Rule(
        path="spec.sizingPolicies[].cores",
        message="max must be greater than step",
        cel="!has(self.step) || self.max > self.step",
        holds=lambda cores, _: "step" not in cores or cores["max"] > cores["step"],
    ),
)

_USED_BY = "Used by "
_SHOWN_USERS = 5


def used_by(users: Sequence[str]) -> str:
    """Which machines (``namespace/name``) keep a class that is to go, as a condition's message."""
    many = "a virtual machine" if len(users) == 1 else f"{len(users)} virtual machines"
    more = ", …" if len(users) > _SHOWN_USERS else ""
    return f"{_USED_BY}{many}: {', '.join(sorted(users)[:_SHOWN_USERS])}{more}."


def without_users(message: str) -> str:
    """A condition's message for those who may make machines of the class, and not see those of others."""
    return f"{message.partition(':')[0]}." if message.startswith(_USED_BY) else message


VIRTUAL_MACHINE_CLASS = KINDS.add(
    Kind(
        group=GROUP,
        version=VERSION,
        kind="VirtualMachineClass",
        plural="virtualmachineclasses",
        singular="virtualmachineclass",
        namespaced=False,
        model=VirtualMachineClass,
        finalizer=VM_CLASS_CLEANUP,
        held_from_birth=False,
        main_condition=VirtualMachineClassCondition.READY,
        hidden={"status.conditions.message": without_users},
        short_names=("vmc", "vmclass"),
        categories=(CLUSTER_CATEGORY,),
        columns=(
            Column("Phase", ".status.phase", description="State of the class"),
            Column(
                "IsDefault",
                r".metadata.annotations.virtualmachineclass\.virtualization\.deckhouse\.io\/is-default-class",
                description="Whether virtual machines without a class get this one",
            ),
            AGE,
        ),
        rules=_RULES,
        subresources=frozenset({"status"}),
        deprecated=True,
    )
)
