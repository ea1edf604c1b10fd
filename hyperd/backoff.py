"""How long to wait before the next try: twice as long each time, up to a limit, and never all at once."""

from __future__ import annotations

import random
from collections.abc import Callable

JITTER = 0.2
"""A wait is stretched by up to this share, so that what failed together comes back apart."""
_DOUBLINGS = 64
"""More would overflow the float, long after any limit was reached."""


def backoff(
    failures: int,
    *,
    first: float,
    last: float,
    asked: float = 0.0,
    jitter: Callable[[], float] = random.random,
) -> float:
    """Seconds until the next try after so many failures in a row: ``first`` after one, ``last`` at most.

    ``asked`` is how long whoever refused asked to wait: it is not less. ``jitter`` is from 0 to 1.
    """
    delay = min(last, first * 2.0 ** min(max(failures - 1, 0), _DOUBLINGS))
    return max(asked, delay) * (1 + JITTER * jitter())
