"""The ways to machines on other nodes in this host's table, as they are to be and as they are. Blocking.

They have a protocol number and a metric of their own. The metric lies between that of a machine's way on this host
and that of the blackhole: where a machine is both here and there, here counts.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hyperd.network.routes import messages
from hyperd.network.routes.channel import Channel
from hyperd.network.routes.messages import Hop, Kind, Message, Route

_log = logging.getLogger(__name__)
_METRIC: Final = 50
_TO_BE_READ = (0, 253, 254, 255)
"""Tables by which the host reaches nodes."""

Ways = Mapping[bytes, bytes]
"""The address of a machine → that of its node; neither is ever one of this host."""


class Ranges:
    """Of addresses, as numbers; what is of others in the table lies outside of them."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        """First and last of each."""
        self._ranges = tuple(ranges)

    def has(self, address: bytes) -> bool:
        number = int.from_bytes(address, "big")
        return any(first <= number <= last for first, last in self._ranges)


class WayTable:
    """``look`` finds everything out and mends it; ``follow`` and ``hear`` do what has changed since."""

    def __init__(self, channel: Channel, *, table: int, protocol: int, ranges: Ranges) -> None:
        self._channel = channel
        self._table, self._protocol = table, protocol
        self._ranges = ranges
        self._ways: Ways = {}
        self._hops: dict[bytes, Hop | None] = {}
        """How nodes are reached; None: not now."""
        self._told = ""
        self.unsure = False
        """Whether something failed, so that a look is to follow."""

    def look(self, ways: Ways) -> None:
        """Have all be as ``ways`` says, whatever there is. Raises OSError."""
        self._ways, self.unsure = ways, False
        self._hops = {node: self._channel.way(node) for node in set(ways.values())}
        there = {}
        stale: list[Route] = []
        for route in self._channel.routes(self._table, self._protocol):
            if not self._ranges.has(route.destination):
                continue
            if (route.length, route.priority) == (32, _METRIC) and route.destination in ways:
                there[route.destination] = Hop(route.gateway, route.device)
            else:
                stale.append(route)
        self._put(address for address in ways if there.get(address) != self._hops[ways[address]])
        lost = [address for address in there if self._hops[ways[address]] is None]
        self._remove(lost, _METRIC)
        for route in stale:
            if route.length == 32:
                self._remove([route.destination], route.priority)

    def follow(self, ways: Ways) -> None:
        """Have what differs from before be as ``ways`` says. Raises OSError."""
        before, self._ways = self._ways, ways
        for node in set(ways.values()) - self._hops.keys():
            self._hops[node] = self._channel.way(node)
        self._put(address for address, _ in ways.items() - before.items())
        gone = [address for address in before if address not in ways or self._hops[ways[address]] is None]
        self._remove(gone, _METRIC)

    def hear(self, heard: Sequence[Message]) -> tuple[bool, bool]:
        """Mend at once what others have broken; whether a look is due, and whether rules and blackholes are.

        Raises OSError.
        """
        look, shared, roads = False, False, False
        broken: dict[bytes, None] = {}
        devices = {hop.device for hop in self._hops.values() if hop is not None}
        for message in heard:
            if message.kind in (Kind.NEW_LINK, Kind.DELETE_LINK):
                # Routes go with their device, and nothing tells of them.
                look = look or None in self._hops.values() or messages.device_of(message.body) in devices
                continue
            route = messages.route(message.body)
            if route is None:
                continue
            if message.kind == Kind.DELETE_RULE:
                shared = shared or route.table == self._table
            elif route.table != self._table:
                roads = roads or route.table in _TO_BE_READ
            elif message.kind == Kind.DELETE_ROUTE and route.type == messages.BLACKHOLE:
                shared = shared or self._ranges.has(route.destination)
            elif self._is_broken(message.kind, route):
                broken[route.destination] = None
        if broken:
            self._put(broken)
        return look or (roads and self._is_elsewhere()), shared

    def _is_broken(self, kind: int, route: Route) -> bool:
        node = self._ways.get(route.destination)
        if node is None or (route.length, route.priority) != (32, _METRIC):
            return False
        if kind == Kind.DELETE_ROUTE:
            return route.protocol == self._protocol
        return kind == Kind.NEW_ROUTE and (route.protocol, Hop(route.gateway, route.device)) != (
            self._protocol,
            self._hops.get(node),
        )

    def _is_elsewhere(self) -> bool:
        """Whether some node is reached by another way than before."""
        return any(self._channel.way(node) != hop for node, hop in self._hops.items())

    def _put(self, addresses: Iterable[bytes]) -> None:
        wanted = [(address, self._hops[self._ways[address]]) for address in addresses]
        reached = [(address, hop) for address, hop in wanted if hop is not None]
        self._tell(self._change(Kind.NEW_ROUTE, reached, _METRIC))

    def _remove(self, addresses: Sequence[bytes], priority: int) -> None:
        failed = self._change(Kind.DELETE_ROUTE, [(address, None) for address in addresses], priority)
        self._tell([one for one in failed if one[1] != errno.ESRCH])

    def _change(
        self, kind: Kind, changes: Sequence[tuple[bytes, Hop | None]], priority: int
    ) -> list[tuple[bytes, int]]:
        return self._channel.change(kind, changes, table=self._table, protocol=self._protocol, priority=priority)

    def _tell(self, failed: Sequence[tuple[bytes, int]]) -> None:
        if not failed:
            return
        self.unsure = True
        address, number = failed[0]
        told = (
            f"The way to the machine at {'.'.join(map(str, address))} cannot be made: {os.strerror(number)}. "
            f"It is tried again{f', as are {len(failed) - 1} others' if len(failed) > 1 else ''}."
        )
        if told != self._told:
            self._told = told
            _log.warning("%s", told)
