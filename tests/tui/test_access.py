"""What somebody sees who may not see everything."""

from __future__ import annotations

from hyperd.api.access.tokens import Grant, Tokens
from hyperd.client.home import Home
from hyperd.roles import Role
from hyperd.store.interface import BY_SYSTEM
from tests.tui.conftest import Ui
from tests.tui.world import World
from tui.app import HvApp


async def test_a_login_of_one_namespace_sees_that_one(world: World) -> None:
    grant = Grant(Role.VIEWER, ("shop",), 4e9)
    token, _ = await Tokens(world.store).create("eve", grant, write=BY_SYSTEM)
    home = Home(name="shop", socket=world.home.socket, token=token, namespace="shop")
    app = HvApp([home])
    async with app.run_test(size=(120, 40)) as pilot:
        ui = Ui(app, pilot)
        await ui.shows("web-7", "db-1", "● Running")
        await ui.press("3")
        await ui.shows("debian-12")
        assert "ubuntu-24" not in ui.text
        assert "forbidden" not in ui.text.lower()
