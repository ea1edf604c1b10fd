"""What guests wait for, before which nothing is fetched ahead."""

from __future__ import annotations

import time
from typing import Final

_IDLE_SECONDS: Final = 0.2
_CALM_SECONDS: Final = 3.0


class Demand:
    """What guests wait for, of all images: nothing is fetched ahead meanwhile."""

    def __init__(self) -> None:
        self.waiting = 0
        self.last = time.monotonic() - _CALM_SECONDS

    @property
    def idle(self) -> bool:
        return not self.waiting and time.monotonic() - self.last >= _IDLE_SECONDS

    @property
    def calm(self) -> bool:
        return not self.waiting and time.monotonic() - self.last >= _CALM_SECONDS
