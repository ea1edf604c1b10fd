"""What a node promises with its lease of the guests that its watchdog guards, and how long which of both waits.

A node whose lease is not renewed ends them ``seconds`` after the last renewal, unless most of its ``electors``,
the nodes that it asks then, say that the API server is away for them as well. The leader takes such guests for
dead once the lease has not changed for longer than that while most of those same electors renewed theirs: two
majorities of one list have a node in common, so it cannot be that both go on.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import orjson

ELECTORS: Final = 15
"""As many are asked at most: a majority of few is as good as one of many."""
RENEWALS: Final = 4
"""How often in its duration a lease is renewed, or tried for."""
AWAY: Final = 1.6
"""Durations since a node has last sent a renewal, after which it says that the API server is away for it.

The leader counts on one for a duration, as long again as two looks take, and what was sent may come about late.
"""
LEAST: Final = 3
"""Electors: of fewer no majority is left when one is lost, so nobody could take what a watchdog has ended."""
_ENDS: Final = 2.25
_MARGIN: Final = 0.5
_LONGEST_NAME: Final = 253
_LONGEST_SECONDS: Final = 3600.0


@dataclass(frozen=True)
class Promise:
    """``seconds`` pass from a lease's last renewal to the end of the guests."""

    seconds: float
    electors: tuple[str, ...]

    @property
    def majority(self) -> int:
        return len(self.electors) // 2 + 1

    def encode(self) -> str:
        """For an annotation."""
        return orjson.dumps({"seconds": self.seconds, "electors": self.electors}).decode()


def make(duration: float, nodes: Collection[str]) -> Promise:
    """Of a node whose lease lasts ``duration`` seconds; ``nodes`` are all that have a hyperd."""
    return Promise(ends(duration), tuple(sorted(nodes)[:ELECTORS]))


def ends(duration: float) -> float:
    """Seconds after a lease's last renewal at which guarded guests end."""
    return _ENDS * duration


def certain(promise: Promise, duration: float) -> float:
    """Seconds without a renewal after which the leader takes guarded guests for dead."""
    return promise.seconds + _MARGIN * duration


def decode(text: str) -> Promise | None:
    """What ``encode`` made; None for what is not understood: then nothing is promised."""
    try:
        said = orjson.loads(text)
        seconds, electors = float(said["seconds"]), said["electors"]
    except (KeyError, TypeError, ValueError):
        return None
    if not math.isfinite(seconds) or not 0 < seconds <= _LONGEST_SECONDS:
        return None
    if not isinstance(electors, list) or not 0 < len(electors) <= ELECTORS:
        return None
    if not all(isinstance(one, str) and 0 < len(one) <= _LONGEST_NAME for one in electors):
        return None
    return Promise(seconds, tuple(sorted(set(electors))))
