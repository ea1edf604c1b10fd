"""The main network's ways to machines on a cluster's other nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

from hyperd.errors import TemporaryError
from hyperd.network.place import Place
from hyperd.network.routes.channel import Channel
from hyperd.network.routes.keeper import WayKeeper
from hyperd.network.routes.table import Ranges, WayTable
from hyperd.settings import NetworkSettings


def keeper(settings: NetworkSettings, place: Place, mend_ranges: Callable[[], None]) -> WayKeeper:
    """``mend_ranges`` makes the rules and blackholes that ways are worth nothing without."""
    return WayKeeper(
        place,
        table=settings.route_table,
        protocol=settings.far_route_protocol,
        ranges=_ranges(settings.virtual_machine_cidrs),
        mend_ranges=mend_ranges,
    )


def packed(cidrs: Sequence[IPv4Network], ways: Mapping[IPv4Address, IPv4Address]) -> dict[bytes, bytes]:
    """``ways`` as the keeper takes them, but for what is no machine's address, and no node's."""
    ranges = _ranges(cidrs)
    found = ((address.packed, node.packed) for address, node in ways.items())
    return {address: node for address, node in found if ranges.has(address) and not ranges.has(node)}


async def remove_all(settings: NetworkSettings, place: Place) -> None:
    """Remove all of them. Raises TemporaryError."""

    def remove() -> None:
        with Channel() as channel:
            WayTable(
                channel,
                table=settings.route_table,
                protocol=settings.far_route_protocol,
                ranges=_ranges(settings.virtual_machine_cidrs),
            ).look({})

    try:
        await place.run(remove)
    except OSError as error:
        raise TemporaryError(
            f"The routes to machines on other nodes cannot be removed: {error.strerror or error}.",
            key="NetworkNotReady",
        ) from error


def _ranges(cidrs: Sequence[IPv4Network]) -> Ranges:
    return Ranges((int(cidr.network_address), int(cidr.broadcast_address)) for cidr in cidrs)
