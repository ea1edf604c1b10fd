"""A daemon with one kind of network more: what it takes is the kind and its line in the list."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hyperd.network import kinds
from hyperd.network.networks import NodeNetwork
from hyperd.network.place import THIS_HOST
from hyperd.resources.all import VIRTUAL_MACHINE
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import find_condition
from tests.contract.networks.folder import FolderNetwork
from tests.testdriver.world import TEST_DRIVER
from tests.unit.controllers.world import running

NETWORKS = [{"type": "Main"}, {"type": "Network", "name": "none"}, {"type": "ClusterNetwork", "name": "lab"}]


def links(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / "links").iterdir()}


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
        await world.store.delete(VIRTUAL_MACHINE, "default", "vm")
        await world.gone()


async def test_a_network_that_nothing_serves_is_said_to_be_without_effect() -> None:
    async with running() as world:
        told = unbuilt(await world.make(networks=NETWORKS))
        assert "spec.networks[1].type" in told
        assert "spec.networks[2].type" in told
