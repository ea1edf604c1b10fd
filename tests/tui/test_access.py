"""What somebody sees who may not see everything."""

from __future__ import annotations

from hyperd.api.access.tokens import Grant, Tokens
from hyperd.client.home import Home
from hyperd.roles import Role
from hyperd.store.interface import BY_SYSTEM
from tests.tui.conftest import Ui
from tests.tui.world import World
from tui.app import HvApp
from tui.rights import _allows


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


async def test_what_a_role_forbids_is_grey_and_says_so_before_it_is_tried(world: World) -> None:
    grant = Grant(Role.OPERATOR, ("shop",), 4e9)
    token, _ = await Tokens(world.store).create("eve", grant, write=BY_SYSTEM)
    app = HvApp([Home(name="shop", socket=world.home.socket, token=token, namespace="shop")])
    async with app.run_test(size=(120, 70)) as pilot:
        ui = Ui(app, pilot)
        await ui.row("web-7")
        app.main.show_namespace("shop")
        await ui.until(lambda: "right to patch" in app.main.why_not(app.main.actions["edit"]), "its rights")
        await ui.press("e")
        await ui.shows("edit does not apply: web-7 needs the right to patch virtualmachines in shop")
        for action, right in (
            ("delete", "delete virtualmachines"), ("snapshot", "create virtualmachinesnapshots"),
            ("restore", "update virtualmachines"), ("create", "create virtualmachines in shop"),
        ):  # fmt: skip
            assert right in app.main.why_not(app.main.actions[action])
        for allowed in ("stop", "restart", "console"):
            assert app.main.why_not(app.main.actions[allowed]) == ""
        await ui.press("question_mark")
        await ui.shows("delete it, after a question  :delete  (web-7 needs the right")


def test_rules_are_read_as_kubernetes_means_them() -> None:
    rule = {"verbs": ["get"], "apiGroups": ["a"], "resources": ["b", "*/log"], "resourceNames": ["n"]}
    assert _allows(rule, "get", "a", "b", "n")
    assert _allows(rule, "get", "a", "c/log", "n")
    assert not _allows(rule, "get", "a", "b", "other")
    assert not _allows(rule, "get", "a", "b/status", "n")
    assert not _allows(rule, "list", "a", "b", "n")
    assert _allows({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, "delete", "x", "y/z", "n")
    assert not _allows({"verbs": "get", "apiGroups": None}, "get", "a", "b", "n")
