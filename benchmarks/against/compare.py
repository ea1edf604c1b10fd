"""What turns of two sides say: how much more one takes than the other, and how sure that is.

Turns are pairs, so load that comes and goes meets both sides alike. The mean of the logarithms of their ratios has
a Student's t interval of 95 %; what is told is its exponential, a ratio.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045,
)  # fmt: skip
"""Two-sided, for 1, 2, 3 … degrees of freedom; beyond them the normal distribution's, which is close."""
TOLERATED = 1.05


@dataclass(frozen=True)
class Ratio:
    """How much of something this checkout takes, of what the commit takes."""

    mean: float
    low: float
    high: float

    @property
    def worse(self) -> bool:
        """More than is tolerated, beyond the interval."""
        return self.low > TOLERATED

    def __str__(self) -> str:
        return f"{(self.mean - 1) * 100:+.1f} % ({(self.low - 1) * 100:+.1f} … {(self.high - 1) * 100:+.1f})"


def compare(ours: Sequence[float], theirs: Sequence[float]) -> Ratio | None:
    """None where a turn has nothing to divide by, or there are fewer than two turns."""
    if len(ours) != len(theirs) or len(ours) < 2 or min(*ours, *theirs) <= 0:
        return None
    logs = [math.log(one / other) for one, other in zip(ours, theirs, strict=True)]
    mean, freedom = statistics.fmean(logs), len(logs) - 1
    t = _T95[freedom - 1] if freedom <= len(_T95) else 1.96
    half = t * statistics.stdev(logs) / math.sqrt(len(logs))
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half))
