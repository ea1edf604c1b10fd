"""Counts bytes and seconds of one transfer, and tells whoever watches."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic

from registry.models import Progress, Report

_REPORT_SECONDS = 0.5


@dataclass
class Meter:
    """``expected`` is the number of bytes of both legs together, None while it is unknown."""

    report: Report | None
    expected: int | None = None
    moved: int = 0
    received: int = 0
    _started: float = field(default_factory=monotonic)
    _last: float = field(default_factory=monotonic)
    _last_received: int = 0

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
        return int(self.received / max(monotonic() - self._started, 1e-3))

    def _move(self, count: int) -> None:
        self.moved += count
        now = monotonic()
        elapsed = now - self._last
        if self.report is None or elapsed < _REPORT_SECONDS:
            return
        current = int((self.received - self._last_received) / elapsed)
        self._last, self._last_received = now, self.received
        fraction = min(self.moved / self.expected, 1.0) if self.expected else None
        self.report(Progress(fraction, self.received, self.average_speed, current))
