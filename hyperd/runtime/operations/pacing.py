"""Which reports of progress are written down: each is a durable write."""

from __future__ import annotations

from hyperd import clock
from hyperd.progress import Progress

_STEP_SECONDS = 0.1
_STEP_FRACTION = 0.1
"""Quick work is told of in steps, so that who waits sees it move and not jump: so many times in all, at most."""
_LEAP_FRACTION = 0.5
"""Work that is so far before its first report is as good as done: its end is told, and no leap before that."""


class Pacing:
    """Of one piece of work: a report each ``seconds``, one at each tenth of the whole, and where it must wait."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last, self._reported = 0.0, 0.0
        self._moved: float | None = None
        """When the first report came that something has moved."""
        self._waits = ""

    def due(self, progress: Progress) -> bool:
        """Whether this report is to be written; then it counts as written."""
        now, fraction = clock.elapsed(), progress.fraction or 0.0
        if fraction and self._moved is None:
            self._moved = now
        if progress.waits == self._waits and not self._steps(now, fraction):
            return False
        self._last, self._reported, self._waits = now, fraction, progress.waits
        return True

    def _steps(self, now: float, fraction: float) -> bool:
        leaps = not self._reported and fraction >= _LEAP_FRACTION
        if leaps and self._moved is not None and now - self._moved < self._seconds:
            return False
        stepped = fraction - self._reported >= _STEP_FRACTION and now - self._last >= _STEP_SECONDS
        return stepped or now - self._last >= self._seconds
