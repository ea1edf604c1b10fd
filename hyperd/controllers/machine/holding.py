"""Who holds a machine: a record with an epoch, how it may change, and what it lets a node do.

``status.holder`` names the node that holds the machine, and an epoch: a fencing token that is another one with
each holder. The domain's metadata carries the epoch under which it was made. A record below its own domain's is
from before: a store that was put back, or a status that somebody forged. It is refused, and nothing is done to the
guest.

Everything here is pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_status import Holder


class Holding(StrEnum):
    """Who holds a machine, as one node sees it."""

    NONE = "none"
    """Nobody does, or not whom it is bound to: who it is bound to may take it."""
    MINE = "mine"
    OUTGOING = "outgoing"
    """This node has the guest, which is on its way to another."""
    INCOMING = "incoming"
    """Another node has the guest, which is on its way here."""
    THEIRS = "theirs"


class Act(StrEnum):
    """What a node may do to what it has of a machine."""

    START = "start"
    """Define the domain, and start it."""
    END = "end"
    """End the guest, or ask it to end."""
    REMOVE = "remove"
    """Remove the definition, with all that the machine has on this node."""
    YIELD = "yield"
    """End what still runs here though the machine is another node's."""
    DELETE_VOLUME = "delete-volume"
    """Remove the volume of a deleted disk, which this node keeps and the machine names."""


class Epoch(StrEnum):
    """How the record's epoch is to the domain's."""

    BELOW = "below"
    EQUAL = "equal"
    ABOVE = "above"


PERMITTED: Final[Mapping[Holding, frozenset[Act]]] = {
    Holding.NONE: frozenset({Act.DELETE_VOLUME}),
    Holding.MINE: frozenset({Act.START, Act.END, Act.REMOVE, Act.DELETE_VOLUME}),
    Holding.OUTGOING: frozenset(),  # what ends a guest in flight is the end of its migration
    Holding.INCOMING: frozenset(),
    Holding.THEIRS: frozenset({Act.YIELD, Act.DELETE_VOLUME}),
}
"""By a record that is not below the domain's epoch; one that is permits nothing."""


class Step(StrEnum):
    """What a change of the record does to its epoch."""

    SAME = "same"
    NEXT = "next"


TRANSITIONS: Final[Mapping[tuple[Holding, Holding], Step]] = {
    (Holding.NONE, Holding.MINE): Step.NEXT,
    (Holding.MINE, Holding.OUTGOING): Step.SAME,
    (Holding.OUTGOING, Holding.MINE): Step.SAME,
    (Holding.OUTGOING, Holding.THEIRS): Step.NEXT,
    (Holding.THEIRS, Holding.INCOMING): Step.SAME,
    (Holding.INCOMING, Holding.THEIRS): Step.SAME,
    (Holding.INCOMING, Holding.MINE): Step.NEXT,
}
"""What a node may write. The epoch changes exactly where the guest's node does; who loses it so never writes."""


@dataclass(frozen=True)
class Record:
    """``status.holder``. ``epoch`` is 0 and ``node`` empty where there is none, as before there were records."""

    epoch: int = 0
    node: str = ""
    to: str = ""
    """The node that the guest is on its way to; empty while it goes nowhere."""
    operation: str = ""
    """The uid of the operation by which it goes."""
    lost: bool = False
    """The node was given up for dead: nobody holds the machine, and a guest that is left there is not its."""
    fenced: bool = False
    """The node's watchdog ends the guest where the node is cut off."""


@dataclass(frozen=True)
class Standing:
    """What one node makes of a record."""

    record: Record
    holding: Holding
    epoch: Epoch

    @property
    def refused(self) -> bool:
        """Whether the record is from before the domain that is here."""
        return self.epoch is Epoch.BELOW

    def permits(self, act: Act) -> bool:
        return not self.refused and act in PERMITTED[self.holding]


class NotPermitted(ValueError):
    """A change of the record that no node may make."""


def read(machine: VirtualMachine) -> Record:
    """The record of a machine; that of a status from before there were records is empty."""
    found = (machine.get("status") or {}).get("holder")
    if not found:
        return Record()
    return Record(
        found["epoch"],
        found["node"],
        found.get("to") or "",
        found.get("operation") or "",
        lost=found.get("lost") is True,
        fenced=found.get("fenced") is True,
    )


def shown(record: Record) -> Holder:
    """The record as it stands in a status."""
    made: Holder = {"epoch": record.epoch, "node": record.node}
    if record.to:
        made["to"] = record.to
    if record.operation:
        made["operation"] = record.operation
    if record.lost:
        made["lost"] = True
    if record.fenced:
        made["fenced"] = True
    return made


def given_up(record: Record, node: str) -> Record:
    """The record once ``node``, to which the machine is bound, is proven dead: the leader's to write alone.

    Its epoch is above every domain's there, which was told no other than the record's.
    """
    return Record(record.epoch + 1, node, lost=True)


def judge(record: Record, *, bound: str, me: str, domain: int | None) -> Standing:
    """What the node ``me`` makes of the record of a machine that is bound to the node ``bound`` (empty: to none).

    ``domain`` is the epoch of the domain that is here, 0 for one from before there were epochs, None without one.
    """
    holding = _holding(record, bound, me)
    if domain is None or (holding is Holding.NONE and not record.epoch):
        # Where nobody ever took it there is nothing that could be out of date.
        return Standing(record, holding, Epoch.ABOVE if record.epoch else Epoch.EQUAL)
    relation = Epoch.BELOW if record.epoch < domain else Epoch.ABOVE if record.epoch > domain else Epoch.EQUAL
    return Standing(record, holding, relation)


def _holding(record: Record, bound: str, me: str) -> Holding:
    if record.lost:
        # What is unbound yet is nobody's to take: the leader looks for a node.
        return Holding.NONE if bound == me else Holding.THEIRS
    if record.to and record.node == me:
        return Holding.OUTGOING
    if record.to == me:
        return Holding.INCOMING
    if bound not in ("", me):
        return Holding.THEIRS
    return Holding.MINE if bound == record.node == me else Holding.NONE


def change(standing: Standing, after: Holding, *, me: str, peer: str = "", domain: int | None = None) -> Record:
    """The record by which the node ``me`` makes it ``after``; ``peer`` is the other node, where there is one.

    Raises NotPermitted. An epoch that is another one is above that of the ``domain`` here too, whoever forgot it.
    """
    before, record = standing.holding, standing.record
    step = TRANSITIONS.get((before, after))
    if step is None or standing.refused:
        raise NotPermitted(f"{before} → {after} at epoch {record.epoch} ({standing.epoch} the domain's)")
    epoch = record.epoch if step is Step.SAME else max(record.epoch, domain or 0) + 1
    if after is Holding.MINE:
        return Record(epoch, me)
    if not peer:
        raise NotPermitted(f"{before} → {after} names no other node")
    if after is Holding.OUTGOING:
        return Record(epoch, me, to=peer)
    return Record(epoch, peer, to=me if after is Holding.INCOMING else "")
