"""A network for guests that run nothing: they have no cards, and nothing of it is on the host."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

from hyperd.network.interface import Card, Link, Network
from hyperd.resources.kinds.virtual_machine import NetworkType


class NoNetwork(Network):
    """Every machine does without."""

    @property
    def serves(self) -> frozenset[NetworkType]:
        return frozenset({NetworkType.MAIN})

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    def card(self, link: Link) -> Card | None:
        return None

    async def connect(self, link: Link, *, starting: bool = False) -> None:
        return

    async def disconnect(self, uid: str) -> None:
        return

    async def inventory(self) -> Sequence[str]:
        return ()

    async def routed(self) -> Sequence[tuple[str, IPv4Address]]:
        return ()
