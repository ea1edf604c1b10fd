"""What a network is to the rest of the house: a machine is linked to it before its guest starts, until it is off.

A link is known by its machine's uid, and what it is made of by its kind of network alone: that gives the guest's
card, which is all that the hypervisor gets. What exists is found in the host itself, so that each call may be
repeated after a crash, and again and again: it mends what is missing and touches nothing that is right.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import ClassVar, Protocol

from hyperd.network.connections import Connection
from hyperd.network.filters import Filter
from hyperd.network.place import Place
from hyperd.resources.kinds.virtual_machine import NetworkType
from hyperd.settings import Settings


@dataclass(frozen=True, slots=True)
class Link:
    """One machine's place in one network, by its entry in ``spec.networks``.

    ``index`` numbers the machine's cards from 0, which is the main network's. ``address`` is what the guest is to
    have there; other networks than the main one may give none. ``name`` is a network's, where a type has several.
    """

    uid: str
    hostname: str
    address: IPv4Address | None = None
    type: NetworkType = NetworkType.MAIN
    name: str = ""
    index: int = 0
    namespace: str = ""
    mac: str = ""
    """Of the card, where the network's kind does not give it one itself."""


@dataclass(frozen=True, slots=True)
class Card:
    """A guest's network card, and the tap that it is plugged into."""

    tap: str
    mac: str
    mtu: int


class Network(Protocol):
    """All networks of this node, whatever kind they are: what controllers hold.

    Methods raise TemporaryError where trying again may help, and PermanentError where what is another's is in the
    way; both name the device.
    """

    @property
    def serves(self) -> Collection[NetworkType]:
        """The types in ``spec.networks`` that a machine gets a card for."""
        ...

    async def start(self) -> None:
        """At the daemon's start: make what all links share, remove what is stale."""
        ...

    async def close(self) -> None:
        """Stop answering guests; links stay, and guests go on."""
        ...

    def card(self, link: Link) -> Card | None:
        """What the guest gets for a link; None where it can get none, as outside of the configured ranges."""
        ...

    def house(self, uid: str, place: Place | None) -> None:
        """Have the machine's links be in ``place`` from now on; None: where that is is not known now.

        Then a link is not looked at. One connected for a start is on this host until ``settle``. Networks that
        have nothing in places pass over it.
        """
        return

    async def settle(self, uid: str) -> None:
        """Have the links be where the machine is housed: its hypervisor has opened them."""
        return

    async def guard(self, uid: str, allowed: Filter | None) -> None:
        """Let through what the filter says, into and out of the machine's link to the main network, and no more.

        Of one that is in a place, which stays shut until that is said; None: of no machine here. What was begun
        while it was let through goes on. Networks that have nothing in places pass over it.
        """
        return

    async def meet(self, pods: Collection[IPv4Address]) -> None:
        """Have machines of this node ask these, and be asked there, under their own addresses.

        They are the Pods of all machines, on whatever nodes.
        """
        return

    async def connections(self, uid: str) -> Sequence[Connection]:
        """What the guest has begun, and others with it, before it goes on elsewhere; of a guarded link."""
        return ()

    async def take_over(self, uid: str, connections: Sequence[Connection]) -> None:
        """Have what was begun where a guest comes from go on here. Nothing to do is fine."""
        return

    async def tidy(self, places: Collection[IPv4Address]) -> None:
        """Remove what leads to places that are no more; these are the addresses of all that are on this node."""
        return

    async def lead(self, ways: Mapping[IPv4Address, IPv4Address]) -> None:
        """Have machines on other nodes be reached: their addresses, and those of their nodes; these are all."""
        return

    async def lacks(self, link: Link) -> str:
        """Why the machine can have no such link on this node, a sentence; empty if it can."""
        return ""

    async def connect(self, link: Link, *, starting: bool = False) -> None:
        """Make sure of the link. Nothing happens for one without a card.

        ``starting``: before the guest starts, so that it learns what has changed on the node by now.
        """
        ...

    async def disconnect(self, uid: str) -> None:
        """Remove all links of a machine that is off. Nothing happens when there is none."""
        ...

    async def keep_only(self, uid: str, links: Collection[Link]) -> None:
        """Remove the links of a machine that runs to other networks than these, and never that to the main one."""
        return

    async def inventory(self) -> Sequence[str]:
        """The uids of machines that have a link, whoever they are; what is ours by its mark alone, too."""
        ...

    async def leave(self) -> None:
        """Remove all that is on this host. Raises PermanentError while machines have links."""
        return

    async def routed(self) -> Sequence[tuple[str, IPv4Address]]:
        """(uid, address) of what this node sends to a machine."""
        ...


class NetworkKind(Network, Protocol):
    """One kind of network, which serves types of its own."""

    TYPES: ClassVar[frozenset[NetworkType]]

    @property
    def serves(self) -> Collection[NetworkType]:
        return self.TYPES

    def __init__(self, settings: Settings, place: Place) -> None:
        """All that it makes is made in ``place``."""
        ...
