"""A clock to step."""

from __future__ import annotations

import pytest

from tests.unit.clocks.stepping import SteppedClock


@pytest.fixture
def time_(monkeypatch: pytest.MonkeyPatch) -> SteppedClock:
    return SteppedClock(monkeypatch)
