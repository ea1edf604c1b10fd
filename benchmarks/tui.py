"""What the terminal UI costs a key and a change, beside a bare table on Textual's Line API with as many rows.

CPU of this process, headless, 160×45, detail closed: no server, no terminal. Goals: a key at most twice the bare
table's, and at 10,000 rows at most 1.5 times what it is at 100; twenty changes likewise.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

from rich.segment import Segment
from textual.app import App, ComposeResult
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from benchmarks.report import report
from tests.tui.many import change, looking_at

SIZES = (100, 1_000, 10_000)
KEYS = 20
ROUNDS = 5


class BareTable(ScrollView, can_focus=True, inherit_bindings=False):
    """The least that a table can be: rows of text and a cursor."""

    def __init__(self, rows: list[str]) -> None:
        super().__init__()
        self.rows, self.at = rows, 0
        self.virtual_size = Size(160, len(rows))

    def render_line(self, y: int) -> Strip:
        index = y + self.scroll_offset.y
        text = self.rows[index] if index < len(self.rows) else ""
        return Strip([Segment(text.ljust(160), self.rich_style)])

    def key_down(self) -> None:
        for index in (self.at, self.at + 1):
            self.refresh(Region(0, index - self.scroll_offset.y, 160, 1))
        self.at += 1


class Bare(App[None]):
    def __init__(self, rows: int) -> None:
        super().__init__()
        self.table = BareTable(
            [f"vm-{number:06}  shop  Running  {number % 15}  10.0.0.1" for number in range(rows)]
        )

    def compose(self) -> ComposeResult:
        yield self.table


async def cpu(work: Callable[[], Awaitable[object]], times: int) -> float:
    """Milliseconds of CPU for one of ``times``: the median of some rounds."""
    found = []
    for _ in range(ROUNDS):
        began = time.process_time()
        await work()
        found.append((time.process_time() - began) * 1000 / times)
    return statistics.median(found)


async def bare(rows: int) -> float:
    app = Bare(rows)
    async with app.run_test(size=(160, 45)) as pilot:
        app.table.focus()
        await pilot.press("down")
        return await cpu(lambda: pilot.press(*["down"] * (KEYS // ROUNDS)), KEYS // ROUNDS)


async def ours(rows: int) -> tuple[float, float, float]:
    """A cursor key, twenty changes, and the first screen."""
    began = time.process_time()
    async with looking_at(rows) as ui:
        first = (time.process_time() - began) * 1000
        await ui.press("escape", "down")
        ui.app.main.perform("sort", ["state"])
        await ui.pilot.pause()
        key = await cpu(lambda: ui.press(*["down"] * (KEYS // ROUNDS)), KEYS // ROUNDS)
        versions = iter(range(1, ROUNDS + 1))
        changes = await cpu(lambda: change(ui, range(20), version=next(versions)), 1)
        return key, changes, first


async def main() -> int:
    """Print the figures; 1 when a goal is missed."""
    fine = True
    least: tuple[float, float] = (0.0, 0.0)
    for size in SIZES:
        beside = await bare(size)
        key, changes, first = await ours(size)
        least = least if least[0] else (key, changes)
        good = key <= max(1.5 * least[0], 2 * beside)
        report(f"tui_key_at_{size}", key, "ms CPU", "bare Line-API table", beside, "as at 100, or 2 × bare", good)
        steady = changes <= 1.5 * least[1]
        report(f"tui_20_changes_at_{size}", changes, "ms CPU", "at 100", least[1], "at most 1.5 × at 100", steady)
        report(f"tui_first_screen_at_{size}", first, "ms CPU")
        fine = fine and good and steady
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
