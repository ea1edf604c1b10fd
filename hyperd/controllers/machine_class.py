"""VirtualMachineClass: which nodes fit it, and whether machines still need it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from hyperd.controllers import usage
from hyperd.controllers.context import Context
from hyperd.controllers.node.fitting import fits, suits
from hyperd.controllers.node.processors import common_features, enabled_features, unknown_to_all
from hyperd.resources.all import NODE, VIRTUAL_MACHINE, VIRTUAL_MACHINE_CLASS
from hyperd.resources.kinds.virtual_machine_class import (
    ClassInUseReason,
    ClassReadyReason,
    CPUType,
    DiscoveredReason,
    VirtualMachineClassCondition,
    VirtualMachineClassPhase,
    used_by,
)
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values.conditions import remove_condition, set_condition
from hyperd.resources.values.quantity import parse
from hyperd.runtime.controller import Controller, Key, Mapper, Result
from hyperd.runtime.recorder import EventLevel
from hyperd.runtime.status import add_finalizer, remove_finalizer, update_status
from hyperd.store.interface import EventType, Item

if TYPE_CHECKING:
    from hyperd.resources.views.core import Node
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClass


class MachineClassController(Controller):
    """Says which nodes a class's machines may run on."""

    name = "virtualmachineclass"
    kind = VIRTUAL_MACHINE_CLASS
    workers = 1
    cluster_wide = True

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._classes = context.informer(VIRTUAL_MACHINE_CLASS)
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._nodes = context.informer(NODE)

    def watches(self) -> Mapping[Kind, Mapper]:
        return {NODE: self._all_classes, VIRTUAL_MACHINE: self._class_being_deleted}

    def _all_classes(self, _: Item) -> Iterable[Key]:
        return [Key("", item.name) for item in self._classes.items()]

    def _class_being_deleted(self, item: Item[VirtualMachine]) -> Iterable[Key]:
        """Machines matter to a class only when its deletion waits for them."""
        for name in usage.class_of(item.object()):
            class_ = self._classes.get("", name)
            if class_ is not None and class_["metadata"].get("deletionTimestamp"):
                yield Key("", name)

    async def reconcile(self, key: Key) -> Result | None:
        before = self._classes.get(*key)
        if before is None:
            return None
        if before["metadata"].get("deletionTimestamp"):
            return await self._delete(before)
        before = await add_finalizer(self._context.store, VIRTUAL_MACHINE_CLASS, before)
        after = copy.deepcopy(before)
        status = after.setdefault("status", {})
        status["observedGeneration"] = before["metadata"]["generation"]
        nodes = [item.object() for item in self._nodes.items()]
        _discover(after, nodes)
        fitting = [node for node in nodes if suits(node, after)]
        status["availableNodes"] = sorted(node["metadata"]["name"] for node in fitting)
        if fitting:
            status["maxAllocatableResources"] = _most_allocatable(fitting)
        else:
            status.pop("maxAllocatableResources", None)
        _show_features(after, fitting)
        _show_readiness(after, nodes)
        await update_status(self._context.store, VIRTUAL_MACHINE_CLASS, before, after)
        self._tell_nodes(before, after)
        return None

    def on_own(self, type_: EventType, old: Item | None, new: Item | None) -> None:
        super().on_own(type_, old, new)
        if old is None or new is None or not self._context.ownership.leads():
            return
        if old.object()["spec"].get("sizingPolicies") != new.object()["spec"].get("sizingPolicies"):
            message = "The sizing policies were changed; machines that they do not allow any more run on."
            self._context.events.event(new.object(), "Normal", "SizingPoliciesWereChanged", message)

    def _tell_nodes(self, before: VirtualMachineClass, after: VirtualMachineClass) -> None:
        """Events for another list of available nodes."""
        had = set((before.get("status") or {}).get("availableNodes") or ())
        has = set(after["status"]["availableNodes"])
        came, went = ", ".join(sorted(has - had)), ", ".join(sorted(had - has))
        if not came and not went:
            return
        level: EventLevel = "Normal" if has else "Warning"
        reason = "NodesWereUpdated" if has else "AvailableNodesListEmpty"
        told = [f"added: {came}"] if came else []
        told += [f"removed: {went}"] if went else []
        message = f"The list of available nodes was updated{'' if has else ' and is empty'}; {'; '.join(told)}."
        self._context.events.event(after, level, reason, message)

    async def _delete(self, before: VirtualMachineClass) -> Result | None:
        users = self._machines.by_index(usage.CLASS_INDEX, before["metadata"]["name"])
        after = copy.deepcopy(before)
        if users:
            after.setdefault("status", {})["phase"] = VirtualMachineClassPhase.TERMINATING
            message = used_by([f"{user.namespace}/{user.name}" for user in users])
            set_condition(
                after, VirtualMachineClassCondition.IN_USE, True, reason=ClassInUseReason.IN_USE, message=message
            )
            await update_status(self._context.store, VIRTUAL_MACHINE_CLASS, before, after)
            return None
        remove_condition(after, VirtualMachineClassCondition.IN_USE)
        await remove_finalizer(self._context.store, VIRTUAL_MACHINE_CLASS, before)
        return None


def _discover(class_: VirtualMachineClass, nodes: Iterable[Node]) -> None:
    """Find the features of a class of type Discovery, unless they were found before."""
    cpu, type_ = class_["spec"]["cpu"], VirtualMachineClassCondition.DISCOVERED
    if cpu["type"] != CPUType.DISCOVERY:
        message = f"A class of cpu.type {cpu['type']} needs no discovery."
        set_condition(class_, type_, False, reason=DiscoveredReason.DISCOVERY_SKIP, message=message)
        return
    if not enabled_features(class_):
        selector = (cpu.get("discovery") or {}).get("nodeSelector") or {}
        found = common_features(node for node in nodes if fits(node, selector))
        class_["status"]["cpuFeatures"] = {"enabled": found}
    if enabled_features(class_):
        set_condition(class_, type_, True, reason=DiscoveredReason.DISCOVERY_SUCCEEDED)
    else:
        message = "The nodes that discovery.nodeSelector names have no features in common."
        set_condition(class_, type_, False, reason=DiscoveredReason.DISCOVERY_FAILED, message=message)


def _show_features(class_: VirtualMachineClass, nodes: Iterable[Node]) -> None:
    """``status.cpuFeatures``: what guests see, and what the class's nodes could give beside it."""
    if class_["spec"]["cpu"]["type"] not in (CPUType.DISCOVERY, CPUType.FEATURES):
        class_["status"].pop("cpuFeatures", None)
        return
    enabled = list(enabled_features(class_))
    beside = [feature for feature in common_features(nodes) if feature not in enabled]
    class_["status"]["cpuFeatures"] = {"enabled": enabled, "notEnabledCommon": beside}


def _show_readiness(class_: VirtualMachineClass, nodes: Sequence[Node]) -> None:
    """Phase and condition ``Ready``. A processor as the node's own is to be had on any."""
    status, type_ = class_["status"], class_["spec"]["cpu"]["type"]
    reason, message = ClassReadyReason.SUITABLE_NODES_FOUND, ""
    if type_ == CPUType.DISCOVERY and not enabled_features(class_):
        reason, message = (
            ClassReadyReason.NO_CPU_FEATURES_ENABLED,
            "No features of a processor were found for the class yet.",
        )
    elif not status["availableNodes"] and type_ not in (CPUType.HOST, CPUType.HOST_PASSTHROUGH):
        reason = ClassReadyReason.NO_SUITABLE_NODES_FOUND
        message = unknown_to_all(class_, nodes) or (
            "No node matches the nodeSelector of the class and has its processor."
        )
    status["phase"] = VirtualMachineClassPhase.PENDING if message else VirtualMachineClassPhase.READY
    set_condition(class_, VirtualMachineClassCondition.READY, not message, reason=reason, message=message)


def _most_allocatable(nodes: Iterable[Node]) -> dict[str, str | int]:
    """Of CPU and of memory the most that any of the nodes has."""
    offers = [(node.get("status") or {}).get("allocatable") or {} for node in nodes]
    amounts = {key: [offer[key] for offer in offers if key in offer] for key in ("cpu", "memory")}
    return {key: max(values, key=parse) for key, values in amounts.items() if values}
