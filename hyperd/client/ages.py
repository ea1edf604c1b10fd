"""Times of the API (RFC 3339) as ages that people read: ``45s``, ``12m``, ``3h``, ``9d``."""

from __future__ import annotations

import re
import time
from calendar import timegm

_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd]?)", re.ASCII)
_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?[smhd])+|[0-9]{1,9}(?:\.[0-9]{1,9})?", re.ASCII)
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse(stamp: str) -> float | None:
    """Seconds since the epoch, or None when ``stamp`` is not a UTC time."""
    try:
        return float(timegm(time.strptime(stamp.partition(".")[0].removesuffix("Z"), "%Y-%m-%dT%H:%M:%S")))
    except (ValueError, OverflowError):
        return None


def age(stamp: str, *, now: float | None = None) -> str:
    """How long ago ``stamp`` was; empty when it is no time."""
    then = parse(stamp)
    return "" if then is None else span((time.time() if now is None else now) - then)


def span(seconds: float) -> str:
    """A length of time in two or three characters where it can be, as kubectl does it."""
    left = max(0, int(seconds))
    if left < 120:
        return f"{left}s"
    if left < 600:
        return f"{left // 60}m{left % 60}s" if left % 60 else f"{left // 60}m"
    if left < 3 * 3600:
        return f"{left // 60}m"
    if left < 8 * 3600:
        return f"{left // 3600}h{left % 3600 // 60}m" if left % 3600 >= 60 else f"{left // 3600}h"
    if left < 48 * 3600:
        return f"{left // 3600}h"
    days = left // 86400
    return f"{days}d" if days < 730 else f"{days // 365}y"


def coarse(seconds: float) -> str:
    """As ``span`` but with one unit, and seconds not at all: a screen full of ages rarely has to be repainted."""
    left = max(0, int(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if left >= length * (2 if unit != "m" else 1):
            return f"{left // length}{unit}"
    return "<1m"


def duration(text: str) -> float | None:
    """``90``, ``90s``, ``5m``, ``1h``, ``7d`` or ``1h30m`` in seconds; None for what is none."""
    if not _DURATION.fullmatch(text):
        return None
    parts = [(float(number), unit) for number, unit in _PART.findall(text)]
    return sum(number * _SECONDS[unit] for number, unit in parts)
