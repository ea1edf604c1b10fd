"""Rules of the scheduling words of Kubernetes in a spec: those that a kube-apiserver keeps for a Pod's.

A schema says which words there are; these say which of them mean something together. What was stored before is
judged where it is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from hyperd.admission.context import Context
from hyperd.resources.schema.kind import AnyObject
from hyperd.resources.schema.metadata import label_value_faults, qualified_name_faults
from hyperd.store.interface import whole_number

if TYPE_CHECKING:
    from hyperd.resources.views.base import LabelSelector, LabelSelectorRequirement
    from hyperd.resources.views.placement import (
        AffinityTerm,
        NodeSelectorRequirement,
        NodeSelectorTerm,
        Toleration,
        TopologySpreadConstraint,
        VirtualMachineAndPodAffinity,
    )

T = TypeVar("T")

_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"
_NODE_FIELD = "metadata.name"
_DO_NOT_SCHEDULE = "DoNotSchedule"


def check_machine(context: Context[AnyObject, AnyObject]) -> None:
    """Judge where a virtual machine wants to be."""
    for name, judge in (
        ("nodeSelector", _labels),
        ("tolerations", _tolerations),
        ("affinity", _affinity),
        ("topologySpreadConstraints", _constraints),
    ):
        found = context.spec.get(name)
        if found and found != context.old_spec.get(name):
            judge(context, f"spec.{name}", found)


def check_class(context: Context[AnyObject, AnyObject]) -> None:
    """Judge where a class puts its machines, and where it looks for its processor."""
    selector = context.spec.get("nodeSelector") or {}
    if selector != context.old_spec.get("nodeSelector"):
        _labels(context, "spec.nodeSelector.matchLabels", selector.get("matchLabels") or {})
        for path, one in _each("spec.nodeSelector.matchExpressions", selector.get("matchExpressions")):
            _requirement(context, path, one)
    tolerations = context.spec.get("tolerations") or ()
    if tolerations != context.old_spec.get("tolerations"):
        _tolerations(context, "spec.tolerations", tolerations)
    discovery = context.spec["cpu"].get("discovery") or {}
    if context.creating and "nodeSelector" in discovery:
        _selector(context, "spec.cpu.discovery.nodeSelector", discovery["nodeSelector"])


def _affinity(context: Context, path: str, affinity: AnyObject) -> None:
    node = affinity.get("nodeAffinity") or {}
    required = node.get(_REQUIRED)
    if required is not None:
        terms = f"{path}.nodeAffinity.{_REQUIRED}.nodeSelectorTerms"
        if not required["nodeSelectorTerms"]:
            context.required(terms, "must have at least one node selector term")
        for where, term in _each(terms, required["nodeSelectorTerms"]):
            _term(context, where, term)
    for where, one in _each(f"{path}.nodeAffinity.{_PREFERRED}", node.get(_PREFERRED)):
        _term(context, f"{where}.preference", one["preference"])
    for name in ("virtualMachineAndPodAffinity", "virtualMachineAndPodAntiAffinity"):
        _nearness(context, f"{path}.{name}", affinity.get(name) or {})


def _nearness(context: Context, path: str, found: VirtualMachineAndPodAffinity) -> None:
    for where, term in _each(f"{path}.{_REQUIRED}", found.get(_REQUIRED)):
        _affinity_term(context, where, term)
    for where, one in _each(f"{path}.{_PREFERRED}", found.get(_PREFERRED)):
        term = one["virtualMachineAndPodAffinityTerm"]
        _affinity_term(context, f"{where}.virtualMachineAndPodAffinityTerm", term)


def _affinity_term(context: Context, path: str, term: AffinityTerm) -> None:
    _selector(context, f"{path}.labelSelector", term.get("labelSelector") or {})
    _selector(context, f"{path}.namespaceSelector", term.get("namespaceSelector") or {})
    _topology_key(context, path, term["topologyKey"])
    keys, others = term.get("matchLabelKeys") or [], term.get("mismatchLabelKeys") or []
    for name, some in (("matchLabelKeys", keys), ("mismatchLabelKeys", others)):
        _label_keys(context, f"{path}.{name}", some, term.get("labelSelector"))
    for where, key in _each(f"{path}.matchLabelKeys", keys):
        if key in others:
            context.invalid(where, key, "exists in both matchLabelKeys and mismatchLabelKeys")


def _constraints(context: Context, path: str, constraints: Sequence[TopologySpreadConstraint]) -> None:
    seen: set[tuple[str, str]] = set()
    for where, one in _each(path, constraints):
        key, whether = one["topologyKey"], one["whenUnsatisfiable"]
        _topology_key(context, where, key)
        if (key, whether) in seen:
            context.duplicate(where, f"{{{key}, {whether}}}")
        seen.add((key, whether))
        domains = one.get("minDomains")
        if domains is not None and domains <= 0:
            context.invalid(f"{where}.minDomains", domains, "must be greater than zero")
        elif domains is not None and whether != _DO_NOT_SCHEDULE:
            text = f"can only use minDomains if whenUnsatisfiable={_DO_NOT_SCHEDULE}, not {whether}"
            context.invalid(f"{where}.minDomains", domains, text)
        _selector(context, f"{where}.labelSelector", one.get("labelSelector") or {})
        _label_keys(context, f"{where}.matchLabelKeys", one.get("matchLabelKeys") or (), one.get("labelSelector"))


def _topology_key(context: Context, path: str, key: str) -> None:
    if not key:
        context.required(f"{path}.topologyKey", "can not be empty")
    else:
        _name(context, f"{path}.topologyKey", key)


def _label_keys(context: Context, path: str, keys: Iterable[str], selector: LabelSelector | None) -> None:
    for where, key in _each(path, keys):
        _name(context, where, key)
        if selector is None:
            context.forbidden(where, "must not be specified when labelSelector is not set")


def _term(context: Context, path: str, term: NodeSelectorTerm) -> None:
    for where, one in _each(f"{path}.matchExpressions", term.get("matchExpressions")):
        _requirement(context, where, one)
    for where, one in _each(f"{path}.matchFields", term.get("matchFields")):
        if one["key"] != _NODE_FIELD:
            context.invalid(f"{where}.key", one["key"], "not a valid field selector key")
        if one["operator"] not in ("In", "NotIn"):
            context.invalid(f"{where}.operator", one["operator"], "not a valid selector operator")
        elif len(one.get("values") or ()) != 1:
            context.required(f"{where}.values", "must be only one value when `operator` is 'In' or 'NotIn'")


def _selector(context: Context, path: str, selector: LabelSelector) -> None:
    _labels(context, f"{path}.matchLabels", selector.get("matchLabels") or {})
    for where, one in _each(f"{path}.matchExpressions", selector.get("matchExpressions")):
        _requirement(context, where, one)


def _requirement(context: Context, path: str, one: NodeSelectorRequirement | LabelSelectorRequirement) -> None:
    _name(context, f"{path}.key", one["key"])
    values, operator = one.get("values") or [], one["operator"]
    if operator in ("In", "NotIn") and not values:
        context.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist") and values:
        text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        context.forbidden(f"{path}.values", text)
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            context.required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
        elif whole_number(values[0]) is None:
            context.invalid(f"{path}.values[0]", values[0], "must be an integer when `operator` is 'Lt' or 'Gt'")
        return
    for where, value in _each(f"{path}.values", values):
        _value(context, where, value)


def _tolerations(context: Context, path: str, tolerations: Sequence[Toleration]) -> None:
    for where, one in _each(path, tolerations):
        key, operator, value = one.get("key", ""), one.get("operator", ""), one.get("value", "")
        if key:
            _name(context, f"{where}.key", key)
        elif operator != "Exists":
            text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            context.invalid(f"{where}.operator", operator, text)
        if operator == "Exists" and value:
            context.invalid(f"{where}.operator", value, "value must be empty when `operator` is 'Exists'")
        elif operator != "Exists":
            _value(context, f"{where}.value", value)
        if "tolerationSeconds" in one and one.get("effect") != "NoExecute":
            text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            context.invalid(f"{where}.effect", one.get("effect", ""), text)


def _labels(context: Context, path: str, labels: Mapping[str, str]) -> None:
    for key, value in labels.items():
        _name(context, path, key)
        _value(context, path, value)


def _name(context: Context, path: str, key: str) -> None:
    for fault in qualified_name_faults(key):
        context.invalid(path, key, fault)


def _value(context: Context, path: str, value: str) -> None:
    for fault in label_value_faults(value):
        context.invalid(path, value, fault)


def _each(path: str, found: Iterable[T] | None) -> Iterable[tuple[str, T]]:
    return ((f"{path}[{index}]", one) for index, one in enumerate(found or ()))
