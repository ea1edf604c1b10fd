"""A network in another place: the tap, its routes, its rules and DHCP are there, and nothing of it is here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from hyperd.errors import TemporaryError
from hyperd.network import rtnl
from hyperd.network.dhcp.server import DhcpServer
from hyperd.network.interface import Link
from hyperd.network.kinds.routed.host import HostNetwork, OwnedTap, TapSpec
from hyperd.network.kinds.routed.network import RoutedNetwork
from hyperd.network.place import THIS_HOST, Place
from hyperd.settings import NetworkSettings, Settings
from tests.host.network.conftest import ConnectGuest
from tests.host.network.lab import Guest, held_namespace, run
from tests.host.network.test_dhcp import lease
from tests.host.network.test_host import spec

NAT = NetworkSettings(nat=True, virtual_machine_cidrs=(IPv4Network("10.66.10.0/24"),))


@pytest.fixture
def place(namespace: None) -> Iterator[Place]:
    """A network namespace that a process holds, as a Pod's is."""
    with held_namespace() as pid:
        yield Place(Path(f"/proc/{pid}/ns/net"))


@pytest.fixture
async def server(namespace: None) -> AsyncIterator[DhcpServer]:
    server = DhcpServer()
    yield server
    await server.close()


def links() -> set[str]:
    with rtnl.opened() as nl:
        return {link.name for link in rtnl.taps(nl)}


def tables() -> str:
    return run("nft", "list", "tables").stdout


def forwards() -> bool:
    return Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1"


def namespace_here() -> str:
    return os.readlink("/proc/thread-self/ns/net")


async def connected(connect: ConnectGuest, tap: TapSpec, place: Place) -> Guest:
    """Threads that are started in a place are there."""
    return await place.run(connect, tap)


async def test_a_guest_of_another_place_is_answered_there_and_reaches_its_gateway(
    network: HostNetwork, server: DhcpServer, connect: ConnectGuest, place: Place, tmp_path: Path
) -> None:
    tap = spec()
    await network.start(place)
    for _ in range(2):
        await network.ensure_tap(tap, place)
        await server.serve(tap.name, lease(tap), place)
    guest = await connected(connect, tap, place)
    told = await asyncio.to_thread(guest.dhcp, tmp_path)
    assert (told["ip"], told["router"]) == (str(tap.address), str(tap.gateway))
    assert await asyncio.to_thread(guest.pings, str(tap.gateway))

    assert await network.inventory(place) == [OwnedTap(tap.name, tap.uid)]
    assert await network.routed(place) == [(tap.uid, tap.address)]
    assert await network.inventory() == []
    assert await network.routed() == []
    assert (await THIS_HOST.run(links), await place.run(links)) == (set(), {tap.name})

    # Where it is moved to, it is served anew.
    await network.ensure_tap(tap)
    await server.serve(tap.name, lease(tap))
    assert await asyncio.to_thread(connect(tap).dhcp, tmp_path)
    await network.remove_tap(tap.name, place)
    assert (await THIS_HOST.run(links), await place.run(links)) == ({tap.name}, set())


async def test_a_kind_of_network_makes_all_of_a_link_in_its_place(
    connect: ConnectGuest, place: Place, tmp_path: Path
) -> None:
    settings = Settings.model_validate(
        {"instance": "test", "network": {"virtual_machine_cidrs": ["10.66.10.0/24"]}}
    )
    network, tap = RoutedNetwork(settings, place), spec()
    link = Link(tap.uid, "web-1", tap.address)
    await network.start()
    await network.connect(link)
    card = network.card(link)
    assert card is not None
    guest = await place.run(connect, replace(tap, name=card.tap))
    told = await asyncio.to_thread(guest.dhcp, tmp_path)
    assert (told["ip"], told["hostname"]) == (str(tap.address), "web-1")
    assert await network.inventory() == [tap.uid]
    assert await network.routed() == [(tap.uid, tap.address)]
    assert await RoutedNetwork(settings, THIS_HOST).inventory() == []
    await network.disconnect(tap.uid)
    assert await network.inventory() == []
    await network.close()


async def test_the_way_out_of_a_place_is_its_own(place: Place) -> None:
    network = HostNetwork(NAT, instance="placed")
    await network.start(place)
    await network.ensure_tap(spec(), place)
    assert ("hyperd_placed" in await place.run(tables), tables()) == (True, "")
    assert (await place.run(forwards), forwards()) == (True, False)
    await network.remove_all(place)
    assert await place.run(tables) == ""
    assert await place.run(links) == set()


async def test_no_thread_of_the_daemons_own_is_left_in_another_place(place: Place) -> None:
    here = namespace_here()
    there = await asyncio.gather(*(place.run(namespace_here) for _ in range(8)))
    assert set(there) == {os.readlink(str(place.network))} != {here}
    assert set(await asyncio.gather(*(THIS_HOST.run(namespace_here) for _ in range(40)))) == {here}
    assert namespace_here() == here


async def test_a_place_that_is_gone_is_no_defect(network: HostNetwork, server: DhcpServer, tmp_path: Path) -> None:
    tap = spec()
    for gone in (tmp_path / "none", tmp_path):
        with pytest.raises(TemporaryError, match=f"{tap.name} cannot be set up"):
            await network.ensure_tap(tap, Place(gone))
        with pytest.raises(TemporaryError, match=f"cannot be answered on network device {tap.name}"):
            await server.serve(tap.name, lease(tap), Place(gone))
    assert not server.serving()


async def test_what_is_stopped_while_it_is_opened_is_not_served(
    network: HostNetwork, server: DhcpServer, place: Place
) -> None:
    tap = spec()
    await network.ensure_tap(tap, place)
    serving = asyncio.create_task(server.serve(tap.name, lease(tap), place))
    await asyncio.sleep(0)
    server.stop(tap.name)
    await serving
    assert not server.serving()
