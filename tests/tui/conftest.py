"""The UI against a real API server in the same process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from textual.pilot import Pilot

from hyperd.client.home import Home
from tests.loopguard import loop_guard, short_callbacks
from tests.tui.world import World, populate, serving, short_folder
from tui.app import HvApp

__all__ = ["loop_guard", "short_callbacks"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Textual composes and styles a whole screen in one callback, here beside the server that it shows."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and not item.get_closest_marker("loop_seconds"):
            item.add_marker(pytest.mark.loop_seconds(0.5, "a screen is composed in one callback"))


@dataclass(frozen=True)
class Ui:
    """A running UI: what it shows, as lines of text, and keys for it."""

    app: HvApp
    pilot: Pilot[None]

    @property
    def lines(self) -> list[str]:
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip).rstrip() for strip in strips]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def line(self, word: str) -> str:
        """The first line with ``word`` in it, or nothing."""
        return next((line for line in self.lines if word in line), "")

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def type(self, text: str) -> None:
        await self.pilot.press(*({" ": "space"}.get(char, char) for char in text))

    async def until(self, met: Callable[[], object], why: str = "") -> None:
        """Wait for what must come."""
        try:
            async with asyncio.timeout(15):
                while not met():
                    await self.pilot.pause(0.02)
        except TimeoutError:
            raise AssertionError(f"{why or 'it'} did not come:\n{self.text}") from None

    async def shows(self, *words: str) -> None:
        await self.until(lambda: all(word in self.text for word in words), f"{words}")

    async def row(self, name: str) -> None:
        """Put the cursor on a machine."""
        table = self.app.main.table
        await self.until(lambda: any(getattr(key, "name", "") == name for key in table.keys), name)
        table.select(next(key for key in table.keys if getattr(key, "name", "") == name))
        await self.pilot.pause()


@asynccontextmanager
async def looking(
    *worlds: World, size: tuple[int, int] = (120, 40), state: Path | None = None
) -> AsyncIterator[Ui]:
    """A UI on these worlds."""
    async with looking_at(*(world.home for world in worlds), size=size, state=state) as ui:
        yield ui


@asynccontextmanager
async def looking_at(
    *homes: Home, size: tuple[int, int] = (120, 40), state: Path | None = None
) -> AsyncIterator[Ui]:
    """A UI on these homes."""
    app = HvApp(list(homes), state=state)
    async with app.run_test(size=size) as pilot:
        yield Ui(app, pilot)


@pytest.fixture
async def empty_world() -> AsyncIterator[World]:
    with short_folder() as folder:
        async with serving(folder) as running:
            yield running


@pytest.fixture
async def world(empty_world: World) -> World:
    await populate(empty_world)
    return empty_world
