"""Marks, and what is done to many at once."""

from __future__ import annotations

import asyncio

import pytest
from rich.text import Text

from tests.tui.conftest import Ui, looking
from tests.tui.world import World, machine
from tui.action import Target
from tui.bulk import Deed, Tell, lines_of
from tui.screens import confirm
from tui.screens.bulk import Bulk
from tui.widgets.lines import LinesView


async def complete(world: World, name: str, *, phase: str = "Completed") -> None:
    """End the operation on a machine, as its controller would."""
    (operation,) = [one for one in await world.names("virtualmachineoperations") if one.startswith(f"{name}-")]
    condition = {
        "type": "Completed", "status": "True", "reason": phase, "message": "The guest said no.",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    await world.set_status(
        "virtualmachineoperations", "shop", operation, {"phase": phase, "conditions": [condition]}
    )


async def deliberate(ui: Ui) -> None:
    await asyncio.sleep(confirm.DELIBERATE_SECONDS)


async def test_marked_machines_are_stopped_after_the_list_was_seen_and_each_result_stays(world: World) -> None:
    async with looking(world) as ui:
        await ui.shows("web-7", "web-8", "db-1")
        await ui.press("ctrl+a")
        await ui.shows("4 marked")
        await ui.row("test")
        await ui.press("space", "x")
        await ui.shows("stop 2 of 3?", "no agent", "is Stopped: left out", "type  stop 2")
        await deliberate(ui)
        await ui.type("stop 3")
        await ui.press("enter")
        assert not await world.names("virtualmachineoperations")
        await ui.type("stop 2")
        await ui.press("enter")
        await ui.shows("Stop of web-7 asked for", "Stop of web-8 asked for")
        await complete(world, "web-7")
        await complete(world, "web-8", phase="Failed")
        await ui.shows("Stop of web-7: done", "✖ web-8", "The guest said no.", "1 done, 1 failed")
        assert "db-1" in ui.text
        await ui.press("enter")
        await ui.until(lambda: "marked" not in ui.text and "left out: 1" not in ui.text)
        assert ui.app.screen is ui.app.main


async def test_marks_stay_with_their_objects_and_go_with_them(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("db-1")
        await ui.press("space", "space")
        await ui.shows("2 marked")
        assert "* " in ui.line("db-1")[:4]
        await ui.press("O")
        assert "* " in ui.line("db-1")[:4]
        await world.remove("virtualmachines", "shop", "db-1")
        await ui.shows("1 marked")
        await ui.press("2", "1")
        await ui.shows("1 marked")
        await ui.press("escape")
        await ui.until(lambda: "marked" not in ui.text)


async def test_all_between_two_rows_are_marked(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("db-1")
        await ui.press("space")
        await ui.row("web-7")
        await ui.press("ctrl+space")
        await ui.shows("3 marked")
        assert not ui.line("web-8").startswith("*", 1)


async def test_one_mark_is_what_is_meant_even_where_the_cursor_is_elsewhere(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("web-7")
        await ui.press("space")
        await ui.row("db-1")
        await ui.press("x")
        await ui.shows("stop 1 of 1?", "web-7")
        await ui.press("escape")
        await ui.type(":stop web-8 db-1")
        await ui.press("enter")
        await ui.shows("stop 1 of 2?", "web-8", "is Stopped: left out")
        await ui.press("escape")
        await ui.type(":stop web-8 nosuch")
        await ui.press("enter")
        await ui.shows("no nosuch among machines")


async def test_a_disk_in_use_says_so_before_it_is_deleted(world: World) -> None:
    async with looking(world) as ui:
        await ui.press("2")
        await ui.row("web-7-root")
        await ui.press("ctrl+d")
        await ui.shows("Delete VirtualDisk web-7-root", "Used by web-7: it goes when nothing uses it any more.")
        await ui.press("escape", "ctrl+a", "ctrl+d")
        await ui.shows("delete 3 of 3?", "Used by db-1")
        await deliberate(ui)
        await ui.type("delete 3")
        await ui.press("enter")
        await ui.shows("web-8-root is being deleted", "3 done")
        assert not await world.names("virtualdisks")


async def test_a_click_on_a_title_sorts(world: World) -> None:
    async with looking(world) as ui:
        await ui.shows("web-7", "db-1")
        await ui.pilot.click("#table", offset=(ui.line("STATE").index("STATE"), 0))
        await ui.until(lambda: "STATE↑" in ui.text)
        await ui.pilot.click("#table", offset=(ui.line("STATE").index("STATE"), 0))
        await ui.until(lambda: "STATE↓" in ui.text)


async def test_columns_and_labels_are_filtered_by(world: World) -> None:
    labelled = machine("labelled")
    labelled["metadata"]["labels"] = {"app": "db"}
    await world.add("virtualmachines", labelled, {"phase": "Stopped"})
    async with looking(world) as ui:
        await ui.shows("web-7", "labelled")
        await ui.type("/-l app=db")
        await ui.until(lambda: "web-7" not in ui.text)
        assert "labelled" in ui.text
        await ui.press("escape")
        await ui.type("/address:10.66 memory>=2Gi")
        await ui.until(lambda: "db-1" not in ui.text)
        await ui.press("enter", "2", "1")
        await ui.shows("2 of 5", "/address:10.66")


async def test_commands_and_filters_come_back_by_up_each_their_own(world: World) -> None:
    async with looking(world) as ui:
        await ui.shows("web-7")
        for line in (":sort age", "/web", ":ns lab", ":ns"):
            await ui.type(line)
            await ui.press("enter")
        await ui.type(":")
        await ui.press("up", "up")
        await ui.shows(":ns lab")
        await ui.press("up", "down")
        await ui.press("enter")
        await ui.shows("ns lab")
        await ui.type(":ns")
        await ui.press("enter")
        await ui.type("/")
        await ui.press("up")
        await ui.shows("/web")


async def test_many_that_change_at_once_are_drawn_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = 0
    plain = LinesView.set_lines

    def counted(view: LinesView, lines: list[Text]) -> None:
        nonlocal drawn
        drawn += isinstance(view.screen, Bulk)
        plain(view, lines)

    async def do(target: Target, tell: Tell) -> str:
        for step in range(5):
            tell(f"step {step}")
        return "is done"

    async with looking(world) as ui:
        await ui.shows("web-7")
        main = ui.app.main
        assert main.target is not None
        deed = Deed("tidy", "", do)
        ui.app.push_screen(Bulk(main, deed, lines_of(deed, [main.target] * 100)))
        await ui.shows("tidy 100 of 100?")
        await deliberate(ui)
        monkeypatch.setattr(LinesView, "set_lines", counted)
        await ui.press("y")
        await ui.shows("tidy: 100 done")
        assert drawn < 10


async def test_a_mark_is_of_one_homes_object_also_where_another_home_has_its_uid(world: World) -> None:
    async with looking(world, world) as ui:
        await ui.until(lambda: ui.text.count("web-7") >= 2)
        await ui.type("/web-7")
        await ui.press("enter")
        await ui.shows("2 of 8")
        await ui.press("space", "x")
        await ui.shows("stop 1 of 1?")
