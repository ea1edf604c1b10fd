"""Placement on one node: does it fit here?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hyperd.controllers.context import Context
from hyperd.controllers.machine import applied
from hyperd.controllers.machine.capacity import Capacity, lacking, requested, requested_by_instance, total
from hyperd.controllers.node import fitting
from hyperd.controllers.placement.interface import WithoutPods
from hyperd.resources.all import NODE
from hyperd.runtime.controller import Controller

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClass


class OneNode(WithoutPods):
    """The node that the daemon is on, and what of it is promised."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._nodes = context.informer(NODE)
        self._starting: dict[str, Capacity] = {}
        """What machines need that are being started, by uid: no domain counts for them yet."""

    def controllers(self) -> Sequence[Controller]:
        return ()

    async def take(self, machine: VirtualMachine, class_: VirtualMachineClass) -> str:
        node, name = self._nodes.get("", self._context.node_name), self._context.node_name
        if node is None:
            return f"Node {name} has not told yet what it has."
        if why := fitting.misfit(node, machine["spec"], class_):
            return f"Node {name} {why}."
        left = await self._left(apart_from=machine["metadata"]["uid"])
        lacks = lacking(name, left, requested(machine["spec"]))
        if not lacks:
            self.retake(machine, class_)
        return lacks

    def retake(self, machine: VirtualMachine, class_: VirtualMachineClass | None) -> bool:
        self._starting[machine["metadata"]["uid"]] = requested(machine["spec"])
        return True

    def release(self, machine: VirtualMachine) -> None:
        self._starting.pop(machine["metadata"]["uid"], None)

    def unfit_for_disks(self) -> str:
        node, name = self._nodes.get("", self._context.node_name), self._context.node_name
        return f"Node {name} {fitting.CORDONED}." if node is not None and fitting.cordoned(node) else ""

    async def _left(self, *, apart_from: str) -> Capacity:
        """What of the host is promised to no machine; of memory, no more than is free in truth."""
        conf, hypervisor = self._context.settings.hypervisor, self._context.hypervisor
        facts, free = await hypervisor.facts(), await hypervisor.free_memory()
        # Nothing waits from here to the promise: two starts at once would both be promised what is left.
        starting = {uid: room for uid, room in self._starting.items() if uid != apart_from}
        running = (
            requested_by_instance(applied.decode(domain.applied).configuration)
            for uid, domain in hypervisor.last_known.items()
            if domain.active and uid != apart_from and uid not in starting
        )
        whole = Capacity(int(facts.cpus * 1000 * conf.cpu_allocation_ratio), facts.memory_bytes)
        reserved = Capacity(memory_bytes=conf.reserved_memory_bytes)
        unpromised = whole - reserved - total(starting.values()) - total(running)
        return replace(unpromised, memory_bytes=min(unpromised.memory_bytes, free - reserved.memory_bytes))
