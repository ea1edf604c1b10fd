"""DHCP on real taps, asked by a real client."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from hyperd.errors import TemporaryError
from hyperd.network import tun
from hyperd.network.addresses import mac_for
from hyperd.network.dhcp.server import DhcpServer, Lease
from hyperd.network.kinds.routed.host import HostNetwork, TapSpec
from tests.host.network.conftest import ConnectGuest
from tests.host.network.lab import run
from tests.host.network.test_host import spec
from tests.pace import paced
from tests.unit.network.test_dhcp_packet import frame


@pytest.fixture
async def server(namespace: None) -> AsyncIterator[DhcpServer]:
    server = DhcpServer()
    yield server
    await server.close()


def lease(tap: TapSpec) -> Lease:
    return Lease(
        mac=mac_for(tap.uid, 0),
        address=tap.address,
        network=IPv4Network("10.66.10.0/24"),
        gateway=tap.gateway,
        hostname="web-1",
        mtu=tap.mtu,
        dns=(IPv4Address("192.0.2.53"),),
        server_mac="02:a9:fe:00:00:01",
    )


async def test_a_guest_configures_itself_and_reaches_host_and_neighbour(
    network: HostNetwork, server: DhcpServer, connect: ConnectGuest, tmp_path: Path
) -> None:
    first, second = spec(2), spec(3)
    for tap in (first, second):
        await network.ensure_tap(tap)
        await server.serve(tap.name, lease(tap))
    guests = [connect(first), connect(second)]
    told = await asyncio.to_thread(guests[0].dhcp, tmp_path)
    assert (told["ip"], told["mask"], told["router"]) == ("10.66.10.2", "24", "10.66.10.1")
    assert (told["mtu"], told["dns"], told["hostname"]) == ("1450", "192.0.2.53", "web-1")
    assert told["lease"] == str(0xFFFFFFFF)
    assert await asyncio.to_thread(guests[1].dhcp, tmp_path)
    assert await asyncio.to_thread(guests[0].pings, "10.66.10.1")
    assert await asyncio.to_thread(guests[0].pings, "10.66.10.3")
    assert await asyncio.to_thread(guests[0].pings, "10.66.10.3", "-s", "1422")


@pytest.mark.parametrize("neighbour_is_classless", [False, True])
async def test_a_guest_that_knows_classless_routes_has_an_address_alone_and_reaches_all(
    network: HostNetwork, server: DhcpServer, connect: ConnectGuest, tmp_path: Path, neighbour_is_classless: bool
) -> None:
    first, second = spec(2), spec(3)
    for tap in (first, second):
        await network.ensure_tap(tap)
        await server.serve(tap.name, lease(tap))
    guest, neighbour = connect(first), connect(second)
    told = await asyncio.to_thread(guest.dhcp, tmp_path, classless=True)
    assert (told["ip"], told["mask"], told["router"]) == ("10.66.10.2", "32", "10.66.10.1")
    assert told["staticroutes"].split() == ["10.66.10.1/32", "0.0.0.0", "0.0.0.0/0", "10.66.10.1"]
    routes = (await asyncio.to_thread(guest.run, "ip", "-4", "route")).stdout.splitlines()
    assert [" ".join(route.split()) for route in routes] == [
        "default via 10.66.10.1 dev eth0",
        "10.66.10.1 dev eth0 scope link",
    ]
    assert await asyncio.to_thread(neighbour.dhcp, tmp_path, classless=neighbour_is_classless)
    for address in ("10.66.10.1", "10.66.10.3"):
        assert await asyncio.to_thread(guest.pings, address)
    assert await asyncio.to_thread(neighbour.pings, "10.66.10.2")


async def test_another_mac_is_not_answered(
    network: HostNetwork, server: DhcpServer, connect: ConnectGuest, tmp_path: Path
) -> None:
    tap = spec()
    await network.ensure_tap(tap)
    await server.serve(tap.name, replace(lease(tap), mac="52:54:00:00:00:07"))
    guest = connect(tap)
    assert await asyncio.to_thread(guest.dhcp, tmp_path) == {}


async def test_a_changed_lease_a_restart_and_a_new_tap_are_taken_up(
    network: HostNetwork, server: DhcpServer, connect: ConnectGuest, tmp_path: Path
) -> None:
    tap = spec()
    await network.ensure_tap(tap)
    await server.serve(tap.name, lease(tap))
    await server.serve(tap.name, replace(lease(tap), mtu=1400))
    guest = connect(tap)
    assert (await asyncio.to_thread(guest.dhcp, tmp_path))["mtu"] == "1400"

    await server.close()
    assert await asyncio.to_thread(guest.dhcp, tmp_path) == {}
    restarted = DhcpServer()
    await restarted.serve(tap.name, lease(tap))
    assert await asyncio.to_thread(guest.dhcp, tmp_path)

    await network.remove_tap(tap.name)
    await network.ensure_tap(tap)
    await restarted.serve(tap.name, lease(tap))
    assert await asyncio.to_thread(connect(tap).dhcp, tmp_path)
    await restarted.close()


async def test_a_tap_that_went_down_and_up_is_heard_again(
    network: HostNetwork, server: DhcpServer, connect: ConnectGuest, tmp_path: Path
) -> None:
    tap = spec()
    await network.ensure_tap(tap)
    await server.serve(tap.name, lease(tap))
    run("ip", "link", "set", tap.name, "down")
    await asyncio.sleep(0)  # the reader is told that the network is down
    await network.ensure_tap(tap)
    assert await asyncio.to_thread(connect(tap).dhcp, tmp_path)


async def test_a_tap_that_does_not_exist_is_named(server: DhcpServer) -> None:
    with pytest.raises(TemporaryError, match="hvnone"):
        await server.serve("hvnone", lease(spec()))
    server.stop("hvnone")


async def test_a_flood_neither_blocks_the_loop_nor_is_answered_beyond_the_rate(
    network: HostNetwork, server: DhcpServer
) -> None:
    tap = spec()
    await network.ensure_tap(tap)
    await server.serve(tap.name, lease(tap))
    question = bytes(10) + frame(mac=mac_for(tap.uid, 0))

    def flood() -> int:
        answered = 0
        with tun.opened(tap.name) as guest:
            os.set_blocking(guest, False)
            end = time.monotonic() + 1.0
            # On a busy host the first answer may take longer than the flood should last.
            while (now := time.monotonic()) < end or (not answered and now < end + 10):
                os.write(guest, question)
                try:
                    answered += bool(os.read(guest, 2048))
                except BlockingIOError:
                    continue
        return answered

    async with paced() as pace:
        assert 1 <= await asyncio.to_thread(flood) <= 30
    assert pace.missed < 100 < pace.turns, pace
