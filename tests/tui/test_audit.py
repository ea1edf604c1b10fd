"""The audit log as a view."""

from __future__ import annotations

import json

import pytest

from hyperd.client.home import Home
from tests.tui.conftest import looking, looking_at
from tests.tui.world import World

SIZES = [(80, 24), (100, 30), (160, 45)]


def _log(world: World, *entries: dict[str, object]) -> None:
    file = world.settings.log_dir / "audit.log"
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


@pytest.mark.parametrize("size", SIZES)
async def test_who_did_what_is_shown_and_sought(world: World, size: tuple[int, int]) -> None:
    _log(
        world,
        {"time": "2026-01-02T03:04:05Z", "code": 200, "user": "ann", "verb": "delete",
         "resource": "virtualmachines", "namespace": "shop", "name": "web-1", "source": "unix"},
        {"time": "2026-01-02T03:04:06Z", "code": 403, "user": "eve\x1b[31m", "verb": "get", "resource": "secrets",
         "namespace": "shop", "name": "key", "source": "10.0.0.9"},
    )  # fmt: skip
    async with looking(world, size=size) as ui:
        await ui.shows("web-7")
        await ui.press("colon")
        await ui.type("audit")
        await ui.press("enter")
        await ui.shows("audit log of", "2 of 2", "ann", "delete", "eve")
        await ui.type("403")
        await ui.shows("1 of 2")
        assert "ann" not in ui.text
        await ui.press("escape")
        await ui.shows("web-7")


async def test_what_has_no_log_here_says_where_it_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HV_SSH_COMMAND", "false")
    async with looking(world) as ui:
        await ui.shows("web-7")
        ui.app.main.perform("audit", [])
        await ui.shows("audit")
    async with looking_at(Home(name="far", socket="/nowhere/far.sock", ssh="ssh://far")) as ui:
        ui.app.main.perform("audit", [])
        await ui.shows("run hv audit there")
        ui.app.main.perform("audit", ["nowhere"])
        await ui.shows("no home nowhere")
