"""What the fleet holds of one kind: objects by key and by name, how well each is, and counts of that.

Every change costs what it changes. Nothing here walks over all objects but ``keys``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, KeysView, Sequence
from typing import Any, NamedTuple

from hyperd.client.health import Health, Level, health

Object = dict[str, Any]
_UNWELL = (Level.BAD, Level.WAITING)


class Key(NamedTuple):
    """One object of the fleet. Another one of the same name is another object: its ``uid`` tells."""

    home: str
    namespace: str
    name: str
    uid: str = ""

    @property
    def identity(self) -> str:
        """What tells it from all others: a home that was restored from another one's backup has the same uids."""
        return f"{self.home}/{self.uid or f'{self.namespace}/{self.name}'}"


def key_of(home: str, obj: Object) -> Key:
    """The key of an object of ``home``."""
    metadata = obj["metadata"]
    namespace, uid = metadata.get("namespace") or "", metadata.get("uid") or ""
    return Key(home, str(namespace), str(metadata["name"]), str(uid))


def version_of(obj: Object) -> str:
    """Its resourceVersion; empty where it has none."""
    return str((obj.get("metadata") or {}).get("resourceVersion") or "")


class Shelf:
    """The objects of one kind. ``judged`` counts how often the health of one was worked out."""

    def __init__(self, judge: Callable[[Object], Health] = health) -> None:
        self.objects: dict[Key, Object] = {}
        self.cells: dict[Key, Sequence[object]] = {}
        """What the server's own columns say of it, where they are asked for."""
        self.busy: dict[Key, Health] = {}
        """Those that tell how far they are, or that an operation runs."""
        self.unwell = 0
        self.judged = 0
        self._judge = judge
        self._states: dict[Key, Health] = {}
        self._named: dict[tuple[str, str, str], Key] = {}
        self._about: dict[tuple[str, str], set[Key]] = {}

    def __len__(self) -> int:
        return len(self.objects)

    def keys(self) -> KeysView[Key]:
        """All of them."""
        return self.objects.keys()

    def state(self, key: Key) -> Health | None:
        """How the object is."""
        return self._states.get(key)

    def find(self, home: str, namespace: str, name: str) -> Key | None:
        """The object that has this name now."""
        return self._named.get((home, namespace, name))

    def about(self, home: str, uid: str) -> Iterable[Object]:
        """Events about the object with this uid."""
        return [self.objects[key] for key in self._about.get((home, uid), ())]

    def put(self, key: Key, obj: Object, cells: Sequence[object] = ()) -> Key | None:
        """Keep it; returns what had its name before, and is gone."""
        before = self._named.get(key[:3])
        if before is not None:
            self.drop(before)
        self.objects[key] = obj
        if cells:
            self.cells[key] = cells
        self._named[key[:3]] = key
        state = self._states[key] = self._judge(obj)
        self.judged += 1
        self.unwell += state.level in _UNWELL
        if state.progress or state.word == "InProgress":
            self.busy[key] = state
        if about := _about(obj):
            self._about.setdefault((key.home, about), set()).add(key)
        return before if before != key else None

    def drop(self, key: Key) -> None:
        """Keep it no more."""
        obj = self.objects.pop(key, None)
        if obj is None:
            return
        self.unwell -= self._states.pop(key).level in _UNWELL
        self.busy.pop(key, None)
        self.cells.pop(key, None)
        if self._named.get(key[:3]) == key:
            del self._named[key[:3]]
        if about := _about(obj):
            events = self._about[key.home, about]
            events.discard(key)
            if not events:
                del self._about[key.home, about]


def _about(obj: Object) -> str:
    involved = obj.get("involvedObject")
    return str(involved.get("uid") or "") if isinstance(involved, dict) else ""
