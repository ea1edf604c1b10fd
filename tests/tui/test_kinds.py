"""Every kind that a home serves has its list; adding a kind or an action is one file."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from hyperd.client.home import local
from tests.tui.conftest import looking
from tests.tui.world import World
from tui import actions, fleet, kinds
from tui.app import HvApp

_KIND = """
from tui.kind import NAME, Field, Kind, at
from tui.widgets.rows import Column

KIND = Kind(
    "namespaces", "rooms", ("rooms",), (NAME, Field(Column("PHASE OF IT", 12), at(".status.phase"))), digit="9",
)
"""
_ACTION = """
from dataclasses import dataclass

from textual.screen import Screen
from textual.widgets import Static

from tui.action import Parameters, action


class Greeting(Screen):
    def __init__(self, text):
        super().__init__()
        self.text = text

    def compose(self):
        yield Static(self.text)


@dataclass(frozen=True)
class Greet(Parameters):
    word: str = "Hello"
    loud: bool = False


def _greet(desk, targets, given):
    text = f"{given.word}, {targets[0].key.name}"
    desk.push(Greeting(text.upper() if given.loud else text))


ACTIONS = (
    action("greet", "W", "greet", "say something nice to it", "Manners", _greet, Greet, words="greet",
           applies=lambda kind: kind.plural == "virtualmachines",
           refuses=lambda target: "is shy" if target.key.name == "db-1" else ""),
)
"""


@pytest.fixture
def one_file_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package, name, content in ((kinds, "rooms", _KIND), (actions, "greeting", _ACTION)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.py").write_text(content)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])


async def test_a_kind_a_column_an_action_and_a_screen_are_one_file_each(world: World, one_file_each: None) -> None:
    async with looking(world, size=(140, 80)) as ui:
        await ui.press("9")
        await ui.shows("\n rooms   ", "PHASE OF IT", "shop")
        await ui.type(":rooms lab")
        await ui.press("enter")
        await ui.until(lambda: "shop" not in ui.text)
        await ui.press("1")
        await ui.type(":greet web-7 Moin loud")
        await ui.press("enter")
        await ui.shows("MOIN, WEB-7")
        ui.app.pop_screen()
        await ui.type(":greet web-7 Moin loud again")
        await ui.press("enter")
        await ui.shows("greet takes no again")
        await ui.row("db-1")
        await ui.press("question_mark", "G", "pageup")
        await ui.shows("Manners", "say something nice to it  :greet [word] [loud]  (db-1 is shy)")


async def test_every_kind_that_is_served_is_a_list_in_the_server_s_columns(world: World) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull", "namespace": "shop"},
              "type": "Opaque", "stringData": {"a": "b"}}  # fmt: skip
    async with looking(world) as ui:
        await ui.shows("web-7")
        await ui.type(":secret")
        await ui.press("enter")
        await ui.shows("\n secrets   ", "There is none.")
        await world.add("secrets", secret, group="")
        await ui.until(lambda: ui.line("pull ").split()[1:4] == ["pull", "shop", "Opaque"], "its row")
        assert ui.line("NAME").split()[:4] == ["NAME↑", "NAMESPACE", "TYPE", "DATA"]
        await ui.press("y")
        await ui.shows("type: Opaque")
        served = ui.app.fleet.resources
        assert {"virtualmachineclasses", "storageclasses", "resourcequotas"} <= served.keys()
        for plural in list(served):
            ui.app.main.show_list(plural)
            await ui.until(partial(ui.app.fleet.listed, plural), plural)


async def test_what_nobody_looks_at_is_not_followed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "LINGER_SECONDS", 0.1)
    async with looking(world) as ui:
        await ui.shows("web-7")
        followed = {plural for _, plural in ui.app.fleet._tasks if plural}
        assert followed == {
            "virtualmachines", "virtualdisks", "virtualimages", "clustervirtualimages", "virtualmachineoperations",
            "virtualmachinepools", "virtualmachinestats", "nodestats",
        }  # fmt: skip
        await ui.press("7")
        await ui.shows("RestartAwaitingChanges")
        await ui.press("1")
        await ui.until(lambda: not ui.app.fleet.objects("events"), "the end of it")
        assert {plural for _, plural in ui.app.fleet._tasks if plural} == followed
        await ui.row("web-7")
        await ui.press("E")
        await ui.shows("The machine runs")


def test_the_program_is_made_before_its_loop_runs() -> None:
    HvApp([local("/nowhere/x.sock")])
