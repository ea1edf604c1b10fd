"""A machine's tap in its Pod's network namespace, and this host's way to it.

libvirt opens a tap by its name in its own namespace, so it is made on the host, without address and down, and
moved once QEMU has it: what is open stays open. In the Pod the machine keeps its own address, and the Pod routes
between its eth0 and the tap; the host sends the address to the Pod's, and what is for the Pod's goes to the
machine. The tap goes with the Pod. Rules that somebody flushes there are mended with the next look: the kernel
counts their generations.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from hyperd.clock import elapsed
from hyperd.errors import TemporaryError
from hyperd.network import nft, rtnl
from hyperd.network.filters import Filter
from hyperd.network.kinds.routed import card, inside, policy, taps, unmasked
from hyperd.network.kinds.routed.taps import Routing, TapSpec
from hyperd.network.rtnl import Netlink
from hyperd.settings import NetworkSettings

_MAIN_TABLE = 254
_LOOK_SECONDS = 60.0
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_THIS_NETWORK = "/proc/thread-self/ns/net"


@dataclass(frozen=True)
class _Furnished:
    """In which network a tap has its rules, and for what."""

    network: str
    index: int
    spec: TapSpec
    pod: IPv4Address
    allowed: Filter | None
    host: frozenset[IPv4Address]


class PodLinks:
    """Blocking; called in worker threads. Methods raise OSError, PermanentError where a name is another's."""

    def __init__(self, settings: NetworkSettings, *, instance: str) -> None:
        self._table, self._protocol = settings.route_table, settings.route_protocol
        self._ranges = settings.virtual_machine_cidrs
        self._routing = Routing(
            instance=instance,
            table=_MAIN_TABLE,
            protocol=settings.route_protocol,
            mac=settings.gateway_mac.lower(),
        )
        self._met: frozenset[IPv4Address] | None = None
        """The Pods of all machines; None: not known yet."""
        self._unmasked: dict[IPv4Address, IPv4Address] = {}
        """Machines that ask, and are asked, under everybody's own addresses, with their Pods', and since when."""
        self._unmasked_at = 0.0
        self._furnished: dict[str, tuple[_Furnished, int]] = {}
        """What holds since this daemon's start for taps, and of which generation the Pod's rules were then."""

    def prepare(self, nl: Netlink, spec: TapSpec) -> None:
        """On the host: have the tap there for libvirt to open."""
        taps.find_own(nl, spec, self._routing, make=True)

    def move(self, nl: Netlink, spec: TapSpec, network: Path) -> None:
        """On the host: hand the tap over to the Pod's namespace. Nothing happens where it is not here."""
        link = taps.find_own(nl, spec, self._routing, make=False)
        if link is not None:
            descriptor = os.open(network, os.O_RDONLY | os.O_CLOEXEC)
            try:
                rtnl.move_link(nl, link.index, descriptor)
            finally:
                os.close(descriptor)

    def ensure(
        self,
        nl: Netlink,
        spec: TapSpec,
        pod: IPv4Address,
        allowed: Filter | None,
        host: frozenset[IPv4Address],
    ) -> None:
        """In the Pod, whose address is ``pod``: the tap, its gateway's address, the machine's route, forwarding.

        The guest's card is held to its addresses, and what comes to it and leaves it to what is ``allowed``,
        before the tap is up; one that is up while nobody knows that keeps what was. ``host`` are this host's
        addresses.
        """
        link = taps.find_own(nl, spec, self._routing, make=False)
        if link is None:
            raise TemporaryError(f"Network device {spec.name} is not in the Pod; the guest has no link.")
        if _FORWARDING.read_text().strip() != "1":
            _FORWARDING.write_text("1")
        wanted = _Furnished(os.readlink(_THIS_NETWORK), link.index, spec, pod, allowed, host)
        before = nft.generation()
        if self._furnished.get(spec.name) != (wanted, before):
            instance = self._routing.instance
            filtered = "" if allowed is None else policy.script(instance, spec.name, allowed, host)
            card.run(
                card.script(instance, spec.name, spec.mac, spec.address)
                + inside.script(instance, spec.name, spec.address, pod)
                + filtered
            )
            # One more than before: by another number somebody else has changed something meanwhile.
            self._furnished[spec.name] = wanted, before + 1
        if allowed is not None or link.up:
            taps.ensure(nl, spec, self._routing)

    @property
    def tells_apart(self) -> bool:
        """Whether who asks by this host is not taken for the host itself."""
        return self._met is not None

    def holds(self, spec: TapSpec, allowed: Filter) -> bool:
        """In the Pod: whether its rules are those that were made for the tap and what is ``allowed``."""
        made = self._furnished.get(spec.name)
        if made is None or bool(made[0].host) is not self.tells_apart:
            return False
        return made[0].allowed == allowed and made[1] == nft.generation()

    def lead(self, nl: Netlink, address: IPv4Address, pod: IPv4Address) -> None:
        """On the host: send the machine's address to the Pod's."""
        rtnl.add_gateway_route(nl, address, pod, table=self._table, protocol=self._protocol)
        if self._met is None:
            return  # what an earlier daemon made stays
        if self._unmasked.get(address) != pod or elapsed() - self._unmasked_at > _LOOK_SECONDS:
            self._unmask(nl)

    def remove(self, nl: Netlink, name: str, address: IPv4Address | None) -> None:
        """On the host: a tap that was never moved, and the machine's way."""
        self._furnished.pop(name, None)
        taps.remove(nl, name, self._routing.instance)
        if address is not None:
            self._end_way(nl, address)

    def tidy(self, nl: Netlink, pods: frozenset[IPv4Address]) -> None:
        """On the host: no way leads to a Pod that is none of ``pods``, which are all of this node.

        Ways of this table and protocol through a gateway are those to Pods of this node, and no others: ways to
        machines on other nodes have another protocol.
        """
        for route in rtnl.routes(nl, self._table, protocol=self._protocol):
            if route.gateway is not None and route.gateway not in pods:
                self._end_way(nl, route.destination.network_address)

    def meet(self, nl: Netlink, pods: frozenset[IPv4Address]) -> None:
        """On the host: these are the Pods of all machines, on whatever hosts."""
        if self._met != pods:
            self._met, before = pods, self._met
            try:
                self._unmask(nl)
            except BaseException:
                self._met = before
                raise

    def _end_way(self, nl: Netlink, address: IPv4Address) -> None:
        rtnl.delete_gateway_route(nl, address, table=self._table, protocol=self._protocol)
        if address in self._unmasked:
            self._unmask(nl)

    def _unmask(self, nl: Netlink) -> None:
        """By the ways that there are: those of an earlier daemon count as well."""
        ways = rtnl.routes(nl, self._table, protocol=self._protocol)
        led = {route.destination.network_address: route.gateway for route in ways if route.gateway is not None}
        unmasked.ensure(self._routing.instance, led, self._met or (), self._ranges)
        self._unmasked, self._unmasked_at = led, elapsed()
