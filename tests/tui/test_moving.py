"""Where machines run: nodes are cordoned and drained, machines move; what cannot be moved says why."""

from __future__ import annotations

import asyncio

from hyperd.resources.all import VIRTUAL_MACHINE_OPERATION
from tests.parts import Part
from tests.tui.conftest import Ui, looking
from tests.tui.test_marks import deliberate
from tests.tui.world import World


async def command(ui: Ui, text: str) -> None:
    await ui.type(f":{text}")
    await ui.press("enter")


async def test_a_node_is_cordoned_and_takes_machines_again(world: World) -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    await world.add("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n9"}}, ready, group="")
    async with looking(world) as ui:
        await ui.press("5")
        await ui.shows("● Ready")
        await ui.row("n9")
        await command(ui, "uncordon")
        await ui.shows("uncordon does not apply: n9 is not cordoned")
        await command(ui, "cordon")
        await ui.shows("n9 takes no new machines", "▲ Cordoned", "It takes no new machines.")
        await command(ui, "uncordon")
        await ui.shows("n9 takes new machines again")
        await ui.until(lambda: "Cordoned" not in ui.text)


MOVABLE = {
    "type": "Migratable", "status": "True", "reason": "VirtualMachineMigratable", "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}  # fmt: skip


async def running_on(world: World, name: str, node: str, condition: Part) -> None:
    status = {"phase": "Running", "nodeName": node, "conditions": [condition]}
    await world.set_status("virtualmachines", "shop", name, status)


async def operation(world: World) -> Part:
    """The one that is asked for, as soon as it is there."""
    async with asyncio.timeout(20):
        while not (found := await world.names("virtualmachineoperations")):
            await asyncio.sleep(0.05)
    (name,) = found
    return (await world.store.get(VIRTUAL_MACHINE_OPERATION, "shop", name)).object()


async def test_a_machine_is_moved_after_a_question_to_the_node_that_is_named(world: World) -> None:
    await running_on(world, "web-8", "n1", MOVABLE)
    async with looking(world) as ui:
        await ui.row("web-8")
        await command(ui, "migrate web-8 node=n1")
        await ui.shows("web-8 is on node n1 already")
        await command(ui, "migrate web-8 node=n2")
        await ui.shows("Migrate", "The guest goes to another node", "leaves node n1")
        await deliberate(ui)
        await ui.press("y")
        op = await operation(world)
        assert op["spec"] == {
            "type": "Migrate",
            "virtualMachineName": "web-8",
            "migrate": {"nodeSelector": {"kubernetes.io/hostname": "n2"}},
        }
        await ui.shows("Migrate of web-8 asked for")


async def test_a_drained_node_takes_no_new_machines_and_those_that_can_leave_it(world: World) -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    await world.add("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n9"}}, ready, group="")
    await running_on(world, "web-8", "n9", MOVABLE)
    stuck = {**MOVABLE, "status": "False", "reason": "VirtualMachineNonMigratable", "message": "It has a device."}
    await running_on(world, "db-1", "n9", stuck)
    async with looking(world) as ui:
        await ui.press("5")
        await ui.row("n9")
        await command(ui, "drain")
        await ui.shows("Drain node", "those that can be moved leave")
        await deliberate(ui)
        await ui.press("y")
        op = await operation(world)
        assert op["spec"] == {"type": "Evict", "virtualMachineName": "web-8"}
        await ui.shows("▲ Cordoned")
        name = op["metadata"]["name"]
        await world.set_status("virtualmachineoperations", "shop", name, {"phase": "Completed"})
        await ui.shows("n9: 1 left it; shop/db-1 cannot be moved: It has a device")


async def test_a_machine_that_cannot_be_moved_says_why(world: World) -> None:
    why = {
        "type": "Migratable", "status": "False", "reason": "VirtualMachineNonMigratable",
        "message": "Live migration needs a cluster of nodes.", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    await world.set_status("virtualmachines", "shop", "web-8", {"phase": "Running", "conditions": [why]})
    async with looking(world) as ui:
        await ui.row("web-8")
        await ui.press("m")
        await ui.shows("migrate does not apply: web-8 cannot be moved: Live migration needs a cluster of nodes")
        await ui.row("db-1")
        await command(ui, "evict")
        await ui.shows("evict does not apply: db-1 is not running")
