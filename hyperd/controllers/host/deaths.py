"""Which objects were seen on their way out of the store: only what those leave behind goes by itself.

An object with our finalizer cannot leave the store unseen by everybody: first it has a deletionTimestamp. One that
is merely absent was lost, or is only not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hyperd.runtime.informer import Informer
from hyperd.store.interface import EventType, Item

_MARK = b'"deletionTimestamp"'


class Deaths:
    """uids of objects that had a deletionTimestamp when they were seen last."""

    def __init__(self, *informers: Informer, vanished: Callable[[], None]) -> None:
        """``vanished`` is called when an object is no longer shown that nobody had deleted."""
        self._uids: set[str] = set()
        self._names: dict[str, str] = {}
        self._vanished = vanished
        for informer in informers:
            informer.add_handler(self._on_event)

    def __contains__(self, uid: str) -> bool:
        return uid in self._uids

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._uids))

    def forget(self, uid: str) -> None:
        """Nothing is left of it."""
        self._uids.discard(uid)

    def name(self, uid: str) -> str:
        """``namespace/name`` of an object that is no longer shown; empty when it was never seen."""
        return self._names.get(uid, "")

    def _on_event(self, _: EventType, old: Item | None, new: Item | None) -> None:
        last = new or old
        if last is None:
            return
        if _MARK in last.raw and last.object()["metadata"].get("deletionTimestamp"):
            self._uids.add(last.uid)
        elif new is None:
            self._names[last.uid] = "/".join(filter(None, (last.namespace, last.name)))
            self._vanished()
        else:
            # A store that was restored may know nothing of its deletion.
            self._uids.discard(last.uid)
            self._names.pop(last.uid, None)
