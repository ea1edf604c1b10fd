"""How far a transfer is, and how fast: what ``waiting.Progress`` is given to show."""

from __future__ import annotations

import sys
import time

from hyperd.client.rates import spelled

_STEPS = 10
_BAR = 30


class Meter:
    """The line that is shown: a bar on a terminal, a tenth at a time elsewhere."""

    def __init__(self, size: int | None, verb: str, end: str, *, begun: int = 0) -> None:
        """``verb`` is what has become of the bytes, ``end`` what is said of all; ``begun`` were there before."""
        self._size = size
        self._verb, self._end = verb, end
        self._live = sys.stderr.isatty()
        self._begun = begun
        self._began = time.monotonic()
        self._shown_at, self._step = 0.0, -1

    def text(self, done: int) -> str:
        """Empty where there is nothing new to show."""
        now = time.monotonic()
        size = self._size
        whole = size is not None and done >= size
        step = int(_STEPS * done / size) if size else int(done >> 28)
        if step == self._step and not (self._live and now - self._shown_at >= 0.1):
            return ""
        self._shown_at, self._step = now, step
        if whole:
            return self._end
        speed = (done - self._begun) / max(now - self._began, 1e-3)
        if size is None:
            return f"{spelled(done)} {self._verb}, {spelled(speed)}/s"
        left = (size - done) / speed if speed else 0.0
        text = f"{100 * done // size} % of {spelled(size)}, {spelled(speed)}/s"
        if done > self._begun and left >= 1:
            text += f", {int(left) // 60} min {int(left) % 60} s left" if left >= 60 else f", {int(left)} s left"
        if not self._live:
            return text
        filled = _BAR * done // size
        return f"[{'#' * filled}{'-' * (_BAR - filled)}] {text}"
