"""A wall clock that jumps, and time that passes without waiting."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hyperd import clock

CORPUS = Path(__file__).parents[2] / "corpus" / "clocks"
STOP = "stop"

STEPS = [
    pytest.param(step, id=name)
    for file in sorted(CORPUS.glob("*.txt"))
    for name, step in (line.split() for line in file.read_text().splitlines() if line.strip())
]


class SteppedClock:
    """Stands in for ``hyperd.clock``'s two clocks, which go on by themselves as well."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._stepped = self._passed = 0.0
        self._stands_at: float | None = None
        self._boot = clock.boot_id()
        monkeypatch.setattr(clock, "wall", self.wall)
        monkeypatch.setattr(clock, "elapsed", self.elapsed)
        monkeypatch.setattr(clock, "boot_id", lambda: self._boot)

    def wall(self) -> float:
        return self._stands_at if self._stands_at is not None else time.time() + self._stepped + self._passed

    def elapsed(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME) + self._passed

    def step(self, step: str) -> None:
        """The wall clock alone jumps by so many seconds, or stands still from now on."""
        if step == STOP:
            self._stands_at = self.wall()
        else:
            self._stepped += float(step)

    def sleep(self, seconds: float) -> None:
        """So much time passes."""
        self._passed += seconds

    def reboot(self) -> None:
        """Another boot, whose clock begins anywhere."""
        self._boot += "+"
        self._passed -= 5000.0
