"""Machines' screens inside the UI: what is seen, pressed, pointed at, saved; and screens that mean harm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from textual import events

from tests.tui.conftest import Ui, looking
from tests.tui.screens import Picture
from tests.tui.terminal import Screen
from tests.tui.world import World
from tests.unit.cli.conftest import environment
from tests.unit.graphics import decoding
from tests.unit.rfb.corpus import GREETING, cases
from tui.widgets.keysyms import ALT, CONTROL, SHIFT
from tui.widgets.vga import VgaScreen

GREETING_FIRST = [case for case in cases() if case.data.startswith(GREETING)]


def picture(colour: tuple[int, int, int] = (255, 0, 0)) -> Image.Image:
    """A field of a colour, whose right half is white."""
    image = Image.new("RGB", (320, 200), colour)
    ImageDraw.Draw(image).rectangle((160, 0, 319, 199), fill=(255, 255, 255))
    return image


def colours(ui: Ui) -> set[tuple[int, ...]]:
    """The colours that the screen's cells have."""
    view = ui.app.screen.query_one(VgaScreen)
    found = set[tuple[int, ...]]()
    for row in view._rows:
        found |= {tuple(row[at : at + 3]) for at in range(0, len(row), 3)}
    return found


async def opened(ui: Ui, world: World) -> Picture:
    await world.picture("web-7").show(picture())
    await ui.row("web-7")
    await ui.press("v")
    await ui.shows("connected to shop/web-7", "keys go to the guest")
    await ui.until(lambda: bool(ui.app.screen.query_one(VgaScreen)._rows), "a picture")
    return world.picture("web-7")


async def test_a_screen_is_seen_in_half_blocks_and_follows_what_changes(world: World) -> None:
    async with looking(world) as ui:
        shown = await opened(ui, world)
        await ui.until(lambda: colours(ui) == {(255, 0, 0), (255, 255, 255)})
        assert "▀" not in ui.text
        await shown.show(picture((0, 0, 255)))
        await ui.until(lambda: (0, 0, 255) in colours(ui))
        await shown.show(picture().resize((64, 48)))
        await ui.until(lambda: ui.app.screen.query_one(VgaScreen)._fit.width == 64)  # type: ignore[union-attr]


async def test_keys_are_pressed_as_on_a_keyboard(world: World) -> None:
    async with looking(world) as ui:
        shown = await opened(ui, world)
        await ui.press("a", "A", "enter", "f2", "ctrl+c", "alt+x", "exclamation_mark", "up")
        await ui.until(lambda: (0xFF52, False) in shown.pressed)
        down = [keysym for keysym, pressed in shown.pressed if pressed]
        assert down == [
            ord("a"), SHIFT, ord("A"), 0xFF0D, 0xFFBF, CONTROL, ord("c"), ALT, ord("x"), SHIFT, ord("!"), 0xFF52,
        ]  # fmt: skip
        assert sorted(down) == sorted(keysym for keysym, pressed in shown.pressed if not pressed)
        shown.pressed.clear()
        await ui.press("ctrl+right_square_bracket", "d")
        await ui.until(lambda: (CONTROL, False) in shown.pressed)
        assert [keysym for keysym, pressed in shown.pressed if pressed] == [CONTROL, ALT, 0xFFFF]
        shown.pressed.clear()
        await ui.press("ctrl+right_square_bracket", "ctrl+right_square_bracket", "z")
        await ui.until(lambda: (ord("z"), False) in shown.pressed)
        assert [keysym for keysym, pressed in shown.pressed if pressed] == [CONTROL, ord("]"), ord("z")]


async def test_the_mouse_points_at_the_pixel_beneath_it(world: World) -> None:
    async with looking(world) as ui:
        shown = await opened(ui, world)
        view = ui.app.screen.query_one(VgaScreen)
        assert view._fit is not None
        await ui.pilot.mouse_down(VgaScreen, offset=(view._fit.left, view._fit.top))
        await ui.pilot.mouse_up(VgaScreen, offset=(view._fit.left + view._fit.columns - 1, view._fit.top))
        await ui.until(lambda: bool(shown.pointed) and shown.pointed[-1][2] == 0 and shown.pointed[-1][0] > 300)
        assert any(buttons == 1 and x < 4 and y < 8 for x, y, buttons in shown.pointed)


async def test_one_key_changes_between_screen_and_serial_line_and_both_stay_open(world: World) -> None:
    async with looking(world) as ui:
        shown = await opened(ui, world)
        await ui.press("ctrl+right_square_bracket", "v")
        await ui.shows("Linux version 6.1.0", "connected to shop/web-7")
        await ui.type("ls")
        await ui.until(lambda: world.guests["web-7"].typed == b"ls")
        await ui.press("ctrl+right_square_bracket", "v", "k")
        await ui.until(lambda: (ord("k"), True) in shown.pressed)
        assert shown.lookers == 1
        await ui.press("ctrl+right_square_bracket", "escape")
        await ui.shows("consoles 1", "web-8")
        await ui.press("v")
        await ui.shows("connected to shop/web-7")
        assert shown.lookers == 1
        await ui.press("ctrl+right_square_bracket", "x")
        await ui.until(lambda: ui.app.screen is ui.app.main)
        await ui.until(lambda: shown.lookers == 0)


async def test_a_screenshot_is_a_file_of_the_user_s(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with looking(world) as ui:
        await opened(ui, world)
        await ui.press("ctrl+right_square_bracket", "s")
        await ui.shows("PNG file: web-7-")
        await ui.press("enter")
        await ui.shows("written to")
        (name,) = os.listdir(tmp_path)
        with Image.open(tmp_path / name) as written:
            assert written.convert("RGB").tobytes() == picture().tobytes()
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


async def test_several_pasted_lines_are_asked_for(world: World) -> None:
    async with looking(world) as ui:
        shown = await opened(ui, world)
        ui.app.screen.query_one(VgaScreen).post_message(events.Paste("rm -rf /\nyes\n"))
        await ui.shows("Paste 2 lines into web-7", "rm -rf /")
        await ui.press("n")
        ui.app.screen.query_one(VgaScreen).post_message(events.Paste("ok"))
        await ui.until(lambda: (ord("k"), False) in shown.pressed)
        assert [keysym for keysym, pressed in shown.pressed if pressed] == [ord("o"), ord("k")]


async def test_who_has_the_screen_is_named_before_they_are_thrown_out(world: World) -> None:
    async with looking(world) as first, looking(world) as second:
        await opened(first, world)
        await second.row("web-7")
        await second.press("v")
        await second.shows("Take over the screen of web-7", "is held by")
        await second.pilot.pause(0.6)
        await second.press("y")
        await second.shows("connected to shop/web-7")
        await first.shows("someone else opened this")


async def test_a_hostile_screen_ends_its_session_and_nothing_else(world: World) -> None:
    shown = world.picture("web-7")
    shown.size = (640, 480)
    async with looking(world) as ui:
        await ui.row("web-7")
        for case in GREETING_FIRST:
            shown.hostile = case.data.removeprefix(GREETING)
            await ui.press("v")
            if case.says:
                await ui.shows(case.says.split()[0], "not connected · c opens the session")
            else:
                await ui.shows("connected to shop/web-7")
            assert not any(ord(char) < 0x20 and char != "\n" for char in ui.text)
            (tab,) = ui.app.main.sessions.tabs
            ui.app.main.sessions.close_one(tab.key)
            await ui.until(lambda: ui.app.screen is ui.app.main, case.name)


@pytest.mark.parametrize("mode", ["kitty", "sixel"])
async def test_a_terminal_with_graphics_gets_pictures(world: World, mode: str) -> None:
    await world.picture("web-7").show(picture())
    answer = b"\x1b_Gi=31;OK\x1b\\\x1b[?62;c" if mode == "kitty" else b"\x1b[?62;4;22c"
    async with Screen(environment(world), "tui", "web-7") as screen:
        await screen.shows("web-7")
        await screen.type(b"v")
        await screen.until(lambda: b"\x1b_Gi=31" in screen.written)
        assert not decoding.kitty(screen.written.decode("utf-8", "replace"))
        await screen.type(answer)
        start = b"\x1b_Ga=T" if mode == "kitty" else b"\x1bP0;1;0q"
        await screen.until(lambda: start in screen.written and b"\x1b8" in screen.written.rpartition(start)[2])
        text = screen.written.decode("utf-8", "replace")
        seen = decoding.kitty(text)[-1].image if mode == "kitty" else decoding.sixel(text)
        width, height = seen.size
        assert seen.getpixel((width // 4, height // 2)) == (255, 0, 0)
        assert seen.getpixel((width * 3 // 4, height // 2)) == (255, 255, 255)
        # What the terminal answered was typed into nobody.
        assert world.picture("web-7").pressed == []
        await screen.type(b"\x1dq")
        await screen.shows("? help")
        if mode == "kitty":
            assert b"a=d,d=I" in screen.written
        await screen.type(b"q")
        assert await screen.ends() == 0
