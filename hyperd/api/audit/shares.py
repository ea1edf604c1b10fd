"""Which lines of the audit log are written, where, and which are told as one.

Nobody washes away what others did. What comes before a login has a small log of its own: each address has a few
lines a minute, and the rest of that minute is one line with its count. What a user was refused is told in that way
too. What a user did is always written, but beyond the user's share of the log into one for who is busy. Root is
bounded by nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hyperd import clock
from hyperd.api.audit.entry import Entry
from hyperd.api.limits.fairness import is_root, source_key
from hyperd.bucket import TokenBucket

_WINDOW_SECONDS: Final = 60.0
_DAY_SECONDS: Final = 86_400.0
_LINES_OF_A_STRANGER: Final = 5
_LINES_OF_A_USER: Final = 50
_LINES_OF_ALL: Final = 500
"""Single lines a minute of all strangers; more addresses than that are a flood, too."""
_MOST_KEYS: Final = 1000
_OTHERS: Final = "other addresses"
_LINE_BYTES: Final = 700
"""Of a usual line."""
_SHARE: Final = 8
"""A user may fill this part of the log in a day."""
_FEWEST_LINES: Final = 1000


class Stream(StrEnum):
    """The logs, by their files' names."""

    USERS = "audit.log"
    BUSY = "audit-busy.log"
    """What users did beyond their share."""
    STRANGERS = "audit-strangers.log"
    """What came without a login."""


@dataclass(slots=True)
class _Fold:
    since: float
    first: float
    last: Entry
    single: int = 0
    more: int = 0


class Folds:
    """Counts repeats by key; after ``single`` lines of a key in a minute the rest of it is one line."""

    def __init__(self, single: int, total: int) -> None:
        self._single = single
        self._total = total
        self._written = 0
        self._folds: dict[str, _Fold] = {}

    def note(self, key: str, entry: Entry) -> bool:
        """Whether ``entry`` is a line of its own."""
        if key not in self._folds and len(self._folds) >= _MOST_KEYS:
            key = _OTHERS
        fold = self._folds.get(key)
        if fold is None:
            fold = self._folds[key] = _Fold(clock.elapsed(), entry.at, entry)
        if fold.single < self._single and self._written < self._total:
            fold.single += 1
            self._written += 1
            return True
        if not fold.more:
            fold.first = entry.at
        fold.more += 1
        fold.last = entry
        return False

    def due(self, *, all_of_them: bool = False) -> Iterator[Entry]:
        """What was counted, of the minutes that are over."""
        over = clock.elapsed() - (0 if all_of_them else _WINDOW_SECONDS)
        for key, fold in list(self._folds.items()):
            if fold.since <= over:
                del self._folds[key]
                self._written -= fold.single
                if fold.more:
                    yield fold.last.folded(key, count=fold.more, first=fold.first)


class AuditShares:
    """Decides for each entry; safe to ask from several threads."""

    def __init__(self, capacity_bytes: int) -> None:
        """``capacity_bytes`` is what all files of the users' log hold."""
        self._lock = threading.Lock()
        self._strangers = Folds(_LINES_OF_A_STRANGER, _LINES_OF_ALL)
        self._refused = Folds(_LINES_OF_A_USER, 1 << 30)
        self._burst = max(_FEWEST_LINES, capacity_bytes // _SHARE // _LINE_BYTES)
        self._used: dict[str, TokenBucket] = {}
        """User → lines above its share's slow leak, and when that was."""
        self.folded = 0

    def place(self, entry: Entry) -> Stream | None:
        """The log that ``entry`` goes to; None where it is counted only, and told later."""
        user = entry.user
        with self._lock:
            if user is None:
                single = self._strangers.note(source_key(entry.source), entry)
                self.folded += not single
                return Stream.STRANGERS if single else None
            if is_root(user) and not entry.by:
                return Stream.USERS
            who = entry.by or user.name
            if entry.code >= 400 and not self._refused.note(who, entry):
                self.folded += 1
                return None
            return Stream.USERS if self._within(who) else Stream.BUSY

    def due(self, *, all_of_them: bool = False) -> list[tuple[Stream, Entry]]:
        """The lines that stand for many."""
        with self._lock:
            found = [(Stream.STRANGERS, entry) for entry in self._strangers.due(all_of_them=all_of_them)]
            found += [(Stream.USERS, entry) for entry in self._refused.due(all_of_them=all_of_them)]
            return found

    def _within(self, who: str) -> bool:
        bucket = self._used.pop(who, None)
        if bucket is None:
            bucket = TokenBucket(burst=self._burst, rate=self._burst / _DAY_SECONDS, clock=clock.elapsed)
        if len(self._used) >= _MOST_KEYS:
            # Whoever has asked for nothing for longest.
            del self._used[next(iter(self._used))]
        self._used[who] = bucket
        return bucket.take()
