"""Where a machine's Pod may be: the machine's words and its class's, in a scheduler's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hyperd.controllers.node.processors import asked_labels
from hyperd.resources.core.node import TaintEffect
from hyperd.resources.schema.kind import AnyObject, Object
from hyperd.resources.values import names

if TYPE_CHECKING:
    from hyperd.resources.views.placement import (
        NodeSelectorRequirement,
        NodeSelectorTerm,
        NodeSelectorTerms,
        VirtualMachineAndPodAffinity,
    )
    from hyperd.resources.views.virtual_machine import VirtualMachineSpec
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClass

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_SILENT = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_SECONDS = "tolerationSeconds"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


@dataclass(frozen=True)
class Goes:
    """Where a guest is to go that runs on ``leaves``: a node with the labels ``selector``."""

    operation: str
    """The uid of who asked for that."""
    leaves: str
    selector: Mapping[str, str]
    emulators: Sequence[str] = ()
    """Digests of QEMUs of which the node must have one; none for any."""


def placing(
    spec: VirtualMachineSpec,
    class_: VirtualMachineClass,
    *,
    emulation: bool,
    node: str,
    goes: Goes | None = None,
    avoided: Sequence[str] = (),
) -> Object:
    """The fields of a Pod's spec that a scheduler reads, as far as there is something to say.

    ``emulation`` is whether the machine may do without KVM; ``node`` the one where its disks are, or empty;
    ``avoided`` are nodes of which it may be none.
    """
    of_class = class_["spec"].get("nodeSelector") or {}
    # Where both name a label the class decides.
    asked = {} if goes is None else goes.selector
    selector = {**asked, **(spec.get("nodeSelector") or {}), **(of_class.get("matchLabels") or {})}
    if not emulation:
        selector[names.KVM_ENABLED_LABEL] = "true"
    found: Object = {
        "nodeSelector": selector,
        "affinity": _affinity(spec, class_, goes, emulation=emulation, fields=_fields(node, goes, avoided)),
        "tolerations": _tolerations(spec, class_),
        "topologySpreadConstraints": list(spec.get("topologySpreadConstraints") or ()),
        "priorityClassName": spec.get("priorityClassName") or "",
    }
    return {name: value for name, value in found.items() if value}


def _tolerations(spec: VirtualMachineSpec, class_: VirtualMachineClass) -> Sequence[Object]:
    """The machine's and its class's; and a node that is silent does not cost it its Pod, as it does others.

    Its guest may run there, and would be ended for that once the node is back.
    """
    own: list[Object] = [*(spec.get("tolerations") or ()), *(class_["spec"].get("tolerations") or ())]
    keys = _unnamed(own)
    return [*own, *({"key": key, "operator": "Exists", "effect": str(TaintEffect.NO_EXECUTE)} for key in keys)]


def _unnamed(own: Iterable[Object]) -> Sequence[str]:
    """The taints of silent nodes of which neither machine nor class say anything."""
    named = {one.get("key") for one in own if one.get("effect") in (None, "", TaintEffect.NO_EXECUTE)}
    return [key for key in _SILENT if key not in named]


def patient(pod: AnyObject, spec: VirtualMachineSpec, class_: VirtualMachineClass) -> Sequence[Object] | None:
    """The Pod's tolerations without the end that Kubernetes puts to some; None where it has put none.

    It does so by default, after 300 s of a silent node, to Pods that do not speak of them as machines' now do.
    """
    keys = _unnamed([*(spec.get("tolerations") or ()), *(class_["spec"].get("tolerations") or ())])
    has: Sequence[Object] = (pod.get("spec") or {}).get("tolerations") or ()
    without = [
        {name: value for name, value in one.items() if name != _SECONDS or one.get("key") not in keys}
        for one in has
    ]
    return None if without == list(has) else without


def _fields(node: str, goes: Goes | None, avoided: Sequence[str]) -> Sequence[Object]:
    """What must hold of a node's name."""
    pinned = [{"key": "metadata.name", "operator": "In", "values": [node]}] if node else []
    apart = [*avoided, *(() if goes is None else [goes.leaves])]
    return [*pinned, *({"key": "metadata.name", "operator": "NotIn", "values": [one]} for one in apart)]


def _affinity(
    spec: VirtualMachineSpec,
    class_: VirtualMachineClass,
    goes: Goes | None,
    *,
    emulation: bool,
    fields: Sequence[Object],
) -> Object:
    own = spec.get("affinity") or {}
    expressions = [
        *((class_["spec"].get("nodeSelector") or {}).get("matchExpressions") or ()),
        *_of_processor(class_, emulation=emulation),
        *_of_emulator(goes),
    ]
    found: Object = {}
    asked = own.get("nodeAffinity") or {}
    of_nodes: Object = dict(asked)
    if terms := _terms(asked.get("requiredDuringSchedulingIgnoredDuringExecution"), expressions, fields):
        of_nodes[_REQUIRED] = {"nodeSelectorTerms": terms}
    if of_nodes:
        found["nodeAffinity"] = of_nodes
    for name, source in (
        ("podAffinity", own.get("virtualMachineAndPodAffinity")),
        ("podAntiAffinity", own.get("virtualMachineAndPodAntiAffinity")),
    ):
        if source and (translated := _of_pods(source)):
            found[name] = translated
    return found


def _terms(
    required: NodeSelectorTerms | None, expressions: Sequence[NodeSelectorRequirement], fields: Sequence[Object]
) -> list[Object]:
    """Terms of which one must hold, each with what must hold in any case.

    A term that asks nothing is met by no node: it stays as it is, and does not become one that some node meets.
    """
    terms: Sequence[NodeSelectorTerm] = [{}] if required is None else required.get("nodeSelectorTerms") or []
    made: list[Object] = []
    for term in terms:
        asks = bool(term.get("matchExpressions") or term.get("matchFields"))
        if required is not None and not asks:
            continue
        whole = {
            "matchExpressions": [*(term.get("matchExpressions") or ()), *expressions],
            "matchFields": [*(term.get("matchFields") or ()), *fields],
        }
        if kept := {name: value for name, value in whole.items() if value}:
            made.append(kept)
    return made if made or required is None else [dict(term) for term in terms]


def _of_processor(class_: VirtualMachineClass, *, emulation: bool) -> Iterable[NodeSelectorRequirement]:
    """What a node's labels must say of the class's processor; one that emulates has a stand-in for each."""
    for label in sorted(asked_labels(class_)):
        if emulation:
            yield {"key": label, "operator": "Exists"}
        else:
            yield {"key": label, "operator": "In", "values": ["true"]}


def _of_emulator(goes: Goes | None) -> Iterable[NodeSelectorRequirement]:
    if goes is not None and goes.emulators:
        yield {"key": names.QEMU_DIGEST_LABEL, "operator": "In", "values": list(goes.emulators)}


def _of_pods(source: VirtualMachineAndPodAffinity) -> Object:
    required = source.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
    preferred: list[Object] = [
        {"weight": one["weight"], "podAffinityTerm": one["virtualMachineAndPodAffinityTerm"]}
        for one in source.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    ]
    found: Object = {_REQUIRED: list(required), _PREFERRED: preferred}
    return {name: value for name, value in found.items() if value}
