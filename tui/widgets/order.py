"""Keys in order of their places, found and moved by bisection: a change costs what it changes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable
from operator import itemgetter

from tui.widgets.rows import Worth

Place = tuple[Worth, tuple[str, ...]]
"""What a row is sorted by; no two rows have the same."""


class Order:
    """Index 0 is the lowest place, or the highest where it is ``reverse``."""

    def __init__(self) -> None:
        self.reverse = False
        self._keys: list[Hashable] = []
        self._places: list[Place] = []
        self._place_of: dict[Hashable, Place] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._place_of

    def keys(self) -> list[Hashable]:
        """All of them, in order."""
        return self._keys[::-1] if self.reverse else self._keys[:]

    def fill(self, placed: Iterable[tuple[Place, Hashable]]) -> None:
        """These and no others."""
        entries = sorted(placed, key=itemgetter(0))
        self._places = [place for place, _ in entries]
        self._keys = [key for _, key in entries]
        self._place_of = {key: place for place, key in entries}

    def put(self, key: Hashable, place: Place | None) -> bool:
        """Have ``key`` at ``place``, or not at all; False where it was so already."""
        before = self._place_of.get(key)
        if before == place:
            return False
        if before is not None:
            index = bisect_left(self._places, before)
            del self._places[index], self._keys[index], self._place_of[key]
        if place is not None:
            index = bisect_left(self._places, place)
            self._places.insert(index, place)
            self._keys.insert(index, key)
            self._place_of[key] = place
        return True

    def key(self, index: int) -> Hashable | None:
        """What is at ``index``."""
        if not 0 <= index < len(self._keys):
            return None
        return self._keys[-1 - index if self.reverse else index]

    def index(self, key: Hashable | None) -> int | None:
        """Where ``key`` is."""
        place = self._place_of.get(key)
        if place is None:
            return None
        index = bisect_left(self._places, place)
        return len(self._keys) - 1 - index if self.reverse else index
