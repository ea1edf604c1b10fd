"""Consoles as a workplace: tabs and tiles that stay, what was said is found and saved, pastes are asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from textual import events

from tests.tui.conftest import Ui, looking
from tests.tui.world import World
from tui.widgets.emulator import Mouse
from tui.widgets.mouse import report
from tui.widgets.terminal import Terminal

ESCAPE = "ctrl+right_square_bracket"


async def opened(ui: Ui, *names: str) -> None:
    for name in names:
        await ui.row(name)
        await ui.press("c")
        await ui.shows(f"connected to shop/{name}", "keys go to the guest")
        if name != names[-1]:
            await ui.press(ESCAPE, "escape")
            await ui.until(lambda: ui.app.screen is ui.app.main)


async def test_sessions_stay_in_tabs_and_go_on_behind_the_lists(world: World) -> None:
    async with looking(world) as ui:
        await opened(ui, "web-7", "web-8")
        await ui.shows("1 web-7", "2 web-8")
        await ui.type("for8")
        await ui.press(ESCAPE, "1")
        await ui.type("for7")
        await ui.until(lambda: world.guests["web-7"].typed == b"for7" and world.guests["web-8"].typed == b"for8")
        await ui.press(ESCAPE, "escape")
        await ui.shows("consoles 2")
        world.guests["web-7"].say(b"said meanwhile\r\n")
        await ui.row("web-7")
        await ui.press("c")
        await ui.shows("said meanwhile")
        assert len(world.guests["web-7"].lines) == 1
        await ui.press(ESCAPE, "x", ESCAPE, "x")
        await ui.until(lambda: ui.app.screen is ui.app.main)
        assert "consoles" not in ui.lines[0]


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (160, 45)])
async def test_tiles_lie_side_by_side_and_a_click_gives_one_the_keys(world: World, size: tuple[int, int]) -> None:
    async with looking(world, size=size) as ui:
        await opened(ui, "web-7", "web-8")
        await ui.press(ESCAPE, "t")
        await ui.shows("connected to shop/web-7", "connected to shop/web-8")
        first = ui.app.screen.query(Terminal).first()
        await ui.pilot.click(first, offset=(2, 1))
        await ui.type("x")
        await ui.until(lambda: world.guests["web-7"].typed == b"x")
        await ui.press(ESCAPE, "t")
        await ui.until(lambda: "connected to shop/web-8" not in ui.text)


async def test_the_escape_key_twice_is_sent_and_other_keys_are_ours(world: World) -> None:
    async with looking(world) as ui:
        await opened(ui, "web-7")
        await ui.press(ESCAPE, "Z", ESCAPE, "a")
        await ui.until(lambda: b"a" in world.guests["web-7"].typed)
        assert world.guests["web-7"].typed == b"\x1da"
        await ui.press(ESCAPE, "y")
        await ui.until(lambda: b"stty" in world.guests["web-7"].typed)
        columns, rows = ui.app.screen.query_one(Terminal).cells
        assert world.guests["web-7"].typed == f"\x1da stty rows {rows} cols {columns}".encode()


async def test_what_scrolled_away_is_found_and_saved(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with looking(world) as ui:
        await opened(ui, "web-7")
        said = b"".join(b"line %d\r\n" % number for number in range(500))
        world.guests["web-7"].say(
            said.replace(b"line 77\r", b"here is the Needle\r") + b"\x1b]52;c;AAAA\x07THE END"
        )
        await ui.shows("THE END")
        await ui.press(ESCAPE, "slash")
        await ui.type("needle")
        await ui.press("enter")
        await ui.shows("here is the Needle")
        await ui.press("n")
        await ui.shows("nothing more is found")
        await ui.press("s", "enter")
        await ui.shows("written to")
        (name,) = os.listdir(tmp_path)
        text = (tmp_path / name).read_text()
        assert "line 3\nline 4\n" in text
        assert "here is the Needle" in text
        assert "\x1b" not in text
        await ui.type("x")
        await ui.shows("THE END")


async def test_a_paste_of_several_lines_asks(world: World) -> None:
    async with looking(world) as ui:
        await opened(ui, "web-7")
        terminal = ui.app.screen.query_one(Terminal)
        terminal.post_message(events.Paste("rm -rf /tmp/x\nreboot\n"))
        await ui.shows("Paste 2 lines into web-7", "rm -rf /tmp/x", "reboot")
        await ui.pilot.pause(0.6)
        await ui.press("n")
        terminal.post_message(events.Paste("one"))
        await ui.until(lambda: world.guests["web-7"].typed == b"one")
        terminal.post_message(events.Paste("a\nb"))
        await ui.shows("Paste 2 lines")
        await ui.pilot.pause(0.6)
        await ui.press("y")
        await ui.until(lambda: world.guests["web-7"].typed == b"onea\rb")


async def test_a_guest_s_program_hears_of_the_mouse_when_it_asked(world: World) -> None:
    async with looking(world) as ui:
        await opened(ui, "web-7")
        await ui.pilot.click(Terminal, offset=(4, 2))
        world.guests["web-7"].say(b"\x1b[?1000h\x1b[?1006hready")
        await ui.shows("ready")
        await ui.pilot.click(Terminal, offset=(4, 0))
        await ui.until(lambda: world.guests["web-7"].typed == b"\x1b[<0;5;1M\x1b[<0;5;1m")


def test_mouse_reports_have_the_form_that_was_asked_for() -> None:
    assert report(Mouse(), "down", 1, 0, 0) == b""
    assert report(Mouse("press"), "up", 1, 0, 0) == b""
    assert report(Mouse("click"), "down", 3, 9, 4) == b"\x1b[M" + bytes((34, 42, 37))
    assert report(Mouse("click"), "up", 3, 9, 4) == b"\x1b[M" + bytes((35, 42, 37))
    assert report(Mouse("click"), "down", 1, 300, 4) == b""
    assert report(Mouse("click", sgr=True), "scroll up", 0, 300, 4) == b"\x1b[<64;301;5M"
    assert report(Mouse("drag", sgr=True), "move", 0, 1, 1) == b""
    assert report(Mouse("drag", sgr=True), "move", 1, 1, 1) == b"\x1b[<32;2;2M"
    assert report(Mouse("all", sgr=True), "move", 0, 1, 1) == b"\x1b[<35;2;2M"
