"""Of machines that name one address at once, one begins with it; the others say who has it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from hyperd.errors import Invalid
from hyperd.network import kinds
from hyperd.network.networks import NodeNetwork
from hyperd.network.place import THIS_HOST
from hyperd.resources.all import (
    VIRTUAL_DISK,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_IP_ADDRESS,
    VIRTUAL_MACHINE_MAC_ADDRESS,
)
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import find_condition
from tests.contract.networks.folder import FolderNetwork
from tests.testdriver.world import TEST_DRIVER
from tests.unit.controllers.world import World, running

CIDRS = ["10.66.10.0/28"]
LAB = {"type": "ClusterNetwork", "name": "lab", "virtualMachineMACAddressName": "shared"}
CARD: Object = {"networks": [{"type": "Main"}, LAB]}
ADDRESS: Object = {"virtualMachineIPAddressName": "shared"}


def waits(machine: Object) -> str:
    return str((find_condition(machine, "Running") or {}).get("message", ""))


async def give_disk(world: World, name: str) -> None:
    disk = {"metadata": {"name": name}, "spec": {"persistentVolumeClaim": {"size": "1Mi"}}}
    await world.store.create(VIRTUAL_DISK, "default", disk)
    await world.phase("Ready", VIRTUAL_DISK, name)


async def make(world: World, name: str, spec: Object) -> str:
    """The name; empty for one that was refused, as it came later than it could have."""
    body: Object = {
        "cpu": {"cores": 1}, "memory": {"size": "64Mi"}, "runPolicy": "AlwaysOn",
        "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name}], **spec,
    }  # fmt: skip
    try:
        await world.store.create(VIRTUAL_MACHINE, "default", {"metadata": {"name": name}, "spec": body})
    except Invalid:
        return ""
    return name


def begins(machine: Object) -> bool:
    return bool((machine.get("status") or {}).get("phase") == "Running")


def begins_or_waits(machine: Object) -> bool:
    return begins(machine) or "is used by virtual machine" in waits(machine)


async def test_one_begins_and_the_other_waits_until_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "NETWORKS", (FolderNetwork,))
    on = replace(TEST_DRIVER, network=lambda settings: NodeNetwork(kinds.networks(settings, THIS_HOST)))
    async with running(on, network={"virtual_machine_cidrs": CIDRS}) as world:
        for kind, spec in ((VIRTUAL_MACHINE_IP_ADDRESS, {"type": "Auto"}), (VIRTUAL_MACHINE_MAC_ADDRESS, {})):
            await world.store.create(kind, "default", {"metadata": {"name": "shared"}, "spec": spec})
            await world.phase("Bound", kind, "shared")
        wanted = {"card-1": CARD, "card-2": CARD, "address-1": ADDRESS, "address-2": ADDRESS}
        await asyncio.gather(*(give_disk(world, name) for name in wanted))
        made = filter(None, await asyncio.gather(*(make(world, name, spec) for name, spec in wanted.items())))
        found = {name: await world.until(begins_or_waits, VIRTUAL_MACHINE, name) for name in made}
        running_now = sorted(name for name, one in found.items() if begins(one))
        assert [name.partition("-")[0] for name in running_now] == ["address", "card"]
        first = running_now[1]
        other = {"card-1": "card-2", "card-2": "card-1"}[first]
        assert waits(found[other]).endswith(f"is used by virtual machine {first}.")
        await world.store.delete(VIRTUAL_MACHINE, "default", first)
        await world.phase("Running", name=other)
