"""Additional networks: bridges of this node that its administrator named, each card on a tap that is a port there.

Names come from manifests, and are only looked up. Who a guest is on such a network is its card's address, which
the guard holds it to; what addresses it uses there is the network's matter.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address
from typing import ClassVar

from hyperd.network.addresses import MAX_INTERFACE_NAME
from hyperd.network.interface import Card, Link, NetworkKind
from hyperd.network.kinds.bridged import guard, ports
from hyperd.network.kinds.bridged.ports import Port
from hyperd.network.place import Place
from hyperd.resources.kinds.virtual_machine import NetworkType
from hyperd.settings import Settings
from hyperd.settings.additional import AdditionalNetwork


class BridgedNetwork(NetworkKind):
    """A link whose network is not named here, or not for its namespace, gets no card."""

    TYPES: ClassVar = frozenset({NetworkType.NETWORK, NetworkType.CLUSTER_NETWORK})

    def __init__(self, settings: Settings, place: Place) -> None:
        self._instance = settings.instance
        self._prefix = settings.network.tap_prefix
        self._named = {(NetworkType(one.type), one.name): one for one in settings.network.additional}
        self._place = place
        self._changing = asyncio.Lock()

    async def start(self) -> None:
        async with self._changing:
            taps = {port.tap for port in await self._ports()}
            await self._place.run(guard.keep_only, self._instance, taps)

    async def close(self) -> None:
        return

    def card(self, link: Link) -> Card | None:
        network = self._network(link)
        return None if network is None or not link.mac else Card(self._tap(link), link.mac, network.mtu)

    async def lacks(self, link: Link) -> str:
        what = f'{link.type} "{link.name}"'
        network = self._named.get((link.type, link.name))
        if network is None:
            return (
                f"{what} does not exist on this node: an administrator names networks in network.additional of "
                "hyperd's settings."
            )
        if not network.open_to(link.namespace):
            return (
                f'{what} is not for namespace "{link.namespace}", says network.additional of hyperd\'s settings.'
            )
        if not await self._place.run(ports.is_bridge, network.bridge):
            return f"{what} is bridge {network.bridge}, which is not on this node: make it."
        return ""

    async def connect(self, link: Link, *, starting: bool = False) -> None:
        network = self._network(link)
        if network is None or not link.mac:
            return
        port = Port(self._tap(link), link.uid)
        async with self._changing:
            # Before the tap is a port: nothing of it passes unguarded.
            await self._place.run(guard.ensure, self._instance, port.tap, link.mac, shut=not network.reach_host)
            await self._place.run(
                ports.ensure, self._instance, port, network.bridge, mac=link.mac, mtu=network.mtu
            )

    async def disconnect(self, uid: str) -> None:
        await self.keep_only(uid, ())

    async def keep_only(self, uid: str, links: Collection[Link]) -> None:
        kept = {self._tap(link) for link in links}
        async with self._changing:
            every = await self._ports()
            gone = [port for port in every if port.uid == uid and port.tap not in kept]
            for port in gone:
                await self._place.run(ports.remove, self._instance, port.tap)
            if gone:
                left = {port.tap for port in every if port not in gone}
                await self._place.run(guard.keep_only, self._instance, left)

    async def inventory(self) -> list[str]:
        return sorted({port.uid for port in await self._ports()})

    async def leave(self) -> None:
        async with self._changing:
            await self._place.run(guard.keep_only, self._instance, ())

    async def routed(self) -> Sequence[tuple[str, IPv4Address]]:
        return ()

    async def _ports(self) -> list[Port]:
        return await self._place.run(ports.inventory, self._instance)

    def _network(self, link: Link) -> AdditionalNetwork | None:
        network = self._named.get((link.type, link.name))
        return network if network is not None and network.open_to(link.namespace) else None

    def _tap(self, link: Link) -> str:
        """Of machine and network: the same whatever else the machine has."""
        digest = hashlib.sha256(f"{link.uid}/{link.type}/{link.name}".encode()).hexdigest()
        return f"{self._prefix}{digest}"[:MAX_INTERFACE_NAME]
