"""Which nodes a machine whose guest runs may be on: its own, and those to which it could go.

By what the machine and its class say of nodes, and of machines beside it; how much room there is is left to the
scheduler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hyperd.controllers.context import Context
from hyperd.controllers.machine.emulators import digest_of
from hyperd.controllers.node import fitting, taints
from hyperd.controllers.node.nearness import Nearness, is_asked
from hyperd.controllers.ownership import machine_node
from hyperd.resources.all import NODE, POD, VIRTUAL_MACHINE_CLASS
from hyperd.resources.core.node import NodeConditionType
from hyperd.resources.kinds.virtual_machine_conditions import MigratableReason
from hyperd.resources.schema.kind import Object
from hyperd.resources.values import meta, names
from hyperd.resources.values.conditions import is_true
from hyperd.store.interface import Item

if TYPE_CHECKING:
    from hyperd.resources.views.core import Node
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClass

_KEPT: Final = 64
_NO_TARGET: Final = (
    "Live migration is not possible: no other node in the cluster can accept this VirtualMachine. "
    "Check its placement and affinity rules and those of its VirtualMachineClass."
)
_WAITING: Final = (
    "Live migration is possible, but there is no node to migrate to at the moment: the nodes matching the "
    "placement rules of this VirtualMachine are excluded from scheduling or do not run the virtualization."
)


def takes(item: Item[Node] | None) -> object:
    """What of a node says which guests may go to it: another value where that may be others."""
    if item is None:
        return None
    node = item.object()
    spec = node.get("spec") or {}
    closed = spec.get("unschedulable"), is_true(node, NodeConditionType.READY)
    return meta.labels(node), spec.get("taints"), closed


class Targets:
    """As informers show nodes and machines' Pods."""

    def __init__(self, context: Context) -> None:
        self._nodes = context.informer(NODE)
        self._pods = context.informer(POD)
        self._classes = context.informer(VIRTUAL_MACHINE_CLASS)
        self._emulation = context.settings.kubernetes.allow_emulation
        self._brief: dict[tuple[str, str], tuple[str, Object]] = {}
        """What is asked of Pods and nodes, with their versions: all are asked for each machine."""

    def strays(self, machine: VirtualMachine) -> str:
        """Why the machine may not be where it is, by what it and its class say now; empty where it may.

        A node that is not seen is taken as fit.
        """
        class_, node = self._class_of(machine), self._nodes.get("", machine_node(machine))
        if class_ is None or node is None:
            return ""
        return self._amiss(node, machine, class_, self._nearness(machine))

    def lacking(self, machine: VirtualMachine) -> tuple[MigratableReason, str]:
        """Which node there is to go to: a reason, and a sentence where there is none."""
        class_, found = self._class_of(machine), MigratableReason.NO_TARGET
        if class_ is None:
            return MigratableReason.MIGRATABLE, ""
        tolerated, near = taints.tolerations(machine["spec"], class_["spec"]), self._nearness(machine)
        for item in self._nodes.items():
            if item.name == machine_node(machine):
                continue
            node: Node = item.object()
            if self._amiss(node, machine, class_, near):
                continue
            # What its labels say of its QEMU a node's hyperd says.
            open_ = is_true(node, NodeConditionType.READY) and not fitting.cordoned(node, tolerated)
            if open_ and digest_of(node):
                return MigratableReason.MIGRATABLE, ""
            found = MigratableReason.WAITING_FOR_TARGET
        return found, _NO_TARGET if found is MigratableReason.NO_TARGET else _WAITING

    def _amiss(
        self, node: Node, machine: VirtualMachine, class_: VirtualMachineClass, near: Nearness | None
    ) -> str:
        if not self._emulation and meta.labels(node).get(names.KVM_ENABLED_LABEL) != "true":
            return "cannot use KVM"
        if why := fitting.mismatch(node, machine["spec"], class_):
            return why
        return "" if near is None else near.amiss(node)

    def _nearness(self, machine: VirtualMachine) -> Nearness | None:
        if not is_asked(machine):
            return None
        pods, nodes, uid = self._pods.items(), self._nodes.items(), meta.uid(machine)
        if len(self._brief) > 2 * (len(pods) + len(nodes)) + _KEPT:
            self._brief.clear()
        others = (pod for pod in map(self._in_brief, pods) if meta.labels(pod).get(names.VM_UID_LABEL) != uid)
        return Nearness(machine, others, {item.name: meta.labels(self._in_brief(item)) for item in nodes})

    def _in_brief(self, item: Item) -> Object:
        known = self._brief.get(key := (item.namespace, item.name))
        if known is None or known[0] != item.resource_version:
            whole = item.object()
            brief = {
                "metadata": {"namespace": item.namespace, "labels": meta.labels(whole)},
                "spec": {"nodeName": (whole.get("spec") or {}).get("nodeName") or ""},
            }
            known = self._brief[key] = item.resource_version, brief
        return known[1]

    def _class_of(self, machine: VirtualMachine) -> VirtualMachineClass | None:
        return self._classes.get("", machine["spec"].get("virtualMachineClassName") or "")
