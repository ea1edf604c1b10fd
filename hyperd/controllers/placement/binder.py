"""Placement on several nodes: the leader binds, and each node sees once more whether what it was given fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hyperd.controllers.context import Context
from hyperd.controllers.placement.binding import DiskBinder, MachineBinder
from hyperd.controllers.placement.interface import WithoutPods
from hyperd.controllers.placement.one_node import OneNode
from hyperd.controllers.placement.placing import Nodes
from hyperd.runtime.controller import Controller

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClass


class Binder(WithoutPods):
    """The leader chooses by what nodes say of themselves; what is free in truth is for the node to know."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._here = OneNode(context)

    def controllers(self) -> Sequence[Controller]:
        nodes = Nodes(self._context)
        return [MachineBinder(self._context, nodes), DiskBinder(self._context, nodes)]

    async def take(self, machine: VirtualMachine, class_: VirtualMachineClass) -> str:
        return await self._here.take(machine, class_)

    def retake(self, machine: VirtualMachine, class_: VirtualMachineClass | None) -> bool:
        return self._here.retake(machine, class_)

    def release(self, machine: VirtualMachine) -> None:
        self._here.release(machine)

    def unfit_for_disks(self) -> str:
        """Nothing: the leader looked when it bound the disk, which can be nowhere else by now."""
        return ""
