"""Which nodes a machine whose guest runs may be on: its own, and those to which it could go.

By what the machine and its class say of nodes, and of machines beside it; how much room there is is left to the
scheduler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hyperd.controllers.context import Context
from hyperd.controllers.machine.emulators import digest_of
from hyperd.controllers.node import fitting, nearness, taints
from hyperd.controllers.ownership import machine_node
from hyperd.resources.all import NODE, POD, VIRTUAL_MACHINE_CLASS
from hyperd.resources.core.node import NodeConditionType
from hyperd.resources.kinds.virtual_machine_conditions import MigratableReason
from hyperd.resources.values import meta, names
from hyperd.resources.values.conditions import is_true
from hyperd.store.interface import Item

if TYPE_CHECKING:
    from hyperd.resources.views.core import Node
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClass

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

    def strays(self, machine: VirtualMachine) -> str:
        """Why the machine may not be where it is, by what it and its class say now; empty where it may.

        A node that is not seen is taken as fit.
        """
        class_, node = self._class_of(machine), self._nodes.get("", machine_node(machine))
        return "" if class_ is None or node is None else self._amiss(node, machine, class_)

    def lacking(self, machine: VirtualMachine) -> tuple[MigratableReason, str]:
        """Which node there is to go to: a reason, and a sentence where there is none."""
        class_, found = self._class_of(machine), MigratableReason.NO_TARGET
        if class_ is None:
            return MigratableReason.MIGRATABLE, ""
        tolerated = taints.tolerations(machine["spec"], class_["spec"])
        for item in self._nodes.items():
            if item.name == machine_node(machine) or self._amiss(item.object(), machine, class_):
                continue
            node: Node = item.object()
            # What its labels say of its QEMU a node's hyperd says.
            open_ = is_true(node, NodeConditionType.READY) and not fitting.cordoned(node, tolerated)
            if open_ and digest_of(node):
                return MigratableReason.MIGRATABLE, ""
            found = MigratableReason.WAITING_FOR_TARGET
        return found, _NO_TARGET if found is MigratableReason.NO_TARGET else _WAITING

    def _amiss(self, node: Node, machine: VirtualMachine, class_: VirtualMachineClass) -> str:
        if not self._emulation and meta.labels(node).get(names.KVM_ENABLED_LABEL) != "true":
            return "cannot use KVM"
        if why := fitting.mismatch(node, machine["spec"], class_):
            return why
        if not machine["spec"].get("affinity"):
            return ""
        uid, nodes = meta.uid(machine), {item.name: item.object() for item in self._nodes.items()}
        others = (item.object() for item in self._pods.items())
        beside = [pod for pod in others if meta.labels(pod).get(names.VM_UID_LABEL) != uid]
        return nearness.amiss(node, machine, beside, nodes)

    def _class_of(self, machine: VirtualMachine) -> VirtualMachineClass | None:
        return self._classes.get("", machine["spec"].get("virtualMachineClassName") or "")
