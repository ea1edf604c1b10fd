"""Machines on other nodes are reached by those nodes' addresses, for as long as they have a guest."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import cast

import pytest

from hyperd.controllers.context import Context
from hyperd.controllers.node.ways import Ways
from hyperd.errors import TemporaryError
from hyperd.resources.all import NODE, VIRTUAL_MACHINE, VIRTUAL_MACHINE_IP_ADDRESS_LEASE
from hyperd.resources.schema.kind import Kind
from hyperd.runtime.informer import Informer
from hyperd.store.interface import Item
from tests.parts import Part, part


def node(name: str, *addresses: str) -> Part:
    told = [{"type": "Hostname", "address": name}]
    told += [{"type": "InternalIP", "address": address} for address in addresses]
    return {"metadata": {"name": name}, "status": {"addresses": told}}


def machine(name: str, last: int, on: str, phase: str = "Running") -> Part:
    status = {"ipAddress": f"10.66.10.{last}", "nodeName": on, "phase": phase}
    return {"metadata": {"namespace": "shop", "name": name, "uid": name}, "status": status}


def lease(last: int, namespace: str = "shop") -> Part:
    reference = {"namespace": namespace, "name": "any"}
    return {"metadata": {"name": f"ip-10-66-10-{last}"}, "spec": {"virtualMachineIPAddressRef": reference}}


class Cluster:
    """As its informers show it to the node ``here``."""

    def __init__(self) -> None:
        self.informers: dict[Kind, Informer] = {
            kind: Informer(part(None), kind) for kind in (NODE, VIRTUAL_MACHINE, VIRTUAL_MACHINE_IP_ADDRESS_LEASE)
        }
        self.led: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self.refuses = False
        self._versions = itertools.count(1)
        self.put(NODE, node("here", "192.168.126.11"), node("there", "192.168.126.12"))
        self.put(VIRTUAL_MACHINE_IP_ADDRESS_LEASE, *map(lease, range(2, 9)))

    async def lead(self, ways: Mapping[IPv4Address, IPv4Address]) -> None:
        if self.refuses:
            self.refuses = False
            raise TemporaryError("The network is not there yet.")
        self.led.put_nowait({str(address): str(node) for address, node in ways.items()})

    def put(self, kind: Kind, *objects: Part) -> None:
        for obj in objects:
            meta = obj["metadata"] | {"resourceVersion": str(next(self._versions))}
            obj = obj | {"metadata": meta}
            self.informers[kind]._put((meta.get("namespace", ""), meta["name"]), Item.of(obj))

    def remove(self, kind: Kind, name: str) -> None:
        self.informers[kind]._remove(("shop" if kind is VIRTUAL_MACHINE else "", name))

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        given = SimpleNamespace(informer=self.informers.__getitem__, node_name="here", network=self)
        running = asyncio.create_task(Ways(cast(Context, given)).run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def ways(self) -> dict[str, str]:
        async with asyncio.timeout(10):
            return await self.led.get()


async def test_only_guests_elsewhere_are_led_to() -> None:
    cluster = Cluster()
    cluster.put(
        VIRTUAL_MACHINE,
        machine("far", 2, "there"),
        machine("starts", 3, "there", "Starting"),
        machine("own", 4, "here"),
        machine("off", 5, "there", "Stopped"),
        machine("waits", 6, "there", "Pending"),
        machine("unbound", 7, ""),
        machine("lost", 8, "nowhere"),
        {"metadata": {"namespace": "shop", "name": "new", "uid": "new"}},
    )
    async with cluster.following():
        assert await cluster.ways() == {"10.66.10.2": "192.168.126.12", "10.66.10.3": "192.168.126.12"}


async def test_what_moves_stops_or_goes_is_followed() -> None:
    cluster = Cluster()
    cluster.put(NODE, node("third", "fd00::3", "192.168.126.13"))
    async with cluster.following():
        assert await cluster.ways() == {}
        cluster.put(VIRTUAL_MACHINE, machine("web", 2, "there"), machine("db", 3, "there"))
        assert await cluster.ways() == {"10.66.10.2": "192.168.126.12", "10.66.10.3": "192.168.126.12"}
        cluster.put(VIRTUAL_MACHINE, machine("web", 2, "third"))
        assert (await cluster.ways())["10.66.10.2"] == "192.168.126.13"
        cluster.put(VIRTUAL_MACHINE, machine("web", 2, "third", "Stopped"))
        assert await cluster.ways() == {"10.66.10.3": "192.168.126.12"}
        cluster.put(NODE, node("there", "192.168.126.22"))
        assert await cluster.ways() == {"10.66.10.3": "192.168.126.22"}
        cluster.remove(NODE, "there")
        assert await cluster.ways() == {}
        cluster.put(NODE, node("there", "192.168.126.12"))
        assert await cluster.ways() == {"10.66.10.3": "192.168.126.12"}
        cluster.remove(VIRTUAL_MACHINE, "db")
        assert await cluster.ways() == {}


async def test_an_address_that_is_anothers_leads_nowhere() -> None:
    cluster = Cluster()
    cluster.put(VIRTUAL_MACHINE, machine("web", 2, "there"), machine("forged", 9, "there"))
    cluster.put(VIRTUAL_MACHINE_IP_ADDRESS_LEASE, lease(9, "bank"))
    async with cluster.following():
        assert await cluster.ways() == {"10.66.10.2": "192.168.126.12"}
        cluster.put(VIRTUAL_MACHINE_IP_ADDRESS_LEASE, lease(9))
        assert len(await cluster.ways()) == 2
        cluster.remove(VIRTUAL_MACHINE_IP_ADDRESS_LEASE, "ip-10-66-10-2")
        assert await cluster.ways() == {"10.66.10.9": "192.168.126.12"}


async def test_what_changes_no_way_is_not_told() -> None:
    cluster = Cluster()
    cluster.put(VIRTUAL_MACHINE, machine("web", 2, "there", "Starting"))
    async with cluster.following():
        assert await cluster.ways() == {"10.66.10.2": "192.168.126.12"}
        cluster.put(VIRTUAL_MACHINE, machine("web", 2, "there"))
        cluster.put(NODE, node("there", "192.168.126.12", "192.168.127.12"))
        cluster.put(VIRTUAL_MACHINE, machine("db", 3, "there"))
        assert len(await cluster.ways()) == 2
        assert cluster.led.empty()


async def test_a_network_that_refuses_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperd.controllers.node.ways._AGAIN_SECONDS", 0.05)
    cluster = Cluster()
    cluster.put(VIRTUAL_MACHINE, machine("web", 2, "there"))
    cluster.refuses = True
    async with cluster.following():
        assert await cluster.ways() == {"10.66.10.2": "192.168.126.12"}
