"""What the user has begun and this program does itself, such as an upload: how far it is, and how to end it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Work:
    """One of them. ``cancel`` ends it, also from another thread; ``done`` of ``total`` is in bytes."""

    title: str
    cancel: Callable[[], None]
    total: int | None = None
    done: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def part(self) -> float | None:
        return min(1.0, self.done / self.total) if self.total else None


class Works:
    """Those that go on now."""

    def __init__(self) -> None:
        self.running: list[Work] = []

    def begin(self, work: Work) -> Work:
        self.running.append(work)
        return work

    def end(self, work: Work) -> None:
        if work in self.running:
            self.running.remove(work)


class Pace:
    """How long something takes yet, by how fast it went since somebody looks."""

    def __init__(self) -> None:
        self._seen: dict[object, tuple[float, float]] = {}

    def left(self, what: object, part: float) -> float | None:
        """Seconds until ``part`` is 1; None while that cannot be told."""
        now = time.monotonic()
        since, first = self._seen.setdefault(what, (now, part))
        if part < first:
            self._seen[what] = now, part
            return None
        if part == first or now - since < _FEWEST_SECONDS:
            return None
        return (1.0 - part) * (now - since) / (part - first)


_FEWEST_SECONDS = 2.0
