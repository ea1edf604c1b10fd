"""The host's side of VM networks: one routed tap a VM, its gateway address, its host route.

Taps are found again by ``ifalias`` (``hyperd:<instance>:<uid>``), routes by the tap they leave through. All
methods are idempotent; the kernel is the only memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Concatenate, ParamSpec, TypeVar

from hyperd.errors import TemporaryError
from hyperd.network import conntrack, rtnl
from hyperd.network.connections import Connection
from hyperd.network.filters import OPEN, SHUT, Filter
from hyperd.network.kinds.routed import card, far, nat, ranges, taps, unmasked
from hyperd.network.kinds.routed.podded import PodLinks
from hyperd.network.kinds.routed.taps import OwnedTap, Routing, TapSpec
from hyperd.network.place import THIS_HOST, Place
from hyperd.network.rtnl import Netlink
from hyperd.settings import NetworkSettings

__all__ = ["HostNetwork", "OwnedTap", "TapSpec"]

P = ParamSpec("P")
T = TypeVar("T")


class HostNetwork:
    """Taps, routes and rules of one instance.

    Methods raise TemporaryError with a sentence that names the device, and PermanentError when a device of that
    name is another's. Guests reach each other and the host; the way out is the administrator's routing, or NAT.
    A place has taps, routes and rules of its own; where one is named, all of a method happens there.
    """

    def __init__(self, settings: NetworkSettings, *, instance: str) -> None:
        self._settings = settings
        self._instance = instance
        self._routing = Routing(
            instance=instance,
            table=settings.route_table,
            protocol=settings.route_protocol,
            mac=settings.gateway_mac.lower(),
        )
        self._pods = PodLinks(settings, instance=instance)
        self._held: dict[str, tuple[int, TapSpec]] = {}
        """Taps that nft holds to their guests' addresses since this daemon's start: which device, and to what."""
        self._making = asyncio.Lock()

    async def start(self, place: Place = THIS_HOST) -> None:
        """Make the rules and blackholes of the CIDRs, and NAT where it is asked for; remove stale ones."""
        await _job("routing of the VM ranges", place, self._ensure_ranges)
        await _job("network devices", place, self._forget_cards)
        if self._settings.nat:
            await nat.ensure(self._instance, self._settings.virtual_machine_cidrs, place)
        else:
            await nat.remove(self._instance, place)

    async def ensure_tap(self, spec: TapSpec, place: Place = THIS_HOST) -> None:
        """Make the tap, its gateway address and its host route as ``spec`` says; touch nothing that is right.

        Mends the ranges' rules and blackholes too: called again and again, it keeps the whole path in order.
        """
        async with self._making:
            await _job(f"network device {spec.name}", place, self._ensure_tap, spec)

    async def remove_tap(self, name: str, place: Place = THIS_HOST) -> None:
        """Remove a tap of this instance with all that hangs on it. Nothing happens when there is none."""
        await _job(f"network device {name}", place, self._remove_tap, name)

    async def prepare(self, spec: TapSpec, place: Place | None) -> None:
        """Have the tap of a machine in a Pod on this host, where libvirt opens it, and not an earlier guest's."""
        if place is not None and place.network is not None:
            await self.remove_tap(spec.name, place)
        await _job(f"network device {spec.name}", THIS_HOST, self._pods.prepare, spec)

    async def ensure_in_pod(self, spec: TapSpec, place: Place, allowed: Filter | None) -> None:
        """Have the tap, which libvirt has opened, in its Pod, and the machine's address lead there.

        It comes up once it is known what is ``allowed``; then that holds. Mends the ranges' rules and blackholes
        of this host too.
        """
        if place.network is None or place.address is None:
            return
        subject = f"network device {spec.name}"
        async with self._making:
            await _job("routing of the VM ranges", THIS_HOST, self._ensure_ranges)
            await _job(subject, THIS_HOST, self._pods.move, spec, place.network)
            host = await _job("addresses of this host", THIS_HOST, rtnl.all_addresses)
            host = host if self._pods.tells_apart else frozenset()
            await _job(subject, place, self._pods.ensure, spec, place.address, allowed, host)
            if place.leads:
                await _job(subject, THIS_HOST, self._pods.lead, spec.address, place.address)

    async def holds(self, spec: TapSpec, place: Place, allowed: Filter) -> bool:
        """Whether the rules in the Pod were made for that, and nobody has changed them since."""
        try:
            return await place.run(self._pods.holds, spec, allowed)
        except OSError:
            return False

    async def shut_in_pod(self, spec: TapSpec, place: Place, allowed: Filter) -> None:
        """Where what is allowed could not be made to hold: have nothing pass where it is not everything."""
        shut = Filter(None if allowed.arriving is None else SHUT, None if allowed.leaving is None else SHUT)
        if shut not in (OPEN, allowed):
            await self.ensure_in_pod(spec, place, shut)

    async def connections(self, spec: TapSpec, place: Place) -> list[Connection]:
        """What the kernel knows of the machine's, in its Pod."""
        return await _job(f"network device {spec.name}", place, lambda _: conntrack.known(spec.address))

    async def take_over(self, spec: TapSpec, place: Place, some: Sequence[Connection]) -> None:
        """Have the kernel know these in the machine's Pod."""
        await _job(f"network device {spec.name}", place, lambda _: conntrack.learn(some))

    async def meet(self, pods: frozenset[IPv4Address]) -> None:
        """Have machines of this host ask these Pods, of machines on whatever hosts, under their own addresses."""
        async with self._making:
            await _job("addresses of machines", THIS_HOST, self._pods.meet, pods)

    async def remove_from_pod(self, name: str, address: IPv4Address | None) -> None:
        """Remove what this host has of such a machine; what is in the Pod goes with it."""
        await _job(f"network device {name}", THIS_HOST, self._pods.remove, name, address)

    async def tidy(self, pods: frozenset[IPv4Address]) -> None:
        """Remove the ways to Pods that are no more; ``pods`` are those of this node."""
        await _job("routes to Pods", THIS_HOST, self._pods.tidy, pods)

    async def inventory(self, place: Place = THIS_HOST) -> list[OwnedTap]:
        """All taps of this instance."""
        return await _job("network devices", place, taps.inventory, self._instance)

    async def routed(self, place: Place = THIS_HOST) -> list[tuple[str, IPv4Address]]:
        """(uid, address) of what is routed to a tap of this instance."""
        _, table, protocol = self._where()
        return await _job("routes to taps", place, taps.routed, self._instance, table, protocol)

    async def remove_all(self, place: Place = THIS_HOST) -> None:
        """Remove every trace of this instance: taps, routes, rules, NAT. What is in Pods goes with them."""
        for tap in await self.inventory(place):
            await self.remove_tap(tap.name, place)
        cidrs, table, protocol = self._where()
        await far.remove_all(self._settings, place)
        await _job("routes to Pods", place, self._pods.tidy, frozenset[IPv4Address]())
        await _job("routing of the VM ranges", place, ranges.remove, cidrs, table=table, protocol=protocol)
        await nat.remove(self._instance, place)
        await place.run(card.keep_only, self._instance, ())
        await place.run(unmasked.remove, self._instance)

    def mend_ranges(self) -> None:
        """Have rules and blackholes of the ranges where the calling thread is. Blocking; raises OSError."""
        cidrs, table, protocol = self._where()
        with rtnl.opened() as nl:
            ranges.ensure(nl, cidrs, table=table, protocol=protocol)

    def _ensure_ranges(self, nl: Netlink) -> None:
        cidrs, table, protocol = self._where()
        ranges.remove_stale(nl, cidrs, table=table, protocol=protocol)
        ranges.ensure(nl, cidrs, table=table, protocol=protocol)

    def _ensure_tap(self, nl: Netlink, spec: TapSpec) -> None:
        cidrs, table, protocol = self._where()
        ranges.ensure(nl, cidrs, table=table, protocol=protocol)
        if card.is_let_loose():
            self._hold(taps.make(nl, spec, self._routing), spec)
        taps.ensure(nl, spec, self._routing)

    def _hold(self, tap: rtnl.Link, spec: TapSpec) -> None:
        if self._held.get(spec.name) != (tap.index, spec):
            card.hold(self._instance, spec.name, spec.mac, spec.address)
            self._held[spec.name] = (tap.index, spec)

    def _remove_tap(self, nl: Netlink, name: str) -> None:
        taps.remove(nl, name, self._instance)
        if self._held.pop(name, None) is not None:
            self._forget_cards(nl)

    def _forget_cards(self, nl: Netlink) -> None:
        """What holds taps that are no more."""
        card.keep_only(self._instance, [tap.name for tap in taps.inventory(nl, self._instance)])

    def _where(self) -> tuple[tuple[IPv4Network, ...], int, int]:
        settings = self._settings
        return settings.virtual_machine_cidrs, settings.route_table, settings.route_protocol


async def _job(
    subject: str, place: Place, work: Callable[Concatenate[Netlink, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Do ``work`` in a thread in ``place``, with a socket of its own."""

    def run() -> T:
        with rtnl.opened() as nl:
            return work(nl, *args, **kwargs)

    try:
        return await place.run(run)
    except OSError as error:
        raise TemporaryError(
            f"The {subject} cannot be set up: {error.strerror or error}. The daemon tries again.",
            key="NetworkNotReady",
        ) from error
