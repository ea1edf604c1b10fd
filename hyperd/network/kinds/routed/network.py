"""The main network: each machine on a routed tap of its own, which is told its address by DHCP."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Address
from typing import ClassVar

from hyperd.background import end_all
from hyperd.errors import HyperdError
from hyperd.network import addresses, resolvers
from hyperd.network.connections import Connection
from hyperd.network.dhcp.server import DhcpServer, Lease
from hyperd.network.filters import OPEN, Filter
from hyperd.network.interface import Card, Link, NetworkKind
from hyperd.network.kinds.routed import far
from hyperd.network.kinds.routed.host import HostNetwork, TapSpec
from hyperd.network.place import Place
from hyperd.resources.kinds.virtual_machine import NetworkType
from hyperd.settings import Settings


class RoutedNetwork(NetworkKind):
    """Links are taps; without an address in the configured ranges there is none."""

    TYPES: ClassVar = frozenset({NetworkType.MAIN})

    def __init__(self, settings: Settings, place: Place) -> None:
        self._settings = settings.network
        self._place = place
        self._host = HostNetwork(settings.network, instance=settings.instance)
        self._dhcp = DhcpServer()
        self._housed: dict[str, Place | None] = {}
        """Where machines are that are not on this host itself, by uid; None: not known now."""
        self._starting: dict[str, Link] = {}
        """Links of such machines that libvirt is to open, or has."""
        self._addresses: dict[str, IPv4Address] = {}
        """What leads to such machines."""
        self._settled: dict[str, TapSpec] = {}
        """Their taps, once those are where they belong, or may be."""
        self._filters: dict[str, Filter] = {}
        self._dns: tuple[IPv4Address, ...] | None = None
        self._far = far.keeper(settings.network, place, self._host.mend_ranges)

    async def start(self) -> None:
        await self._host.start(self._place)

    async def close(self) -> None:
        await end_all((("the ways to other nodes", self._far.close), ("DHCP", self._dhcp.close)))

    async def lead(self, ways: Mapping[IPv4Address, IPv4Address]) -> None:
        if cidrs := self._settings.virtual_machine_cidrs:
            self._far.want(await asyncio.to_thread(far.packed, cidrs, ways))

    def card(self, link: Link) -> Card | None:
        made = self._link(link, ())
        return None if made is None else Card(made[0].name, made[1].mac, made[0].mtu)

    async def connect(self, link: Link, *, starting: bool = False) -> None:
        if (made := self._link(link, await self._resolvers(anew=starting))) is not None:
            tap, lease = made
            if link.uid in self._housed:
                await self._connect_housed(link, tap, lease, starting=starting)
                return
            await self._host.ensure_tap(tap, self._place)
            await self._dhcp.serve(tap.name, lease, self._place)

    async def disconnect(self, uid: str) -> None:
        name = addresses.tap_name(self._settings.tap_prefix, uid)
        self._dhcp.stop(name)
        self._starting.pop(uid, None)
        self._settled.pop(uid, None)
        if uid in self._housed:
            del self._housed[uid]
            await self._host.remove_from_pod(name, self._addresses.pop(uid, None))
            return
        await self._host.remove_tap(name, self._place)

    def house(self, uid: str, place: Place | None) -> None:
        self._housed[uid] = place

    async def settle(self, uid: str) -> None:
        if (link := self._starting.get(uid)) is not None:
            await self.connect(link)

    async def guard(self, uid: str, allowed: Filter | None) -> None:
        if allowed is None:
            self._filters.pop(uid, None)
            return
        self._filters[uid] = allowed
        tap, place = self._settled.get(uid), self._housed.get(uid)
        if tap is None or place is None or await self._host.holds(tap, place, allowed):
            return
        try:
            await self._host.ensure_in_pod(tap, place, allowed)
        except HyperdError:
            await self._host.shut_in_pod(tap, place, allowed)
            raise

    async def meet(self, pods: Collection[IPv4Address]) -> None:
        await self._host.meet(frozenset(pods))

    async def connections(self, uid: str) -> list[Connection]:
        tap, place = self._settled.get(uid), self._housed.get(uid)
        if tap is None or place is None or self._filters.get(uid, OPEN) == OPEN:
            return []
        return await self._host.connections(tap, place)

    async def take_over(self, uid: str, connections: Sequence[Connection]) -> None:
        tap, place = self._settled.get(uid), self._housed.get(uid)
        if tap is not None and place is not None:
            own = [one for one in connections if tap.address in (one.source, one.target)]
            await self._host.take_over(tap, place, own)

    async def tidy(self, places: Collection[IPv4Address]) -> None:
        await self._host.tidy(frozenset(places))

    async def _connect_housed(self, link: Link, tap: TapSpec, lease: Lease, *, starting: bool) -> None:
        if starting:
            self._starting[link.uid] = link
            self._settled.pop(link.uid, None)
            await self._host.prepare(tap, self._housed[link.uid])
        elif (place := self._housed[link.uid]) is not None:
            self._settled[link.uid] = tap
            await self._host.ensure_in_pod(tap, place, self._filters.get(link.uid))
            self._addresses[link.uid] = tap.address
            await self._dhcp.serve(tap.name, lease, place)
            self._starting.pop(link.uid, None)

    async def inventory(self) -> list[str]:
        return [tap.uid for tap in await self._host.inventory(self._place)]

    async def leave(self) -> None:
        await self._host.remove_all(self._place)

    async def routed(self) -> list[tuple[str, IPv4Address]]:
        return await self._host.routed(self._place)

    def _link(self, link: Link, dns: tuple[IPv4Address, ...]) -> tuple[TapSpec, Lease] | None:
        """The tap and what DHCP says on it; None without an address in the ranges."""
        settings = self._settings
        cidrs, address = settings.virtual_machine_cidrs, link.address
        network = None if address is None else addresses.network_of(cidrs, address)
        if address is None or network is None:
            return None
        gateway = addresses.gateway_of(cidrs, address)
        tap = TapSpec(
            uid=link.uid,
            name=addresses.tap_name(settings.tap_prefix, link.uid),
            address=address,
            gateway=gateway,
            mtu=settings.mtu,
        )
        lease = Lease(
            mac=addresses.mac_for(link.uid, link.index),
            address=address,
            network=network,
            gateway=gateway,
            hostname=link.hostname,
            mtu=settings.mtu,
            dns=dns,
            server_mac=settings.gateway_mac,
        )
        return tap, lease

    async def _resolvers(self, *, anew: bool) -> tuple[IPv4Address, ...]:
        """The DNS servers that guests are told: read again for each start, not with each look at a guest."""
        if self._dns is None or anew:
            self._dns = await asyncio.to_thread(resolvers.dns_servers, self._settings.dns_servers)
        return self._dns
