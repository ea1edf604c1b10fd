"""Disks that something in this process reads, and that nobody else may have meanwhile.

They live as long as the process does: what reads a disk ends with it. The disk's controller shows them in its
status, where everybody sees it who wants to use the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from hyperd.resources.values.meta import Key


class Reservation:
    """One reader of a disk."""

    def __init__(self) -> None:
        self.shown = asyncio.Event()
        """Set once the disk's status, as it is in the store, has been written in its light."""


class Reservations:
    """Of disks, by uid."""

    def __init__(self) -> None:
        self._held: dict[str, set[Reservation]] = {}
        self._told: list[Callable[[Key], None]] = []

    def tell(self, told: Callable[[Key], None]) -> None:
        """Call ``told`` with a disk's namespace and name whenever it is reserved or no longer is."""
        self._told.append(told)

    def of(self, uid: str) -> frozenset[Reservation]:
        """Those of a disk, for who then writes its status and calls ``show``."""
        return frozenset(self._held.get(uid, ()))

    def show(self, reservations: Iterable[Reservation]) -> None:
        """The status that takes them into account is written."""
        for each in reservations:
            each.shown.set()

    @contextmanager
    def held(self, key: Key, uid: str) -> Iterator[Reservation]:
        """The disk is wanted, until the block ends. Others may have it as well."""
        mine = Reservation()
        self._held.setdefault(uid, set()).add(mine)
        try:
            self._tell(key)
            yield mine
        finally:
            self._held[uid].discard(mine)
            if not self._held[uid]:
                del self._held[uid]
            self._tell(key)

    def _tell(self, key: Key) -> None:
        for told in self._told:
            told(key)
