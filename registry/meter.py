"""Counts bytes and seconds of one transfer, and tells whoever watches."""

from __future__ import annotations

from dataclasses import dataclass, field

from hyperd import clock
from hyperd.progress import Progress, Report

_REPORT_SECONDS = 0.1
_SPEED_SECONDS = 0.5
"""The current speed is that of at least so long."""


@dataclass
class Meter:
    """Bytes of both legs together; how far that is, is known after ``expect``."""

    report: Report | None
    moved: int = 0
    received: int = 0
    _started: float = field(default_factory=clock.elapsed)
    _last: float = field(default_factory=clock.elapsed)
    _measured: float = field(default_factory=clock.elapsed)
    _measured_received: int = 0
    _current: int = 0
    _left: int = 0
    _from: int = 0
    _base: float = 0.0

    def start(self) -> None:
        """The transfer begins now; what waited for its turn before is no part of its speed."""
        self._started = self._last = self._measured = clock.elapsed()

    def expect(self, count: int) -> None:
        """``count`` more bytes to the end. Said again, what was reached so far stays: progress never goes back."""
        self._base, self._from, self._left = self._fraction or 0.0, self.moved, count

    @property
    def _fraction(self) -> float | None:
        if not self._left:
            return None
        return self._base + (1 - self._base) * min((self.moved - self._from) / self._left, 1.0)

    def receive(self, count: int) -> None:
        """``count`` bytes came from the source."""
        self.received += count
        self._move(count)

    def send(self, count: int) -> None:
        """``count`` bytes went to the registry."""
        self._move(count)

    @property
    def average_speed(self) -> int:
        """Bytes received a second."""
        return int(self.received / max(clock.elapsed() - self._started, 1e-3))

    def _move(self, count: int) -> None:
        self.moved += count
        now = clock.elapsed()
        if self.report is None or now - self._last < _REPORT_SECONDS:
            return
        self._last = now
        elapsed = now - self._measured
        if elapsed >= _SPEED_SECONDS:
            self._current = int((self.received - self._measured_received) / elapsed)
            self._measured, self._measured_received = now, self.received
        average = self.average_speed
        self.report(Progress(self._fraction, self.received, average, self._current or average))
