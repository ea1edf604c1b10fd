"""Which reports of progress are written down: each is a durable write."""

from __future__ import annotations

from hyperd import clock
from hyperd.progress import Progress

_STEP_SECONDS = 0.1
_STEP_FRACTION = 0.1
"""Quick work is told of in steps, so that who waits sees it move and not jump: so many times in all, at most."""


class Pacing:
    """Of one piece of work: a report each ``seconds``, one at each tenth of the whole, and where it must wait."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last, self._reported = 0.0, 0.0
        self._waits = ""

    def due(self, progress: Progress) -> bool:
        """Whether this report is to be written; then it counts as written."""
        now, fraction = clock.elapsed(), progress.fraction or 0.0
        stepped = fraction - self._reported >= _STEP_FRACTION and now - self._last >= _STEP_SECONDS
        if progress.waits == self._waits and not stepped and now - self._last < self._seconds:
            return False
        self._last, self._reported, self._waits = now, fraction, progress.waits
        return True
