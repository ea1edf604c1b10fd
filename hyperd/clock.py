"""What time it is, and how much of it has passed: two questions that different clocks answer.

The wall clock may be set while the daemon runs: by NTP, by an administrator, by a host that resumes. What it says
is for people, and for dates that were promised as dates (certificates, the end of a token, a cron schedule). How
long something has lasted is measured by ``elapsed``, which nobody can set; it goes on while the host sleeps.

A duration that has to survive a restart of the daemon is a *timer*: a small object, in the status of what it is
about, that says how much had passed when it was noted, and at which ``elapsed`` of which boot that was. On the
same boot the rest is exact. On another boot or node, whose clock says nothing of this one's, it goes on from what
had passed when it was noted; ``due_to_note`` asks for a new note each quarter of the duration, so that no more
than that is waited for twice. A timer never ends early.

What was seen by this process alone is timed by ``Seen``.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Set
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypedDict

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NOTES = 4
"""How often in its duration a timer is noted anew."""


class Timer(TypedDict):
    """Id of the boot, milliseconds of its clock, and milliseconds that had passed by then."""

    boot: str
    at: int
    passed: int


def wall() -> float:
    """Seconds since 1970, for people; it may jump either way."""
    return time.time()


def now() -> datetime:
    """The wall clock's time in UTC, for people."""
    return datetime.fromtimestamp(wall(), UTC)


def elapsed() -> float:
    """Seconds since the boot, for durations; it only grows, also while the host sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@cache
def boot_id() -> str:
    """Which boot ``elapsed`` counts from."""
    return _BOOT_ID.read_text().strip()


def timer(passed: float = 0.0) -> Timer:
    """A timer of which so many seconds have passed by now."""
    return {"boot": boot_id(), "at": round(elapsed() * 1000), "passed": round(passed * 1000)}


def _number(value: object) -> float:
    if not isinstance(value, int | float | str):
        raise TypeError(f"not a number: {value!r}")
    return float(value)


def passed(timer: Mapping[str, object] | None) -> float:
    """Seconds that are sure to have passed on it, none where there is no timer; never negative."""
    if not timer:
        return 0.0
    try:
        seconds = max(0.0, _number(timer["passed"]) / 1000)
        if timer["boot"] != boot_id():
            return seconds
        return seconds + max(0.0, elapsed() - _number(timer["at"]) / 1000)
    except (KeyError, TypeError, ValueError):
        return 0.0


def due_to_note(timer: Mapping[str, object] | None, duration: float) -> bool:
    """Whether a timer of so many seconds is to be noted anew: another boot's, or a quarter has passed since."""
    if not timer or timer.get("boot") != boot_id():
        return True
    return passed(timer) - _number(timer.get("passed") or 0) / 1000 >= 0.9 * max(1.0, duration / _NOTES)


def next_look(left: float, duration: float) -> float:
    """Seconds until a timer with ``left`` of its duration is over, or is to be noted anew."""
    return max(0.0, min(left, max(1.0, duration / _NOTES)))


class _Sight(NamedTuple):
    state: Hashable
    since: float
    looked: float


class Seen:
    """How long things have been as they are, as far as this process has seen: the newest ``limit`` of them."""

    def __init__(self, limit: int = 4096, *, elapsed: Callable[[], float] | None = None) -> None:
        self._limit = limit
        self._elapsed = elapsed
        self._since: OrderedDict[Hashable, _Sight] = OrderedDict()

    def age(
        self, key: Hashable, state: Hashable = None, *, hint: float = 0.0, within: float = float("inf")
    ) -> float:
        """Seconds since ``key`` was first seen in ``state``.

        ``hint`` is how old it may be when this process sees it for the first time: what a wall clock says of it.
        A change counts as of now if the last look was ``within`` so many seconds, as a first sight otherwise.
        """
        now = (self._elapsed or elapsed)()
        known = self._since.pop(key, None)
        if known is not None and known.state == state:
            since = known.since
        elif known is not None and now - known.looked < within:
            since = now
        else:
            since = now - max(0.0, hint)
        self._since[key] = _Sight(state, since, now)
        if len(self._since) > self._limit:
            self._since.popitem(last=False)
        return now - since

    def forget(self, key: Hashable) -> None:
        """``key`` is gone, or begins anew."""
        self._since.pop(key, None)

    def keep_only(self, keys: Set[Hashable]) -> None:
        """All others are gone."""
        for key in self._since.keys() - keys:
            del self._since[key]
