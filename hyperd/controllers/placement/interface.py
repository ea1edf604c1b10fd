"""Where machines and disks go, as their controllers know it.

A home has one placement. On one node what is asked for fits there, or waits (``one_node``); of several nodes one
is chosen (``binder``). The choice stands in the objects, where ``ownership`` reads it. What is left to ask is
whether a start may begin on this node now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from hyperd.runtime.controller import Controller

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClass


class Placement(Protocol):
    """Of one home, as one of its daemons uses it."""

    def controllers(self) -> Sequence[Controller]:
        """What writes the choice into the objects, beside the controllers of the kinds; asked for once."""

    async def take(self, machine: VirtualMachine, class_: VirtualMachineClass) -> str:
        """Promise this node's room to a start, until ``release``; else a sentence: why it cannot begin here now.

        Of two at once one is told what the other was promised. Raises ServiceUnavailable while libvirt is away.
        """

    def retake(self, machine: VirtualMachine) -> None:
        """Promise an instance that ends here to begin anew its room, without a question, until ``release``."""

    def release(self, machine: VirtualMachine) -> None:
        """End the promise, if there is one: by now a domain counts, or nothing does."""

    def unfit_for_disks(self) -> str:
        """Why no new volume may be made on this node now, a sentence; empty when one may."""
