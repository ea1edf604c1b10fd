"""Where a user has been: what it keeps, and what it makes of what somebody else wrote there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tui.conftest import Ui, looking
from tests.tui.world import World, machine
from tui import context
from tui.context import MOST_CONTEXTS, Trail


def test_each_list_keeps_its_own_filter_and_order_and_one_goes_back_and_forward() -> None:
    trail = Trail("vm")
    trail.current.query, trail.current.sort = "web", "AGE"
    trail.visit("vd").query = "root"
    trail.visit("vi")
    assert (trail.visit("vm").query, trail.current.sort) == ("web", "AGE")
    assert trail.visited == (("vm", "vd", "vi", "vm"), 3)
    assert trail.step(-1)
    assert trail.step(-1)
    assert trail.current.query == "root"
    assert trail.step(1)
    assert trail.current.view == "vi"
    assert trail.swap()
    assert trail.current.view == "vd"
    assert trail.swap()
    trail.visit("vop")
    assert trail.visited == (("vm", "vd", "vi", "vop"), 3)
    assert not trail.step(1)


def test_it_ends_somewhere() -> None:
    trail = Trail("a")
    for number in range(200):
        trail.visit("ab"[number % 2], anew=True).cursor = str(number)
    assert len(trail.visited[0]) == MOST_CONTEXTS
    assert trail.current.cursor == "199"
    assert trail.swap()
    assert trail.current.cursor == "198"


def test_what_is_kept_comes_back_but_for_marks() -> None:
    trail = Trail("vm")
    trail.current.marks.add("uid")
    trail.visit("vd").query = "Größe"
    trail.namespace = "shop"
    again = Trail("x")
    assert again.loads(trail.dumps())
    assert again.dumps() == trail.dumps()
    assert again.step(-1)
    assert again.current.marks == set()


@pytest.mark.parametrize(
    "change",
    [{"at": 7}, {"at": -1}, {"at": True}, {"before": "0"}, {"form": 2}, {"contexts": []}, {"contexts": [{}]},
     {"contexts": [{"view": "vm", "query": "\x1b]52;c;x\x07", "sort": "", "reverse": False, "cursor": ""}]},
     {"namespace": None}, {"contexts": None}],
)  # fmt: skip
def test_what_somebody_else_wrote_changes_nothing(change: dict[str, object]) -> None:
    trail = Trail("vm")
    before = trail.dumps()
    assert not trail.loads(json.dumps({**json.loads(before), **change}).encode())
    assert trail.dumps() == before


_NAMES = st.sampled_from(("at", "contexts", "form"))
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner),
)


@given(st.binary(max_size=200) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_garbage_is_no_trail(content: bytes) -> None:
    trail = Trail("vm")
    before = trail.dumps()
    assert not trail.loads(content)
    assert trail.dumps() == before


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "hyperd").write_text("a file in the folder's place")
    path = tmp_path / "hyperd" / "tui.json"
    context.write(path, b"{}")
    assert context.read(path) == b""
    assert context.state_file({"HOME": "/root"}) == Path("/root/.local/state/hyperd/tui.json")
    assert context.state_file({"XDG_STATE_HOME": "/x", "HOME": "/root"}) == Path("/x/hyperd/tui.json")


async def _sort_by_memory_and_filter(ui: Ui) -> None:
    for command in (":sort memory down", "/web"):
        await ui.press("colon" if command[0] == ":" else "slash")
        await ui.type(command[1:])
        await ui.press("enter")
    await ui.shows("MEMORY↓", "2 of 4")


async def test_a_change_of_list_keeps_filter_order_and_cursor_and_so_does_the_next_run(
    world: World, tmp_path: Path
) -> None:
    state = tmp_path / "tui.json"
    async with looking(world, state=state) as ui:
        await ui.shows("web-7")
        await _sort_by_memory_and_filter(ui)
        await ui.row("web-8")
        await ui.press("2")
        await ui.shows("web-7-root", "db-1-root")
        await ui.press("1")
        await ui.shows("MEMORY↓", "2 of 4")
        assert ui.line("web-8 ").startswith("▌")
        await ui.press("left_square_bracket")
        await ui.shows("db-1-root")
        await ui.press("right_square_bracket", "minus")
        await ui.shows("db-1-root")
        await ui.press("minus")
        await ui.shows("MEMORY↓", "2 of 4")
    async with looking(world, state=state) as ui:
        await ui.shows("web-8", "MEMORY↓", "2 of 4")
        await ui.until(lambda: ui.line("web-8 ").startswith("▌"), "the cursor")


async def test_another_machine_of_the_same_name_is_not_under_the_cursor(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("web-8")
        before = ui.app.main.cursor
        await ui.press("ctrl+d")
        await ui.shows("Delete VirtualMachine web-8")
        await world.remove("virtualmachines", "shop", "web-8")
        await world.add("virtualmachines", machine("web-8"), {"phase": "Stopped"})
        await ui.until(lambda: ui.app.main.cursor != before)
        await ui.pilot.pause(0.6)
        await ui.press("y")
        await ui.shows("✖")
        assert "web-8" in await world.names("virtualmachines")
