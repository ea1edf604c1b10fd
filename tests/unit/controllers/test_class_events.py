"""A class tells when its machines may run elsewhere, and when others are allowed."""

from __future__ import annotations

from hyperd.resources.all import VIRTUAL_MACHINE_CLASS
from hyperd.resources.values.conditions import find_condition
from hyperd.store.interface import PatchType
from tests.unit.controllers.world import running


async def test_a_class_tells_of_its_nodes_and_its_policies() -> None:
    async with running() as world:
        await world.told("NodesWereUpdated")
        class_ = (await world.store.get(VIRTUAL_MACHINE_CLASS, "", "generic")).object()
        skipped = find_condition(class_, "Discovered") or {}
        assert (skipped["reason"], skipped["message"]) == (
            "DiscoverySkip",
            "A class of cpu.type Model needs no discovery.",
        )
        spec = {"sizingPolicies": [{"cores": {"min": 1, "max": 4}}]}
        where = (VIRTUAL_MACHINE_CLASS, "", "generic", PatchType.MERGE)
        await world.store.patch(*where, {"spec": spec})
        await world.told("SizingPoliciesWereChanged")
        await world.store.patch(*where, {"spec": {"nodeSelector": {"matchLabels": {"zone": "nowhere"}}}})
        await world.told("AvailableNodesListEmpty")
