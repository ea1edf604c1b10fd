"""Ways to machines on other nodes: they are as they are to be, whoever breaks them, and leave nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Address, IPv4Network

import pytest

from hyperd.errors import PermanentError
from hyperd.network.interface import Link
from hyperd.network.kinds.routed.network import RoutedNetwork
from hyperd.network.networks import NodeNetwork
from hyperd.network.place import THIS_HOST
from hyperd.settings import NetworkSettings, Settings
from tests.host.network.lab import run

SETTINGS = NetworkSettings(virtual_machine_cidrs=(IPv4Network("10.66.0.0/16"),))
FIRST = IPv4Address("10.66.0.2")
NODE, OTHER = IPv4Address("192.168.126.12"), IPv4Address("192.168.126.13")
_SECONDS = 20.0
"""Far less than until the look that nothing asks for."""


@pytest.fixture
async def network(namespace: None) -> AsyncIterator[RoutedNetwork]:
    run("ip", "link", "add", "wire", "type", "veth", "peer", "name", "switch")
    run("ip", "address", "add", "192.168.126.11/24", "dev", "wire")
    for end in ("wire", "switch"):
        run("ip", "link", "set", end, "up")
    network = RoutedNetwork(Settings(instance="test", network=SETTINGS), THIS_HOST)
    await network.start()
    yield network
    await network.close()


def ways(count: int, node: IPv4Address = NODE) -> dict[IPv4Address, IPv4Address]:
    return {FIRST + number: node for number in range(count)}


def shown(*argv: str) -> list[str]:
    return run("ip", "route", "show", "table", "1490", *argv, check=False).stdout.splitlines()


def rules() -> str:
    return run("ip", "rule").stdout


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(_SECONDS):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.01)


async def test_all_are_there_and_what_is_broken_comes_back(network: RoutedNetwork) -> None:
    await network.lead(ways(1000))
    await until(lambda: len(shown()) == 1001)
    first = str(FIRST)
    assert shown(first)[0].startswith(f"{first} via {NODE} dev wire proto 150 metric 50")
    run("ip", "route", "del", first, "table", "1490")
    await until(lambda: shown(first))
    run("ip", "route", "replace", first, "table", "1490", "metric", "50", "via", str(OTHER))
    await until(lambda: f"via {NODE}" in shown(first)[0])
    run("ip", "rule", "del", "priority", "1490")
    await until(lambda: "lookup 1490" in rules())
    run("ip", "route", "del", "blackhole", "10.66.0.0/16", "table", "1490", "metric", "100")
    await until(lambda: len(shown()) == 1001)
    run("ip", "route", "flush", "table", "1490")
    await until(lambda: len(shown()) == 1001)


async def test_they_come_back_with_the_device_that_they_went_with(network: RoutedNetwork) -> None:
    await network.lead(ways(100))
    await until(lambda: len(shown()) == 101)
    run("ip", "link", "set", "wire", "down")
    assert len(shown()) == 1
    run("ip", "link", "set", "wire", "up")
    await until(lambda: len(shown()) == 101)


async def test_a_node_is_reached_as_the_host_reaches_it(network: RoutedNetwork) -> None:
    far = IPv4Address("172.20.0.7")
    await network.lead({FIRST: far, FIRST + 1: IPv4Address("192.168.126.11"), FIRST + 2: NODE})
    await until(lambda: len(shown()) == 2)  # what is this host's own address is no other node
    run("ip", "route", "add", "172.20.0.0/16", "via", str(OTHER))
    await until(lambda: shown(str(FIRST)))
    assert f"via {OTHER} dev wire" in shown(str(FIRST))[0]
    run("ip", "route", "replace", "172.20.0.0/16", "via", str(NODE))
    await until(lambda: f"via {NODE}" in shown(str(FIRST))[0])


async def test_what_moves_or_goes_is_followed_and_the_next_daemon_finds_all(network: RoutedNetwork) -> None:
    await network.lead(ways(1000))
    await until(lambda: len(shown()) == 1001)
    run("ip", "route", "add", "10.66.200.1", "table", "1490", "metric", "50", "proto", "150", "dev", "wire")
    await network.lead(ways(500, OTHER))
    await until(lambda: f"via {NODE}" not in "\n".join(shown()))
    await network.close()
    assert len(shown()) == 502
    again = RoutedNetwork(Settings(instance="test", network=SETTINGS), THIS_HOST)
    await again.lead(ways(3, OTHER))
    await until(lambda: len(shown()) == 4)
    await again.close()
    run("ip", "route", "add", "10.66.0.9", "table", "1490", "proto", "149", "via", "192.168.126.14")  # to a Pod
    await NodeNetwork([again]).leave()
    assert shown() == []
    assert "1490" not in rules()


async def test_a_machines_way_on_this_host_counts_before_the_others(network: RoutedNetwork) -> None:
    await network.lead(ways(1))
    await until(lambda: len(shown()) == 2)
    run("ip", "route", "add", str(FIRST), "table", "1490", "proto", "149", "dev", "switch", "scope", "link")
    assert "dev switch" in run("ip", "route", "get", str(FIRST)).stdout
    # A Pod's that is gone leaves it; the way to the other node is not taken for one.
    await network.tidy(())
    assert len(shown(str(FIRST))) == 2


async def test_a_host_with_machines_is_not_left(network: RoutedNetwork) -> None:
    uid = "6f0b1c1e-2b8e-4e55-9f57-0e6d1c2b3a4d"
    await network.connect(Link(uid, "web", FIRST))
    with pytest.raises(PermanentError, match=f"may run: {uid}. Stop them first"):
        await NodeNetwork([network]).leave()
    assert len(shown()) == 2


async def test_without_another_node_nothing_is_kept(network: RoutedNetwork) -> None:
    await network.lead({FIRST: IPv4Address("10.66.0.9"), IPv4Address("10.9.0.1"): NODE})
    await asyncio.sleep(0.3)
    assert len(shown()) == 1
    await network.close()
    await network.lead(ways(3))
    assert len(shown()) == 1
