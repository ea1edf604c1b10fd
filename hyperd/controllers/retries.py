"""When work that failed is tried again: later each time, and not before who refused it said.

How often it failed and how long it still waits stand in ``status.retry``, so that a restart, or another daemon
that leads now, goes on waiting. The time itself is monotonic: a stepped clock neither hurries nor delays anything.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from hyperd import clock
from hyperd.backoff import backoff
from hyperd.errors import HyperdError, TemporaryError
from hyperd.resources.schema.kind import AnyObject
from registry.interface import POSTPONED, NotBegun

FIRST_SECONDS = 5.0
LAST_SECONDS = 300.0
SOON_SECONDS = 30.0
"""The longest wait for what is our own to mend, such as a registry that starts: it cost the source nothing."""
_LONGEST_SECONDS = 2 * 3600.0
"""More than anybody may ask for."""
_WRITTEN_SECONDS = 30
"""How far ``status`` may be behind; each write is durable."""


class Retries:
    """Waits of one kind's objects, by uid."""

    def __init__(
        self, *, now: Callable[[], float] = clock.elapsed, jitter: Callable[[], float] = random.random
    ) -> None:
        self._now, self._jitter = now, jitter
        self._due: dict[str, float] = {}

    def failed(self, obj: AnyObject, err: HyperdError) -> float:
        """Note the failure in ``status``; returns the seconds until the next try."""
        uid, status = obj["metadata"]["uid"], obj["status"]
        asked = (err.delay if isinstance(err, TemporaryError) else None) or 0.0
        failures = int((status.get("retry") or {}).get("failures", 0))
        if getattr(err, "key", "") == POSTPONED:
            delay = asked or FIRST_SECONDS
        else:
            failures += 1
            last = SOON_SECONDS if isinstance(err, NotBegun) else LAST_SECONDS
            delay = backoff(failures, first=FIRST_SECONDS, last=last, asked=asked, jitter=self._jitter)
        self._due[uid] = self._now() + delay
        status["retry"] = {"failures": failures, "afterSeconds": math.ceil(delay)}
        return delay

    def left(self, obj: AnyObject) -> float:
        """Seconds until the next try, 0 when it is time; of a wait that began elsewhere, what ``status`` says."""
        uid, retry = obj["metadata"]["uid"], obj["status"].get("retry")
        if not retry:
            return 0.0
        if uid not in self._due:
            self._due[uid] = self._now() + min(max(retry.get("afterSeconds", 0), 0), _LONGEST_SECONDS)
        left = max(0.0, self._due[uid] - self._now())
        if retry.get("afterSeconds", 0) - left >= _WRITTEN_SECONDS:
            retry["afterSeconds"] = math.ceil(left)
        return left

    def look_again(self, left: float) -> float:
        """When to look at an object that waits: in time to write down how far it is."""
        return min(left, _WRITTEN_SECONDS + 1.0)

    def forget(self, obj: AnyObject) -> None:
        """It went well, failed for good, or is asked for anew."""
        self._due.pop(obj["metadata"]["uid"], None)
        obj.get("status", {}).pop("retry", None)
