"""What may come to a machine and leave it: two directions, each by addresses, protocols and ports.

A direction says nothing of how many rules it was made from: ports are cut into ranges that do not overlap, each
with one set of addresses, so that a packet costs two look-ups however many rules there are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Final

from hyperd.network import spans
from hyperd.network.spans import Spans

LAST_PORT: Final = (1 << 16) - 1
MOST: Final = 1 << 16
"""Ranges of addresses in one direction. Whoever has more of them has none: nothing is let through."""
_MOST_WORK: Final = 1 << 19
"""Ranges that may be looked at for one direction."""


class Protocol(StrEnum):
    """Those that have ports."""

    TCP = "tcp"
    UDP = "udp"
    SCTP = "sctp"


class TooLarge(Exception):
    """What is allowed is more than a node can hold for one machine."""


@dataclass(frozen=True, slots=True)
class Grant:
    """``peers`` may be spoken with: by any protocol, or by one on the ports from ``first`` to ``last``."""

    peers: Spans
    protocol: Protocol | None = None
    first: int = 0
    last: int = LAST_PORT


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of one protocol on which ``peers`` may be spoken with."""

    first: int
    last: int
    peers: Spans


Target = tuple[int, Protocol, int]
"""An address, and a port of it."""


@dataclass(frozen=True, slots=True)
class Direction:
    """What is let through: all else is not."""

    peers: Spans = ()
    """Those with which anything goes."""
    ports: Mapping[Protocol, tuple[Ports, ...]] = field(default_factory=dict)
    """Sorted, and apart."""
    targets: Mapping[Target, bool] = field(default_factory=dict)
    """Of these it is this that says whether they are let through: where they lead to is another address."""

    @classmethod
    def of(cls, grants: Iterable[Grant]) -> Direction:
        """Raises TooLarge."""
        together: dict[tuple[Protocol | None, int, int], list[tuple[int, int]]] = defaultdict(list)
        for grant in grants:
            # With one that may all no port is asked for.
            together[grant.protocol, grant.first, grant.last].extend(grant.peers)
        peers = spans.united(together.pop((None, 0, LAST_PORT), ()))
        by_protocol: dict[Protocol, list[Ports]] = defaultdict(list)
        for (protocol, first, last), some in together.items():
            if protocol is not None:
                by_protocol[protocol].append(Ports(first, last, spans.united(some)))
        made = {protocol: _apart(ports) for protocol, ports in by_protocol.items()}
        if len(peers) + sum(len(one.peers) for ports in made.values() for one in ports) > MOST:
            raise TooLarge
        return cls(peers, {protocol: ports for protocol, ports in made.items() if ports})

    def lets(self, address: int, protocol: Protocol | None, port: int = 0) -> bool:
        """Whether that is let through, as far as ``targets`` does not say."""
        if spans.holds(self.peers, address):
            return True
        ports = self.ports.get(protocol, ()) if protocol is not None else ()
        at = bisect_right(ports, port, key=lambda one: one.first) - 1
        return at >= 0 and port <= ports[at].last and spans.holds(ports[at].peers, address)

    @property
    def is_open(self) -> bool:
        return self.peers == spans.EVERY and not self.targets


@dataclass(frozen=True, slots=True)
class Filter:
    """None: everything is let through."""

    arriving: Direction | None = None
    leaving: Direction | None = None


OPEN: Final = Filter()
SHUT: Final = Direction()


def _apart(ports: list[Ports]) -> tuple[Ports, ...]:
    """The same with ranges of ports that do not overlap. Raises TooLarge."""
    cuts = sorted({one.first for one in ports} | {one.last + 1 for one in ports})
    waiting, active, work = sorted(ports, key=lambda one: one.first), list[Ports](), 0
    waiting.reverse()
    found: list[Ports] = []
    for first, behind in pairwise(cuts):
        active = [one for one in active if one.last >= first]
        while waiting and waiting[-1].first == first:
            active.append(waiting.pop())
        work += 1 + sum(len(one.peers) for one in active) + len(active)
        if work > _MOST_WORK:
            raise TooLarge
        peers = spans.united(span for one in active for span in one.peers)
        if found and found[-1].last + 1 == first and found[-1].peers == peers:
            found[-1] = Ports(found[-1].first, behind - 1, peers)
        elif peers:
            found.append(Ports(first, behind - 1, peers))
    return tuple(found)
