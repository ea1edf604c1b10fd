"""Where machines run: nodes are cordoned; what cannot be moved says why."""

from __future__ import annotations

from tests.tui.conftest import Ui, looking
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
        await command(ui, "drain")
        await ui.shows("drain does not apply: n9 is not emptied by hyperd yet")
        await command(ui, "uncordon")
        await ui.shows("n9 takes new machines again")
        await ui.until(lambda: "Cordoned" not in ui.text)


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
