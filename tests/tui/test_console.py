"""The console inside the UI, with a guest that echoes behind a real session server."""

from __future__ import annotations

import asyncio

import pytest
from textual.strip import Strip

from tests.tui.conftest import looking
from tests.tui.world import BOOT, World
from tui.widgets.terminal import Terminal


async def test_the_tab_follows_the_log_without_taking_the_session(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("web-7")
        await ui.press("tab", "tab", "tab")
        await ui.shows("what the console said", "Linux version 6.1.0")
        assert world.guests["web-7"].lines == []


async def test_typing_reaches_the_guest_and_the_escape_key_gives_the_keys_back(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("web-7")
        await ui.press("c")
        await ui.shows("connected to shop/web-7", "Linux version 6.1.0")
        await ui.type("root q?")
        await ui.press("enter", "up", "f1", "ctrl+c", "tab")
        await ui.until(lambda: world.guests["web-7"].typed == b"root q?\r\x1b[A\x1bOP\x03\t")
        await ui.shows("web-7 login:")
        await ui.press("ctrl+right_square_bracket", "escape")
        await ui.until(lambda: ui.app.screen is ui.app.main and ui.app.main.table.has_focus)
        await ui.press("2")
        await ui.shows("web-7-root")


async def test_the_session_comes_back_after_a_restart_of_the_daemon(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("web-7")
        await ui.press("c")
        await ui.shows("connected to shop/web-7")
        await world.stop()
        await ui.until(lambda: "connected to shop/web-7" not in ui.text)
        await world.start()
        await ui.shows("connected to shop/web-7")
        await ui.press("enter")
        await ui.shows("web-7 login:")


async def test_another_user_who_takes_the_session_is_told_of(world: World) -> None:
    async with looking(world) as first, looking(world) as second:
        await first.row("web-7")
        await first.press("c")
        await first.shows("connected to shop/web-7")
        await second.row("web-7")
        await second.press("c")
        await second.shows("Take over the console of web-7", "is held by")
        assert "connected to shop/web-7" in first.text
        await asyncio.sleep(0.6)
        await second.press("y")
        await second.shows("connected to shop/web-7")
        await first.shows("someone else opened this console", "not connected · c opens the session")
        await first.press("x", "q", "c")  # typed for the guest that is not there any more
        # What happens in the fleet does not bring the log's preview in the reason's place.
        await world.set_status("virtualmachines", "shop", "web-7", {"phase": "Running", "nodeName": "n2"})
        await asyncio.sleep(1.2)
        first.app.main.detail.redraw()
        await first.shows("someone else opened this console")
        assert first.app.is_running
        await first.press("escape")
        await first.until(lambda: first.app.screen is first.app.main)


async def test_a_console_that_is_only_looked_at_says_where_keys_go(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("web-7")
        await ui.press("tab", "tab", "tab", "enter")
        await ui.shows("not connected · c opens the console")
        await ui.press("c")
        await ui.shows("keys go to the guest")
        assert world.guests["web-7"].typed == b""


async def test_a_guest_s_old_questions_are_not_answered(world: World) -> None:
    log = world.settings.console_log_dir / f"{world.uids['web-7']}.log"
    log.write_bytes(BOOT + b"\x1b[6n\x1b[c\x1b[5n" * 50 + b"# ")
    async with looking(world) as ui:
        await ui.row("web-7")
        await ui.press("tab", "tab", "tab")
        await ui.shows("what the console said", "Linux version 6.1.0")
        await ui.press("c")
        await ui.shows("connected to shop/web-7")
        await ui.press("a")
        await ui.until(lambda: b"a" in world.guests["web-7"].typed)
        assert world.guests["web-7"].typed == b"a"
        world.guests["web-7"].say(b"\x1b[5n")
        await ui.until(lambda: world.guests["web-7"].typed == b"a\x1b[0n")


async def test_it_opens_at_the_end_of_a_short_history_and_typing_goes_there(world: World) -> None:
    log = world.settings.console_log_dir / f"{world.uids['web-7']}.log"
    log.write_bytes(b"".join(b"line %d of the boot\r\n" % i for i in range(120)) + b"prompt> ")
    async with looking(world) as ui:
        await ui.row("web-7")
        await ui.press("c")
        await ui.shows("connected to shop/web-7", "prompt>", "line 119")
        await ui.press("shift+pageup", "shift+pageup")
        await ui.until(lambda: "prompt>" not in ui.text)
        await ui.press("a")
        await ui.shows("prompt>")


async def test_a_flood_does_not_stop_the_keys(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("web-7")
        await ui.press("c")
        await ui.shows("connected to shop/web-7")
        world.guests["web-7"].say(
            b"".join(b"line %d \x1b[32mok\x1b[0m\r\n" % i for i in range(40_000)) + b"THE END"
        )
        await ui.shows("THE END")
        terminal = ui.app.screen.query_one(Terminal)
        assert terminal.max_scroll_y > 1000
        await ui.press("shift+pageup")
        await ui.until(lambda: "THE END" not in ui.text)


async def test_an_echo_paints_its_line_and_no_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with looking(world) as ui:
        await ui.row("web-7")
        await ui.press("c")
        await ui.shows("connected to shop/web-7")
        await ui.press("Q")
        await ui.until(lambda: "Q" in ui.app.screen.query_one(Terminal).text)
        await ui.pilot.pause(0.1)
        painted = list[int]()
        line = Terminal.render_line

        def counted(terminal: Terminal, y: int) -> Strip:
            painted.append(y)
            return line(terminal, y)

        monkeypatch.setattr(Terminal, "render_line", counted)
        await ui.press("Z")
        await ui.until(lambda: "QZ" in ui.app.screen.query_one(Terminal).text)
        await ui.pilot.pause(0.1)
        assert 0 < len(painted) <= 2
