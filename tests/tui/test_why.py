"""Why something is not well, from its row to the root."""

from __future__ import annotations

import asyncio
import threading
from contextlib import nullcontext
from typing import Any

import pytest

from hyperd.client.home import Home
from hyperd.client.why import Cause
from hyperd.errors import BadRequest
from tests.tui.conftest import looking
from tests.tui.world import API, World, disk
from tests.unit.cli.conftest import Hv, environment
from tui.actions import explaining


async def seeded(world: World) -> None:
    """test ← test-root ← the image broken, which failed."""
    generic = {"apiVersion": API, "kind": "VirtualMachineClass", "metadata": {"name": "generic"},
               "spec": {"cpu": {"type": "Host"}}}  # fmt: skip
    await world.add("virtualmachineclasses", generic, {"phase": "Ready"})
    await world.add("virtualdisks", disk("test-root", namespace="lab", of="broken"), {"phase": "Pending"})


async def test_w_tells_the_chain_and_enter_goes_to_the_root(world: World) -> None:
    await seeded(world)
    for size in ((80, 24), (160, 45)):
        async with looking(world, size=size) as ui:
            await ui.row("test")
            await ui.press("w")
            await ui.shows("VirtualMachine test", "└ VirtualDisk test-root", "└ VirtualImage broken", "mend:")
            await ui.press("enter")
            await ui.shows("images", "broken")
            await ui.until(lambda: "broken" in str(ui.app.main.cursor))
            await ui.press("left_square_bracket")
            await ui.shows("machines")


async def test_what_is_well_says_so(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("web-8")
        await ui.press("w")
        await ui.shows("nothing to mend")
        await ui.press("escape")
        await ui.until(lambda: "nothing to mend" not in ui.text)


async def test_hv_why_finds_what_is_not_well_by_itself(world: World) -> None:
    await seeded(world)
    told = await Hv(environment(world))("why", "-A")
    lines = told.out.splitlines()
    assert lines[0].startswith("vm/lab/test  ▲ Pending")
    assert lines[2].strip().startswith("└ vi/lab/broken  ✖ Failed: The file is an HTML page")
    assert "name the file" in lines[3]
    assert sum("broken" in line for line in lines) == 1


async def test_an_answer_that_comes_late_takes_no_keys_of_who_went_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = threading.Event()
    asked = explaining._asked

    def slowly(home: Home, obj: dict[str, Any]) -> Cause:
        moved.wait(10)
        return asked(home, obj)

    monkeypatch.setattr(explaining, "_asked", slowly)
    async with looking(world) as ui:
        await ui.row("web-7")
        await ui.press("w")
        await ui.row("web-8")
        moved.set()
        await ui.shows("web-7 (shop): VirtualMachine web-7 Running")
        assert ui.app.screen is ui.app.main


async def test_the_terminal_is_in_one_programs_hands_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with looking(world) as ui:
        main, left = ui.app.main, threading.Event()
        monkeypatch.setattr(ui.app, "suspend", nullcontext)
        first = asyncio.create_task(main.hand_over(lambda: left.wait(10)))
        await ui.until(lambda: main.handed_over)
        with pytest.raises(BadRequest, match="other hands"):
            await main.hand_over(lambda: None)
        left.set()
        assert await first
        assert await main.hand_over(lambda: 7) == 7
