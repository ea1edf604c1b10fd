"""Which reports of progress are written: those who watch see work move, and neither leap nor flood the store."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperd import clock
from hyperd.progress import Progress
from hyperd.runtime.operations.pacing import Pacing

SECONDS = 2.0


def progress(fraction: float | None, waits: str = "") -> Progress:
    return Progress(fraction, 0, 0, 0, waits)


class Watched:
    """What is written of the reports that come at given moments."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.written: list[float] = []
        monkeypatch.setattr(clock, "elapsed", lambda: self.now)
        self._pacing = Pacing(SECONDS)

    def report(self, fraction: float, after: float = 0.0, waits: str = "") -> None:
        self.now += after
        if self._pacing.due(progress(fraction, waits)):
            self.written.append(fraction)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def test_work_that_is_half_done_at_its_first_report_is_told_of_by_its_end_alone(watched: Watched) -> None:
    watched.report(0.0)
    watched.report(0.542, after=0.1)
    watched.report(0.95, after=0.2)
    assert watched.written == [0.0]


def test_it_is_told_of_when_the_other_half_takes_long(watched: Watched) -> None:
    watched.report(0.0)
    watched.report(0.6, after=0.1)
    watched.report(0.7, after=SECONDS)
    assert watched.written == [0.0, 0.7]


def test_a_wait_is_told_at_once_and_its_end_too(watched: Watched) -> None:
    watched.report(0.0, waits="Send it.")
    watched.report(0.0)
    watched.report(0.0, waits="Send it.")
    assert watched.written == [0.0, 0.0, 0.0]


@given(st.lists(st.tuples(st.floats(0.0, 0.049), st.floats(0.01, 3.0)), max_size=60))
def test_work_reported_in_small_steps_never_leaps_over_a_half(steps: list[tuple[float, float]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        watched, fraction = Watched(patch), 0.0
        watched.report(0.0)
        for step, after in steps:
            fraction = min(fraction + step, 1.0)
            watched.report(fraction, after=after)
        told = [0.0, *watched.written]
        assert not any(before == 0.0 and then >= 0.5 for before, then in pairwise(told))
        assert told == sorted(told)
        assert len(told) <= 2 + 10 + (watched.now - 1000.0) / SECONDS
