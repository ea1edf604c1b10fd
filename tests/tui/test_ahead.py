"""Keys that are typed ahead: in one packet over a slow line, before what the first of them opens is there."""

from __future__ import annotations

import pytest
from PIL import Image
from textual import events
from textual.widgets import Input

from tests.tui.conftest import Ui, looking
from tests.tui.terminal import Screen
from tests.tui.world import World
from tests.unit.cli.conftest import environment
from tui.driver import KeyReader


def at_once(ui: Ui, keys: str) -> None:
    """All of them, before the first is looked at."""
    for message in KeyReader().read(keys.encode()):
        ui.app.post_message(message)


@pytest.mark.parametrize("keys", ["?q", "Hq", "wq", "uq", "aq", "?\x1bwq", ":homes\rq", "wqHquq"])
async def test_what_closes_a_screen_does_not_end_the_program(world: World, keys: str) -> None:
    async with looking(world) as ui:
        await ui.row("web-7")
        at_once(ui, f"{keys}/db-1")
        await ui.until(lambda: ui.app.main.table.query_text == "db-1" and ui.app.screen is ui.app.main)
        assert ui.app.is_running


async def test_a_form_gets_what_is_typed_behind_its_key(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("web-7")
        at_once(ui, "+web-9")
        await ui.shows("New VirtualMachine")
        await ui.until(lambda: isinstance(ui.app.focused, Input) and ui.app.focused.value == "web-9")


async def test_a_guest_gets_what_is_typed_before_its_session_stands(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("web-7")
        at_once(ui, "croot\rls\r")
        await ui.until(lambda: world.guests["web-7"].typed == b"root\rls\r")
        await ui.shows("connected to shop/web-7")
        at_once(ui, "id\r\x1dq/db-1")
        await ui.until(lambda: ui.app.screen is ui.app.main and ui.app.main.table.query_text == "db-1")
        assert world.guests["web-7"].typed == b"root\rls\rid\r"


async def test_a_screen_gets_what_is_pressed_before_its_session_stands(world: World) -> None:
    async with looking(world) as ui:
        await world.picture("web-7").show(Image.new("RGB", (64, 48)))
        await ui.row("web-7")
        at_once(ui, "vab")
        await ui.until(
            lambda: world.picture("web-7").pressed[:4] == [(97, True), (97, False), (98, True), (98, False)]
        )


async def test_one_packet_is_read_as_it_was_typed(world: World) -> None:
    async with Screen(environment(world), "tui") as screen:
        await screen.shows("web-7")
        await screen.type(b"?\x1b:homes\r\x1b/db-1")
        await screen.shows("/db-1")
        await screen.until(lambda: "web-7 " not in screen.text)
        await screen.type(b"\x1b\x1bq")
        assert await screen.ends() == 0


@pytest.mark.parametrize(
    ("pieces", "keys"),
    [
        (["\x1b", "w"], ["escape", "w"]),
        (["\x1b", None], ["escape"]),
        (["\x1b", "[A"], ["up"]),
        (["\x1b\x1b", None], ["escape", "escape"]),
        (["\x1b\x1b[B"], ["escape", "down"]),
        (["\x1b\x04"], ["escape", "ctrl+d"]),
        (["\x1bw"], ["alt+w"]),
        (["\x1b:"], ["alt+colon"]),
        (["\x1b5"], ["alt+5"]),
        (["\x1bOP"], ["f1"]),
    ],
)  # fmt: skip
def test_esc_is_what_came_with_nothing(pieces: list[str | None], keys: list[str]) -> None:
    reader = KeyReader()
    found = [one for piece in pieces for one in reader.read(None if piece is None else piece.encode())]
    assert [one.key for one in found if isinstance(one, events.Key)] == keys
