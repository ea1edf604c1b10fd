"""The console inside the UI, with a guest that echoes behind a real session server."""

from __future__ import annotations

from tests.tui.conftest import looking
from tests.tui.world import World
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
        await ui.press("ctrl+right_square_bracket")
        await ui.until(lambda: ui.app.main.table.has_focus)
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
        for ui in (first, second):
            await ui.row("web-7")
            await ui.press("c")
            await ui.shows("connected to shop/web-7")
        await first.shows("someone else opened this console")


async def test_a_flood_does_not_stop_the_keys(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("web-7")
        await ui.press("c")
        await ui.shows("connected to shop/web-7")
        world.guests["web-7"].say(
            b"".join(b"line %d \x1b[32mok\x1b[0m\r\n" % i for i in range(40_000)) + b"THE END"
        )
        await ui.shows("THE END")
        terminal = ui.app.main.query_one(Terminal)
        assert terminal.max_scroll_y > 1000
        await ui.press("shift+pageup")
        await ui.until(lambda: "THE END" not in ui.text)
