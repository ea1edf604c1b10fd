"""``hv migrate``, ``evict``, ``cordon``, ``drain``: what they ask for, what they refuse before, and exit codes."""

from __future__ import annotations

import asyncio

import pytest

from hyperd.admission.dispatch import review
from hyperd.resources.all import NODE, VIRTUAL_MACHINE_OPERATION
from tests.parts import Part
from tests.tui.world import World
from tests.unit.cli.conftest import Hv

AT = {"lastTransitionTime": "2026-01-01T00:00:00Z"}
MOVABLE = {"type": "Migratable", "status": "True", "reason": "VirtualMachineMigratable", "message": "", **AT}
STUCK = {**MOVABLE, "status": "False", "reason": "VirtualMachineNonMigratable", "message": "It has a device."}


@pytest.fixture
async def moving(hv: Hv, world: World) -> Hv:
    """web-7 and web-8 run on n1, and web-8 cannot be moved; there is n2."""
    for name in ("n1", "n2"):
        await world.add("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}, group="")
    for name, condition in (("web-7", MOVABLE), ("web-8", STUCK)):
        status = {"phase": "Running", "nodeName": "n1", "conditions": [condition]}
        await world.set_status("virtualmachines", "shop", name, status)
    return Hv({**hv.env, "HV_NAMESPACE": "shop"})


async def specs(world: World) -> list[Part]:
    return [item.object()["spec"] for item in (await world.store.list(VIRTUAL_MACHINE_OPERATION)).items]


async def end(world: World, phase: str, *, count: int = 1) -> None:
    """Of each operation, as soon as so many are asked for."""
    async with asyncio.timeout(20):
        while len(names := await world.names("virtualmachineoperations")) < count:
            await asyncio.sleep(0.05)
    for name in names:
        why = {"type": "Completed", "status": "False", "reason": "OperationFailed", "message": "No room.", **AT}
        status = {"phase": phase, "conditions": [] if phase == "Completed" else [why]}
        await world.set_status("virtualmachineoperations", "shop", name, status)


async def test_a_machine_is_asked_to_go_to_the_node_that_is_named(moving: Hv, world: World) -> None:
    told = await moving("migrate", "web-7", "-y", "-c", "--target-node-name", "n2")
    assert told.out.startswith('VirtualMachine "shop/web-7" migrating: VirtualMachineOperation "shop/web-7-')
    selector = {"nodeSelector": {"kubernetes.io/hostname": "n2"}}
    assert await specs(world) == [{"type": "Migrate", "virtualMachineName": "web-7", "migrate": selector}]


@pytest.mark.parametrize(("node", "said"), [("n1", "is on node n1 already"), ("n7", '"n7" not found')])
async def test_a_node_that_it_cannot_go_to_is_told_before(moving: Hv, world: World, node: str, said: str) -> None:
    assert said in (await moving("migrate", "web-7", "-y", "--target-node-name", node, code=1)).err
    assert await specs(world) == []


@pytest.mark.parametrize(
    ("flag", "force"), [((), None), (("--force",), True), (("--no-force",), False)], ids=["unset", "yes", "no"]
)
async def test_whether_it_may_be_slowed_down_is_said_only_where_somebody_says_so(
    moving: Hv, world: World, flag: tuple[str, ...], force: bool | None
) -> None:
    await moving("evict", "web-7", "-y", "-c", *flag)
    (spec,) = await specs(world)
    assert spec["type"] == "Evict"
    assert spec.get("force") is force


async def test_a_node_takes_no_new_machines_and_then_some_again(moving: Hv, world: World) -> None:
    assert (await moving("cordon", "n1", "n2")).out.splitlines() == [
        "Node n1 takes no new machines.",
        "Node n2 takes no new machines.",
    ]
    await moving("uncordon", "n2")
    nodes = {item.name: item.object().get("spec") or {} for item in (await world.store.list(NODE)).items}
    assert (nodes["n1"].get("unschedulable"), nodes["n2"].get("unschedulable")) == (True, None)
    await moving("cordon", "n2", "n7", code=1)
    node = (await world.store.get(NODE, "", "n2")).object()
    assert not (node.get("spec") or {}).get("unschedulable"), "nothing is done where a name is wrong"


async def test_a_drained_node_is_left_by_what_can_go_and_the_rest_is_told(moving: Hv, world: World) -> None:
    told, _ = await asyncio.gather(moving("drain", "n1", "-y", code=1), end(world, "Completed"))
    assert told.out.splitlines()[0] == "Node n1 takes no new machines."
    assert told.out.splitlines()[1].startswith('VirtualMachine "shop/web-7" being evicted.')
    stays = 'hv: VirtualMachine "shop/web-8" stays: it cannot be moved: It has a device.'
    assert told.err.splitlines()[0] == stays
    assert await specs(world) == [{"type": "Evict", "virtualMachineName": "web-7"}]


async def test_what_was_not_moved_is_told_with_the_reason(moving: Hv, world: World) -> None:
    await world.set_status("virtualmachines", "shop", "web-8", {"phase": "Stopped"})
    told, _ = await asyncio.gather(moving("drain", "n1", "-y", code=1), end(world, "Failed"))
    assert "Failed. OperationFailed: No room." in told.err


async def test_nobody_is_moved_without_a_yes(moving: Hv, world: World) -> None:
    told = await moving("drain", "n1", stdin="n\n", code=1)
    assert 'VirtualMachine "shop/web-8" stays: it cannot be moved: It has a device.' in told.err
    assert "drain of node n1: 1 of 2 machines leave: sure?" in told.err
    assert await specs(world) == []
    node = (await world.store.get(NODE, "", "n1")).object()
    assert not (node.get("spec") or {}).get("unschedulable")


async def test_one_that_takes_no_operation_now_holds_up_no_other(moving: Hv, world: World) -> None:
    status = {"phase": "Running", "nodeName": "n1", "conditions": [MOVABLE]}
    await world.set_status("virtualmachines", "shop", "web-8", status)
    world.store.admit = review
    await moving("evict", "web-7", "-y", "-c")
    told, _ = await asyncio.gather(moving("drain", "n1", "-y", code=1), end(world, "Completed", count=2))
    assert 'VirtualMachine "shop/web-7" stays: ' in told.err
    assert "should finish first" in told.err
    assert 'VirtualMachine "shop/web-8" being evicted.' in told.out
