"""Where a virtual machine may run: the scheduling words of Kubernetes, as the VM's spec uses them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hyperd.resources.kinds.base import LIST_ATOMIC, Int32, Int64, LabelSelector, NonEmpty, Section, one_of

Weight = Annotated[int, Field(ge=1, le=100, json_schema_extra={"format": "int32"})]


class Toleration(Section):
    """A taint of nodes that the virtual machine puts up with."""

    key: str | None = None
    """Key of the taint; every key when empty, with operator Exists."""
    operator: Annotated[str, one_of("Exists", "Equal", "")] | None = None
    """How the key relates to the value: Exists or Equal (the default)."""
    value: str | None = None
    """Value of the taint, for Equal."""
    effect: Annotated[str, one_of("NoSchedule", "PreferNoSchedule", "NoExecute", "")] | None = None
    """Effect of the taint: NoSchedule, PreferNoSchedule or NoExecute; all when empty."""
    toleration_seconds: Int64 | None = None
    """How long a NoExecute taint is put up with; forever when empty."""


class NodeSelectorRequirement(Section):
    """One expression over a node's labels or fields."""

    key: str
    """Key of the label."""
    operator: Annotated[str, one_of("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")]
    """How the label relates to the values: In, NotIn, Exists, DoesNotExist, Gt or Lt."""
    values: Annotated[list[str] | None, Field(json_schema_extra=LIST_ATOMIC)] = None
    """The values; one number for Gt and Lt, none for Exists and DoesNotExist."""


class NodeSelectorTerm(Section):
    """Requirements that a node must meet together."""

    match_expressions: Annotated[list[NodeSelectorRequirement] | None, Field(json_schema_extra=LIST_ATOMIC)] = None
    """Requirements on the node's labels."""
    match_fields: Annotated[list[NodeSelectorRequirement] | None, Field(json_schema_extra=LIST_ATOMIC)] = None
    """Requirements on the node's fields."""


class NodeSelectorTerms(Section):
    """Terms of which a node must meet one."""

    node_selector_terms: Annotated[list[NodeSelectorTerm], Field(json_schema_extra=LIST_ATOMIC)]
    """The terms; one is enough."""


class PreferredNode(Section):
    """Nodes that are better than others."""

    weight: Weight
    """How much better, 1 to 100."""
    preference: NodeSelectorTerm
    """What such a node looks like."""


class NodeAffinity(Section):
    """Nodes that the virtual machine must or would rather run on."""

    required_during_scheduling_ignored_during_execution: NodeSelectorTerms | None = None
    """What the node must look like."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[PreferredNode] | None, Field(json_schema_extra=LIST_ATOMIC)
    ] = None
    """What the node should look like."""


class AffinityTerm(Section):
    """Virtual machines and Pods, and what counts as the same place."""

    label_selector: LabelSelector | None = None
    """Which virtual machines and Pods, by labels."""
    namespace_selector: LabelSelector | None = None
    """Of which namespaces, by labels."""
    namespaces: Annotated[list[str] | None, Field(json_schema_extra=LIST_ATOMIC)] = None
    """Of which namespaces, by name; this one's when empty."""
    topology_key: str
    """Label of nodes whose value tells the place apart, such as kubernetes.io/hostname."""
    match_label_keys: Annotated[list[str] | None, Field(json_schema_extra=LIST_ATOMIC)] = None
    """Labels whose values must equal this virtual machine's."""
    mismatch_label_keys: Annotated[list[str] | None, Field(json_schema_extra=LIST_ATOMIC)] = None
    """Labels whose values must differ from this virtual machine's."""


class WeightedAffinityTerm(Section):
    """A term that counts when nodes are compared."""

    weight: Weight
    """How much it counts, 1 to 100."""
    virtual_machine_and_pod_affinity_term: AffinityTerm
    """The term."""


class VirtualMachineAndPodAffinity(Section):
    """Virtual machines and Pods to be near to, or far from."""

    required_during_scheduling_ignored_during_execution: Annotated[
        list[AffinityTerm] | None, Field(json_schema_extra=LIST_ATOMIC)
    ] = None
    """Terms that must hold."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[WeightedAffinityTerm] | None, Field(json_schema_extra=LIST_ATOMIC)
    ] = None
    """Terms that should hold."""


class Affinity(Section):
    """What the virtual machine wants to be near to, and far from."""

    node_affinity: NodeAffinity | None = None
    """Nodes to run on."""
    virtual_machine_and_pod_affinity: VirtualMachineAndPodAffinity | None = None
    """Virtual machines and Pods to be near to."""
    virtual_machine_and_pod_anti_affinity: VirtualMachineAndPodAffinity | None = None
    """Virtual machines and Pods to be far from."""


class TopologySpreadConstraint(Section):
    """How evenly virtual machines are spread."""

    max_skew: Annotated[int, Field(ge=1, json_schema_extra={"format": "int32"})]
    """By how many the fullest place may exceed the emptiest."""
    topology_key: NonEmpty
    """Label of nodes whose value tells the place apart."""
    when_unsatisfiable: Annotated[str, one_of("DoNotSchedule", "ScheduleAnyway")]
    """What to do when it cannot hold: DoNotSchedule or ScheduleAnyway."""
    label_selector: LabelSelector | None = None
    """Which virtual machines are counted."""
    min_domains: Int32 | None = None
    """How many places there must be."""
    match_label_keys: Annotated[list[str] | None, Field(json_schema_extra=LIST_ATOMIC)] = None
    """Labels whose values must equal this virtual machine's."""
    node_affinity_policy: Annotated[str, one_of("Honor", "Ignore")] | None = None
    """Whether nodes outside the affinity count: Honor or Ignore."""
    node_taints_policy: Annotated[str, one_of("Honor", "Ignore")] | None = None
    """Whether tainted nodes count: Honor or Ignore."""
