"""Numbers in every row: what machines and nodes use, as it changes."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperd.api.stats import sampler
from hyperd.client import rates
from hyperd.client.home import local
from hyperd.client.rates import binary, short
from tests.tui.conftest import looking
from tests.tui.world import World
from tui.fleet import Fleet
from tui.shelf import Key
from tui.spark import scaled, spark
from tui.usage import Usage


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "WATCHED_SECONDS", 0.2)
    monkeypatch.setattr(sampler, "FRESH_SECONDS", 0.0)


def use(before: dict[str, object] | None, now: dict[str, object]) -> rates.Use:
    return rates.use(None if before is None else rates.sample(before), rates.sample(now))


def sample(seconds: float, cpu: float, *, written: int = 0) -> dict[str, object]:
    return {
        "uptimeNanoseconds": seconds * 1e9,
        "cpu": {"cores": 2, "nanoseconds": cpu * 1e9},
        "memory": {"bytes": 2048, "residentBytes": 512},
        "disks": [{"writeBytes": written}, {"writeBytes": written}],
    }


def test_a_rate_is_the_difference_of_two_samples_by_the_clock_of_the_home() -> None:
    found = use(sample(100, 50), sample(102, 51, written=400))
    assert (found.cpu, found.written, found.memory_part) == (0.25, 400.0, 0.25)


def test_counters_that_began_anew_are_no_rate() -> None:
    assert use(sample(100, 50), sample(102, 1)).cpu is None
    assert use(sample(100, 50), sample(100, 51)).cpu is None
    assert use(None, sample(100, 50)).cpu is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(("cpu", "memory", "bytes", "nanoseconds", "disks", "writeBytes")), inner)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(("cpu", "memory", "uptimeNanoseconds", "disks")), _JSON), st.integers(0, 9))
def test_whatever_a_home_sends_is_some_use(now: dict[str, object], seconds: int) -> None:
    found = use({"uptimeNanoseconds": seconds}, now)
    assert 0.0 <= found.memory_part <= 1.0
    assert found.cpu is None or 0.0 <= found.cpu <= 1.0
    assert short(found.written)
    assert binary(found.memory_used)


def test_numbers_are_short_and_bars_as_wide_as_asked() -> None:
    assert [short(n) for n in (0, 940, 1200, 84_000_000, 999_600)] == ["0", "940", "1.2k", "84M", "1.0M"]
    assert [binary(n) for n in (512, 1 << 29, 1.5 * (1 << 30))] == ["512", "512Mi", "1.5Gi"]
    assert spark([0.0, 0.5, 1.0], 5) == "  ▁▅█"
    assert spark([], 5) == ""
    assert scaled([0.0, 5.0]) == [0.0, 1.0]


async def test_rows_header_and_detail_show_what_is_used_and_sort_by_it(world: World) -> None:
    world.measured.run("web-7", "web-8")
    async with looking(world, size=(160, 45)) as ui:
        await ui.shows("web-7", "50%", "mem")
        await ui.row("web-8")

        def busy(name: str) -> bool:
            world.measured.work(name, cpu_seconds=5.0, written=1_000_000)
            return "100%" in row(name) and "█" in row(name)

        def row(name: str) -> str:
            return next((line for line in ui.lines if name in line and "Running" in line), "")

        await ui.until(lambda: busy("web-8"))
        await ui.until(lambda: busy("web-8") and "B/s" in ui.line("disk now") and "of 2" in ui.line("cpu now"))
        await ui.type(":sort cpu% down")
        await ui.press("enter")
        names = [line.split()[1 if line.startswith("▌") else 0] for line in ui.lines if "Running" in line]
        await ui.until(lambda: busy("web-8") and ui.lines.index(row("web-8")) < ui.lines.index(row("web-7")))
        assert "web-8" in names
        assert "db-1" in ui.text
        await ui.type("/cpu%>50")
        await ui.until(lambda: busy("web-8") and "web-7 " not in ui.text)
        await ui.press("escape")
        await ui.press("5")
        await ui.shows("DISK%")


async def test_a_machine_that_stops_has_no_numbers_any_more(world: World) -> None:
    world.measured.run("web-7")
    async with looking(world, size=(120, 24)) as ui:
        await ui.until(lambda: "50%" in ui.line("web-7"))
        world.measured.used.clear()
        await ui.until(lambda: "50%" not in ui.line("web-7"))
        assert "web-7" in ui.text


def test_totals_are_of_nodes_and_walk_over_no_machines() -> None:
    class Unwalked(dict[Any, Any]):
        def values(self) -> NoReturn:
            raise AssertionError("each key that is pressed would cost all machines")

        items = __iter__ = values

    fleet = Fleet([local("/nowhere")], [])
    usage = Usage(fleet)
    node = Key("hv", "", "n1", "1")
    fleet.shelf("nodestats").put(node, {"memory": {"bytes": 100, "availableBytes": 25}, "metadata": {}})
    usage.take("nodestats", [node])
    usage._courses["virtualmachinestats"] = Unwalked()
    assert usage.totals() == [("mem", 0.75)]
