"""How the daemons of two nodes speak of a guest that goes from one to the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hyperd.hypervisor.state import DomainInfo
from hyperd.resources.kinds.virtual_machine_conditions import MigratableReason
from hyperd.resources.schema.kind import Object

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_operation import VirtualMachineOperation


class Verb(StrEnum):
    """What a node asks of the one that its guest goes to."""

    PREPARE = "prepare"
    """Have all there that the guest needs but its memory and its disks' content."""
    LOOK = "look"
    """Tell what is there of the guest."""
    GO_ON = "go-on"
    """The guest is off where it was: let it run there."""
    CANCEL = "cancel"
    """The guest stays where it is: remove what is there of it."""


class State(StrEnum):
    """What a node has of a guest that comes to it."""

    ABSENT = "absent"
    COMING = "coming"
    """Not all of it yet."""
    PAUSED = "paused"
    """All of it, stopped."""
    RUNNING = "running"
    WENT_ON = "went-on"
    """It was let go on there: what it left is old, also where it has ended since."""


class Line(StrEnum):
    """Streams between both nodes, each to one socket over there."""

    LIBVIRT = "libvirt"
    MEMORY = "memory"
    DISKS = "disks"


class Neighbours(Protocol):
    """The other nodes' daemons."""

    async def ask(self, node: str, uid: str, verb: Verb, body: Object) -> Object:
        """Of the machine ``uid``. TemporaryError where ``node`` may answer later; else PermanentError."""
        ...

    def lines(
        self, node: str, uid: str, sockets: Mapping[str, Path], users: Mapping[str, str]
    ) -> AbstractAsyncContextManager[None]:
        """Have each of ``sockets`` lead to its own over there while the block runs.

        Only root may open them, or who is named in ``users``, by the line.
        """
        ...


@dataclass(frozen=True)
class Stage:
    """How far a migration is: a reason of its operation's, percent, and a sentence."""

    reason: str
    percent: int
    message: str = ""
    failed: bool = False


@dataclass(frozen=True)
class Movable:
    """Whether a guest can go to another node: a reason of ``Migratable``, and a sentence where it cannot."""

    reason: MigratableReason
    message: str = ""
    bound: bool = False
    """It may not be where it is by what its machine says now, and cannot go."""


class Moves(Protocol):
    """Guests that go from node to node, as the controllers of one node see to them."""

    async def attend(self, machine: VirtualMachine) -> bool:
        """Whether a guest of it is on its way here, where nothing else is done to it."""
        ...

    async def begin(self, machine: VirtualMachine, domain: DomainInfo) -> bool:
        """Of a guest that runs here: whether it is on its way from now on, as an operation asks for."""
        ...

    def wanted(self, machine: VirtualMachine) -> bool:
        """Whether an operation asks for that."""
        ...

    def carry(self, machine: VirtualMachine, wake: Callable[[], None]) -> None:
        """See to a guest that is on its way from here. ``wake`` is called once that has ended."""
        ...

    async def leave_behind(self, machine: VirtualMachine, domain: DomainInfo) -> None:
        """Remove what is here of a guest that went away: its definition, its volumes."""
        ...

    def movable(self, machine: VirtualMachine, domain: DomainInfo) -> Movable:
        """Of a guest that runs here."""
        ...

    def stage(self, machine: VirtualMachine, operation: VirtualMachineOperation) -> Stage:
        """How far the operation is, which moves the machine's guest."""
        ...

    async def close(self) -> None:
        """Leave what goes on to the next daemon."""
        ...
