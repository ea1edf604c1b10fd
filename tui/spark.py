"""Numbers as a row of bars, as wide as it is asked to be."""

from __future__ import annotations

from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"


def spark(parts: Sequence[float], width: int) -> str:
    """The last ``width`` of ``parts`` (0 to 1), at the right; nothing where there is none."""
    shown = parts[-width:]
    bars = "".join(_BARS[min(len(_BARS) - 1, max(0, int(part * len(_BARS))))] for part in shown)
    return bars.rjust(width) if bars else ""


def scaled(values: Sequence[float]) -> list[float]:
    """Rates as parts of the largest of them."""
    most = max(values, default=0.0)
    return [value / most if most else 0.0 for value in values]
