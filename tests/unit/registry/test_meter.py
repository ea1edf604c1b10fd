"""How far a transfer is, as its bytes move."""

from __future__ import annotations

from typing import Any

import pytest

from hyperd.clock import elapsed
from hyperd.progress import Progress
from registry.meter import Meter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    now, begin = {"seconds": 0.0}, elapsed()
    monkeypatch.setattr("registry.meter.clock.elapsed", lambda: begin + now["seconds"])
    return now


def fractions(told: list[Progress]) -> list[float | None]:
    return [progress.fraction for progress in told]


def test_progress_is_unknown_until_the_length_is(clock: dict[str, Any]) -> None:
    told: list[Progress] = []
    meter = Meter(told.append)
    clock["seconds"] = 1.0
    meter.receive(10)
    meter.expect(40)
    clock["seconds"] = 2.0
    meter.receive(10)
    assert fractions(told) == [None, 0.25]


def test_progress_never_goes_back_when_more_is_to_do_than_was_thought(clock: dict[str, Any]) -> None:
    told: list[Progress] = []
    meter = Meter(told.append)
    meter.expect(200)
    for second in range(1, 11):
        clock["seconds"] = float(second)
        meter.receive(10)
    # A file of another format became ten times as large on its way.
    meter.expect(1000)
    for second in range(11, 21):
        clock["seconds"] = float(second)
        meter.send(100)
    seen = [fraction or 0.0 for fraction in fractions(told)]
    assert seen == sorted(seen)
    assert seen[9] == pytest.approx(0.5)
    assert seen[-1] == pytest.approx(1.0)


def test_reports_and_speeds_are_not_told_for_every_byte(clock: dict[str, Any]) -> None:
    told: list[Progress] = []
    meter = Meter(told.append)
    meter.expect(1000)
    for step in range(1, 101):
        clock["seconds"] = step / 100
        meter.receive(10)
    assert 9 <= len(told) <= 10
    assert told[-1].current_speed == pytest.approx(1000, rel=0.2)
