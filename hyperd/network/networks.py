"""The networks of several kinds as one: each link goes to the kind that serves its type."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Address

from hyperd.background import end_all
from hyperd.errors import PermanentError
from hyperd.network.connections import Connection
from hyperd.network.filters import Filter
from hyperd.network.interface import Card, Link, Network, NetworkKind
from hyperd.network.place import Place
from hyperd.resources.kinds.virtual_machine import NetworkType

_NAMED = 3
"""So many machines an error names."""


class NodeNetwork(Network):
    """A link whose type no kind serves gets no card: the machine's conditions name it."""

    def __init__(self, kinds: Sequence[NetworkKind]) -> None:
        self._kinds = tuple(kinds)
        self._by_type = {type_: kind for kind in kinds for type_ in kind.serves}

    @property
    def serves(self) -> frozenset[NetworkType]:
        return frozenset(self._by_type)

    async def start(self) -> None:
        for kind in self._kinds:
            await kind.start()

    async def close(self) -> None:
        await end_all((f"the network of {type(kind).__name__}", kind.close) for kind in self._kinds)

    def card(self, link: Link) -> Card | None:
        kind = self._by_type.get(link.type)
        return None if kind is None else kind.card(link)

    def house(self, uid: str, place: Place | None) -> None:
        for kind in self._kinds:
            kind.house(uid, place)

    async def settle(self, uid: str) -> None:
        for kind in self._kinds:
            await kind.settle(uid)

    async def guard(self, uid: str, allowed: Filter | None) -> None:
        for kind in self._kinds:
            await kind.guard(uid, allowed)

    async def meet(self, pods: Collection[IPv4Address]) -> None:
        for kind in self._kinds:
            await kind.meet(pods)

    async def connections(self, uid: str) -> list[Connection]:
        return [found for kind in self._kinds for found in await kind.connections(uid)]

    async def take_over(self, uid: str, connections: Sequence[Connection]) -> None:
        for kind in self._kinds:
            await kind.take_over(uid, connections)

    async def tidy(self, places: Collection[IPv4Address]) -> None:
        for kind in self._kinds:
            await kind.tidy(places)

    async def lead(self, ways: Mapping[IPv4Address, IPv4Address]) -> None:
        for kind in self._kinds:
            await kind.lead(ways)

    async def lacks(self, link: Link) -> str:
        kind = self._by_type.get(link.type)
        return "" if kind is None else await kind.lacks(link)

    async def connect(self, link: Link, *, starting: bool = False) -> None:
        if (kind := self._by_type.get(link.type)) is not None:
            await kind.connect(link, starting=starting)

    async def disconnect(self, uid: str) -> None:
        for kind in self._kinds:
            await kind.disconnect(uid)

    async def keep_only(self, uid: str, links: Collection[Link]) -> None:
        for kind in self._kinds:
            await kind.keep_only(uid, [link for link in links if link.type in kind.serves])

    async def inventory(self) -> list[str]:
        return [uid for kind in self._kinds for uid in await kind.inventory()]

    async def leave(self) -> None:
        if linked := await self.inventory():
            raise PermanentError(
                f"Machines have network devices here, and may run: {', '.join(sorted(set(linked))[:_NAMED])}"
                f"{', ...' if len(set(linked)) > _NAMED else ''}. Stop them first."
            )
        for kind in self._kinds:
            await kind.leave()

    async def routed(self) -> list[tuple[str, IPv4Address]]:
        return [found for kind in self._kinds for found in await kind.routed()]
