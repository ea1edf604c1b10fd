"""List and detail on the screen: zoom, beside each other, searched, copied; what an object uses; what goes on."""

from __future__ import annotations

import base64
from types import SimpleNamespace

import pytest

from hyperd.client.kinds import built_in
from tests.tui.conftest import Ui, looking
from tests.tui.world import World
from tui import kinds, works
from tui.widgets.yaml import YamlView

SIZES = [(80, 24), (100, 30), (160, 45)]


def _column(ui: Ui, word: str) -> int:
    return ui.line(word).find(word)


def _at(ui: Ui, name: str) -> bool:
    """Whether the cursor is on it."""
    return any(line.startswith("▌") and name in line for line in ui.lines)


async def test_the_detail_is_beside_the_list_where_there_is_room_and_below_it_else(world: World) -> None:
    async with looking(world, size=(160, 45)) as ui:
        await ui.row("web-7")
        await ui.shows("Overview", "10.66.10.7")
        assert _column(ui, "Overview") > 80
        assert "NAME" in ui.line("Overview"), "on the same line as the list's titles"
        await ui.pilot.resize_terminal(120, 45)
        await ui.until(lambda: 0 <= _column(ui, "Overview") < 40, "the detail below")
        assert "NAME" not in ui.line("Overview")


async def test_a_long_name_leaves_the_tabs_on_the_screen(world: World) -> None:
    name = "the-quarterly-billing-and-reconciliation-service-of-the-west"
    async with looking(world, size=(80, 45)) as ui:
        await world.machine(name, phase="Stopped")
        await ui.row(name)
        await ui.shows("─ the-quarterly", "…", "Overview", "YAML", "Events", "Console")


async def test_rows_follow_the_titles_when_the_terminal_gets_narrower_and_wider(world: World) -> None:
    async with looking(world, size=(140, 36)) as ui:
        await ui.row("web-7")
        for columns, rows in ((80, 24), (140, 36), (80, 24), (140, 36)):
            await ui.pilot.resize_terminal(columns, rows)
            await ui.row("web-7")
            await ui.pilot.pause(0.1)
            place = ui.line("STATE").find("STATE")
            assert {line.find("●") for line in ui.lines if "Running" in line and "web" in line} == {place}, ui.text


@pytest.mark.parametrize("size", SIZES)
async def test_a_pane_is_zoomed_searched_and_left_again(world: World, size: tuple[int, int]) -> None:
    async with looking(world, size=size) as ui:
        await ui.row("web-7")
        await ui.press("y", "z")
        await ui.until(lambda: "db-1" not in ui.text, "the whole screen")
        await ui.shows("apiVersion", "YAML")
        await ui.press("slash")
        await ui.type("blockdevicerefs")
        await ui.until(lambda: "blockDeviceRefs" in ui.text, "what is sought")
        await ui.press("enter", "n")
        assert "blockDeviceRefs" in ui.text
        await ui.press("escape")
        await ui.shows("db-1", "NAME")
        assert ui.app.main.table.has_focus


async def test_name_and_pane_are_copied_by_the_terminal_s_own_means(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with looking(world) as ui:
        written: list[str] = []
        await ui.row("web-7")
        monkeypatch.setattr(ui.app._driver, "write", written.append)
        await ui.press("Y")
        await ui.press("colon")
        await ui.type("yank yaml")
        await ui.press("enter")
        await ui.until(lambda: len([text for text in written if text.startswith("\x1b]52;c;")]) == 2, "both")
        name, yaml = (text for text in written if text.startswith("\x1b]52;c;"))
        assert base64.b64decode(name.removeprefix("\x1b]52;c;").rstrip("\a")) == b"web-7"
        assert b"kind: VirtualMachine" in base64.b64decode(yaml.removeprefix("\x1b]52;c;").rstrip("\a"))


async def test_long_lines_of_yaml_go_on_below_when_asked(world: World) -> None:
    async with looking(world, size=(80, 45)) as ui:
        await world.set_status(
            "virtualmachines", "shop", "web-8", {"phase": "Running", "guestOSInfo": {"name": "x" * 100 + "END"}}
        )
        await ui.row("web-8")
        await ui.press("y", "f", "z", "end")
        assert "END" not in ui.text
        await ui.press("W", "end")
        await ui.shows("END")


async def test_status_and_what_is_long_are_put_away_until_somebody_asks(world: World) -> None:
    changes = [{"operation": "add", "path": f"p{number}"} for number in range(20)]
    status = {"phase": "Running", "guestOSInfo": {"name": "Debian"}, "restartAwaitingChanges": changes}
    async with looking(world, size=(80, 45)) as ui:
        await world.set_status("virtualmachines", "shop", "web-8", status)
        await ui.row("web-8")
        await ui.press("y", "z")
        await ui.shows("▸status: ⋯", "▾spec:")
        assert "Debian" not in ui.text
        await ui.press("end", "enter")
        await ui.shows("phase: Running", "▸  restartAwaitingChanges: ⋯ 20 entries", "▾  guestOSInfo:")
        await ui.press("end", "right", "G")
        await ui.shows("path: p19")
        # From inside one closes what one is in; from a line above, the key.
        await ui.press("left", "left", "left", "left")
        await ui.shows("▌▸  restartAwaitingChanges: ⋯ 20 entries")
        await ui.press("left", "left")
        await ui.shows("▌▸status: ⋯")
        await ui.press("f")
        await ui.shows("path: p3")
        await ui.press("f")
        await ui.shows("▸status: ⋯")


async def test_what_is_put_away_is_found_and_copied_and_stays_away_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with looking(world, size=(80, 45)) as ui:
        await world.set_status(
            "virtualmachines", "shop", "web-8", {"phase": "Running", "guestOSInfo": {"name": "Debian"}}
        )
        await ui.row("web-8")
        await ui.press("y", "z", "slash")
        await ui.type("debian")
        await ui.shows("name: Debian")
        await ui.press("escape")
        await ui.until(lambda: "Debian" not in ui.text, "it is put away again")
        await ui.press("slash")
        await ui.type("debian")
        await ui.press("enter")
        await ui.shows("name: Debian")
        await world.set_status(
            "virtualmachines", "shop", "web-8", {"phase": "Running", "guestOSInfo": {"name": "Debian 13"}}
        )
        await ui.shows("name: Debian 13")
        await ui.press("f")
        await ui.until(lambda: "Debian" not in ui.text)
        written: list[str] = []
        monkeypatch.setattr(ui.app._driver, "write", written.append)
        await ui.press("Y")
        copied = next(text for text in written if text.startswith("\x1b]52;c;"))
        assert b"name: Debian 13\n" in base64.b64decode(copied.removeprefix("\x1b]52;c;").rstrip("\a"))
        await ui.pilot.click(YamlView, offset=(1, len(ui.app.screen.query_one(YamlView).lines) - 1))
        await ui.shows("name: Debian 13")


@pytest.mark.parametrize("size", SIZES)
async def test_one_goes_from_machine_to_disk_to_image_and_back(world: World, size: tuple[int, int]) -> None:
    async with looking(world, size=size) as ui:
        await ui.row("web-7")
        await ui.press("u")
        await ui.shows("uses", "used by", "VirtualMachineClass")
        place = [line for line in ui.lines if "not known here" in line or "●" in line]
        assert any("web-7-root" in line for line in place)
        steps = next(
            i for i, other in enumerate(getattr(ui.app.screen, "_others", ())) if other.name == "web-7-root"
        )
        await ui.press(*["down"] * steps, "enter")
        await ui.shows("disks", "web-7-root")
        await ui.until(lambda: _at(ui, "web-7-root"), "the disk")
        await ui.press("u")
        await ui.until(
            lambda: (
                [other.name for other in getattr(ui.app.screen, "_others", ())] == ["debian-12", "local", "web-7"]
            ),
            "both",
        )
        await ui.press("enter")
        await ui.until(lambda: _at(ui, "debian-12"), "the image")
        await ui.press("left_square_bracket")
        await ui.until(lambda: _at(ui, "web-7-root"), "back")


@pytest.mark.parametrize("size", SIZES)
async def test_what_goes_on_is_listed_with_how_far_it_is_and_cancelled_after_a_question(
    world: World, size: tuple[int, int]
) -> None:
    async with looking(world, size=size) as ui:
        await ui.shows("web-7")
        ui.app.main.say("something went wrong", error=True)
        await ui.press("a")
        await ui.shows("ubuntu-24", "37%", "✖ something went wrong", "x cancel")
        await ui.press("x")
        await ui.shows("Cancel vi ubuntu-24", "It is deleted")
        await ui.pilot.pause(0.6)
        await ui.press("y")
        await ui.shows("Nothing is on its way", "ubuntu-24 is cancelled")
        assert "ubuntu-24" not in await world.names("virtualimages")
        await ui.press("escape")
        await ui.shows("machines")


async def test_how_long_it_takes_yet_is_told_by_how_fast_it_goes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:

    now = 100.0
    monkeypatch.setattr(works, "time", SimpleNamespace(monotonic=lambda: now))
    pace = works.Pace()
    assert pace.left("x", 0.2) is None
    now = 110.0
    assert pace.left("x", 0.4) == pytest.approx(30.0)
    assert pace.left("x", 0.1) is None, "it began anew"


@pytest.mark.parametrize("size", SIZES)
async def test_a_namespace_is_chosen_from_a_list_that_counts(world: World, size: tuple[int, int]) -> None:
    async with looking(world, size=size) as ui:
        await ui.shows("web-7", "test")
        await ui.press("n")
        await ui.shows("all", "shop", "lab", "default")
        await ui.until(lambda: ui.line(" shop ").split()[-3:] == ["3", "3", "1"], "its counts")
        await ui.type("ho")
        await ui.until(lambda: " lab " not in ui.text.partition("Enter shows")[0].partition("namespace  ")[2])
        await ui.press("enter")
        await ui.shows("ns shop")
        await ui.until(lambda: "Pending" not in ui.text, "only the shop")
        await ui.press("n")
        await ui.shows("Enter shows it")
        await ui.press(*["up"] * 9, "enter")
        await ui.shows("ns all", "Pending")


def test_a_word_means_the_kind_that_it_means_to_hv() -> None:
    by_word = kinds.load().by_word
    for resource in built_in():
        for word in (resource.plural, resource.singular, *resource.short_names):
            assert by_word[word].plural == resource.plural if word in by_word else True, word
