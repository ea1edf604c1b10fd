"""What keys and changes cost does not grow with the fleet: counted, not timed."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.tui.conftest import Ui
from tests.tui.many import change, looking_at

_SIZES = (100, 10_000)


class Cost(NamedTuple):
    """How often something was worked out."""

    made: int
    painted: int
    sorts: int
    judged: int

    def since(self, other: Cost) -> Cost:
        return Cost(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))


def spent(ui: Ui) -> Cost:
    area = ui.app.main.area
    shelf = ui.app.fleet.shelf("virtualmachines")
    return Cost(area.listing.made, area.table.painted, area.table.sorts, shelf.judged)


@pytest.mark.parametrize("sort", ["memory", "state"])
async def test_keys_and_changes_cost_the_same_with_a_hundred_and_ten_thousand(sort: str) -> None:
    found: list[tuple[Cost, Cost]] = []
    for size in _SIZES:
        async with looking_at(size) as ui:
            ui.app.main.perform("sort", [sort])
            await ui.press("down")
            await ui.pilot.pause()
            before = spent(ui)
            await ui.press(*["down"] * 5, *["up"] * 5)
            keys = spent(ui).since(before)
            before = spent(ui)
            await change(ui, range(20), version=1)
            found.append((keys, spent(ui).since(before)))
    for keys, changes in found:
        assert keys.sorts == keys.judged == 0
        assert keys.made <= 10, "rows that came into sight"
        assert keys.painted <= 2 * 10
        assert changes.judged == 20
        assert changes.sorts == 0
        # Only what is in sight is drawn, and of that only what looks different.
        assert changes.made <= 40
        assert changes.painted <= 40


async def test_a_list_is_opened_by_the_rows_in_sight_and_counted_by_what_changes() -> None:
    async with looking_at(10_000) as ui:
        assert ui.app.main.area.listing.made < 200
        shelf = ui.app.fleet.shelf("virtualmachines")
        unwell = shelf.unwell
        assert f"▲{unwell}" in ui.text
        await change(ui, range(1), version=1)
        assert shelf.unwell - unwell in (-1, 0, 1)
        assert f"▲{shelf.unwell}" in ui.text


@pytest.mark.parametrize("reverse", [False, True])
async def test_what_changes_is_where_sorting_anew_puts_it(*, reverse: bool) -> None:
    async with looking_at(300) as ui:
        table = ui.app.main.table
        ui.app.main.perform("sort", ["memory", "down"] if reverse else ["memory"])
        for version in range(1, 6):
            await change(ui, range(version, 300, 17), version=version)
            kept, sorts = table.keys, table.sorts
            table.filter(table.query_text)
            assert (table.keys, table.sorts) == (kept, sorts + 1)
        table.filter("running !team-3")
        await change(ui, range(0, 60, 3), version=9)
        kept = table.keys
        table.filter(table.query_text)
        assert table.keys == kept
