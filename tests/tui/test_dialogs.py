"""What lies over the main screen: keys that came together close it once, and nothing below it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual import events
from textual.app import App
from textual.command import DiscoveryHit, Hits
from textual.screen import Screen

from tui.palette import Everything, Palette
from tui.screens.confirm import Confirm
from tui.screens.help import Help


@pytest.mark.parametrize("make", [lambda: Confirm("Delete?"), lambda: Help((), {}, "^]"), Palette])
async def test_keys_that_come_together_close_one_screen(
    make: Callable[[], Screen[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def discover(_: Everything) -> Hits:
        yield DiscoveryHit("nothing", lambda: None)

    monkeypatch.setattr(Everything, "discover", discover)
    answers: list[object] = []
    app = App[None]()
    async with app.run_test() as pilot:
        main = Screen[None]()
        app.push_screen(main)
        app.push_screen(make(), answers.append)
        await pilot.pause()
        for _ in range(3):
            app.post_message(events.Key("escape", None))
        await pilot.pause()
        assert app.screen is main
        assert len(answers) == 1
