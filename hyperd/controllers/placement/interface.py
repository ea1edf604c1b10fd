"""Where machines and disks go, as their controllers know it.

A home has one placement. On one node what is asked for fits there, or waits (``one_node``); of several nodes one
is chosen, by hyperd's leader (``binder``) or by the scheduler that gives the machine's Pod its node (``pod``). The
choice stands in the objects, where ``ownership`` reads it. What is left to ask is
whether a start may begin on this node now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from hyperd.controllers.migration.interface import Moves
from hyperd.runtime.controller import Controller, Key

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_disk import VirtualDisk
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClass


TOLD: Final = "The machine waits for its Pod."
"""What ``take`` answers while the leader tells why the machine waits: then its condition is left as it is."""


@dataclass(frozen=True)
class Quarters:
    """What a start gets from where it takes place."""

    pod: str = ""
    """The Pod's uid; empty where there is none."""
    emulator: Path | None = None
    """What stands in QEMU's place; None for QEMU itself."""


NOWHERE_ELSE: Final = Quarters()
"""On the node, and in nothing."""


class Placement(Protocol):
    """Of one home, as one of its daemons uses it."""

    def wake(self, look: Callable[[Key], None]) -> None:
        """Have ``look`` called with each machine of which this placement hears something new."""

    def controllers(self) -> Sequence[Controller]:
        """What writes the choice into the objects, beside the controllers of the kinds; asked for once."""

    async def take(self, machine: VirtualMachine, class_: VirtualMachineClass) -> str:
        """Promise this node's room to a start, until ``release``; else a sentence: why it cannot begin here now.

        Of two at once one is told what the other was promised. Raises ServiceUnavailable while libvirt is away.
        """

    def retake(self, machine: VirtualMachine, class_: VirtualMachineClass | None) -> bool:
        """Promise an instance that ends here to begin anew its room, without a question, until ``release``.

        False where it needs other room than it has by now: then it is ended, and begins once ``take`` lets it.
        """

    def release(self, machine: VirtualMachine) -> None:
        """End the promise, if there is one: by now a domain counts, or nothing does."""

    def quarters(self, machine: VirtualMachine) -> Quarters:
        """Where the start is to take place that was taken room for."""

    async def keep(self, machine: VirtualMachine, pod: str, *, active: bool) -> None:
        """Have what stands for the guest say that it runs or not; ``pod`` is the one that its domain names.

        Before the guest's links are looked at: it finds again where they are.
        """

    async def is_leaving(self, machine: VirtualMachine, pod: str) -> bool:
        """Whether a guest that runs in ``pod`` is to be ended because its place is: it begins anew elsewhere."""

    @property
    def cut_off(self) -> Callable[[str], str]:
        """By a machine's uid why what its NetworkPolicies say does not hold: a sentence; empty where it does."""

    @property
    def moves(self) -> Moves | None:
        """What has guests go from node to node; None where none can."""

    def unfit_for_disks(self) -> str:
        """Why no new volume may be made on this node now, a sentence; empty when one may."""

    def wake_disks(self, look: Callable[[Key], None]) -> None:
        """Have ``look`` called with each disk of whose volume this placement hears something new."""

    def awaited_for(self, disk: VirtualDisk) -> str:
        """What has to be on this node before the disk's claim can be filled, a sentence; empty if nothing."""


class WithoutPods:
    """What a placement says of Pods where machines have none."""

    moves: Moves | None = None

    def cut_off(self, uid: str) -> str:
        """There are no policies."""
        return ""

    def wake(self, look: Callable[[Key], None]) -> None:
        """Nothing is heard that the controllers do not hear."""

    def wake_disks(self, look: Callable[[Key], None]) -> None:
        """Nothing is heard that the controllers do not hear."""

    def awaited_for(self, disk: VirtualDisk) -> str:
        """No disk is a claim."""
        return ""

    def quarters(self, machine: VirtualMachine) -> Quarters:
        """On the node."""
        return NOWHERE_ELSE

    async def keep(self, machine: VirtualMachine, pod: str, *, active: bool) -> None:
        """Nothing stands for the guest."""

    async def is_leaving(self, machine: VirtualMachine, pod: str) -> bool:
        """Its place is the node."""
        return False
