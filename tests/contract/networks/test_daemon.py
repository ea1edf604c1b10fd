"""A daemon with one kind of network more: what it takes is the kind and its line in the list."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hyperd.network import kinds
from hyperd.network.networks import NodeNetwork
from hyperd.network.place import THIS_HOST
from hyperd.resources.all import VIRTUAL_MACHINE, VIRTUAL_MACHINE_MAC_ADDRESS
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import find_condition
from hyperd.store.interface import PatchType
from tests.contract.networks.folder import FolderNetwork
from tests.testdriver.world import TEST_DRIVER
from tests.unit.controllers.world import running

MAC = VIRTUAL_MACHINE_MAC_ADDRESS
NETWORKS = [{"type": "Main"}, {"type": "Network", "name": "none"}, {"type": "ClusterNetwork", "name": "lab"}]


def links(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / "links").iterdir()}


def waits(machine: Object) -> dict[str, str]:
    """The messages of the conditions that are False, by their types."""
    conditions = (machine.get("status") or {}).get("conditions") or ()
    return {one["type"]: one["message"] for one in conditions if one["status"] == "False"}


def unbuilt(machine: Object) -> str:
    return str((find_condition(machine, "UnbuiltFields") or {}).get("message", ""))


async def test_a_machine_is_linked_to_what_its_spec_names(monkeypatch: pytest.MonkeyPatch) -> None:
    # Routed taps are made in the kernel, which host tests see to.
    monkeypatch.setattr(kinds, "NETWORKS", (FolderNetwork,))
    both = replace(TEST_DRIVER, network=lambda settings: NodeNetwork(kinds.networks(settings, THIS_HOST)))
    async with running(both) as world:
        machine = await world.make(networks=NETWORKS)
        uid = machine["metadata"]["uid"]
        assert links(world.state_dir) == {f"{uid}.2": "lab"}
        shown = machine["status"]["networks"][0]
        assert (shown["type"], shown["name"], shown["id"]) == ("ClusterNetwork", "lab", 3)
        card = await world.phase("Attached", MAC, shown["virtualMachineMACAddressName"])
        assert card["status"]["address"] == shown["macAddress"]
        assert card["metadata"]["ownerReferences"][0]["uid"] == uid
        assert (find_condition(machine, "VirtualMachineMACAddressReady") or {})["status"] == "True"
        assert (find_condition(machine, "NetworkReady") or {})["status"] == "True"
        assert "ClusterNetwork" not in unbuilt(machine)
        assert "spec.networks[1].type" in unbuilt(machine), "nothing serves that one"

        # What is gone under a guest that runs is made again.
        (world.state_dir / "links" / f"{uid}.2").unlink()
        await world.looked()
        assert links(world.state_dir) == {f"{uid}.2": "lab"}

        await world.operate("Stop", "stop")
        await world.phase("Stopped")
        assert links(world.state_dir) == {}

        # A link of nobody's goes with the sweep.
        (world.state_dir / "links" / "00000000-0000-4000-8000-000000000000.1").write_text("lab")
        assert await world.kept() == {}
        assert links(world.state_dir) == {}
        # What is asked for no more goes, and what a machine cannot have holds its start.
        networks = [{"type": "ClusterNetwork", "name": "gone"}]
        await world.store.patch(
            VIRTUAL_MACHINE, "default", "vm", PatchType.MERGE, {"spec": {"networks": networks}}
        )
        await world.gone(MAC, shown["virtualMachineMACAddressName"])
        await world.operate("Start", "start")
        told = await world.phase("Pending")
        assert waits(told)["NetworkReady"] == waits(told)["Running"] == "gone is not there."
        named = [{"type": "ClusterNetwork", "name": "lab", "virtualMachineMACAddressName": "mine"}]
        patch = {"spec": {"networks": named}}
        await world.store.patch(VIRTUAL_MACHINE, "default", "vm", PatchType.MERGE, patch)
        missing = 'VirtualMachineMACAddress "mine" does not exist.'
        await world.until(lambda vm: waits(vm).get("Running") == missing, VIRTUAL_MACHINE, "vm")
        mine = {"metadata": {"name": "mine"}, "spec": {"address": "5e:e6:19:22:0f:d8"}}
        await world.store.create(MAC, "default", mine)
        machine = await world.phase("Running")
        assert machine["status"]["networks"][0]["macAddress"] == "5e:e6:19:22:0f:d8"
        # It is the guest's as long as that runs, and stays afterwards, as it was not made for the machine.
        await world.store.delete(VIRTUAL_MACHINE, "default", "vm")
        await world.gone()
        kept = await world.until(lambda mac: mac["status"]["phase"] == "Bound", MAC, "mine")
        assert "virtualMachineName" not in kept["status"]
        assert [one["metadata"]["name"] for one in await world.store.find_all(MAC, "default")] == ["mine"]


async def test_a_network_that_nothing_serves_is_said_to_be_without_effect() -> None:
    async with running() as world:
        told = unbuilt(await world.make(networks=NETWORKS))
        assert "spec.networks[1].type" in told
        assert "spec.networks[2].type" in told
