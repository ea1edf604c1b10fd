"""How far long work is, as whoever does it tells and whoever shows it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a transfer is. ``fraction`` is 0.0-1.0, or None while the length is unknown; speeds in bytes/s.

    ``waits`` is a sentence about what somebody has to do before it goes on, empty while it does.
    """

    fraction: float | None
    transferred_bytes: int
    average_speed: int
    current_speed: int
    waits: str = ""


Report = Callable[[Progress], None]
"""Called on the event loop, as often as whoever works likes; ``Pacing`` decides which of them are written down."""
