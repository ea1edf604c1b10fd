"""All objects in memory, as committed: what every read is served from.

The rule it keeps: this is exactly what the file holds. It changes in ``apply`` alone, after a COMMIT.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hyperd.errors import NotFound
from hyperd.resources.schema.kind import Kind, Registry
from hyperd.store.embedded.engine import ObjectRow
from hyperd.store.interface import EventType
from hyperd.store.records import Change, Name, Stored

_log = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where an object is, among all kinds."""

    kind: Kind
    namespace: str
    name: str


class Table:
    """The objects of one kind, found by name and walked in the order of (namespace, name)."""

    def __init__(self) -> None:
        self.items: dict[Name, Stored] = {}
        self._order: list[Name] | None = []

    def put(self, item: Stored) -> None:
        key = (item.namespace, item.name)
        if key not in self.items:
            self._order = None
        self.items[key] = item

    def drop(self, item: Stored) -> None:
        if self.items.pop((item.namespace, item.name), None) is not None:
            self._order = None

    def walk(self, namespace: str | None = None, after: Name | None = None) -> list[Stored]:
        """The objects of one namespace or of all, behind ``after``."""
        if self._order is None:
            self._order = sorted(self.items)
        order = self._order
        start, end = 0, len(order)
        if namespace is not None:
            start = bisect_left(order, (namespace, ""))
            # No namespace sorts between a name and the same name with NUL.
            end = bisect_left(order, (namespace + "\0", ""))
        if after is not None:
            start = max(start, bisect_left(order, (after[0], after[1] + "\0")))
        items = self.items
        return [items[key] for key in order[start:end]]


class Memory:
    """Every table, plus who owns whom by uid."""

    def __init__(self, kinds: Registry) -> None:
        self._kinds = kinds
        self._tables: dict[Kind, Table] = {kind: Table() for kind in kinds}
        self._places: dict[str, Place] = {}
        self._owned: dict[str, set[Place]] = {}
        self._bytes: dict[str, int] = {}
        self._numbers: dict[tuple[Kind, str], int] = {}
        self.rv = 0
        """The resourceVersion of the last committed write."""

    def table(self, kind: Kind) -> Table:
        """The objects of ``kind``, which may have been registered after the start."""
        found = self._tables.get(kind)
        if found is None:
            found = self._tables[kind] = Table()
        return found

    def get(self, kind: Kind, namespace: str, name: str) -> Stored | None:
        return self.table(kind).items.get((namespace, name))

    def require(self, kind: Kind, namespace: str, name: str) -> Stored:
        """The object. Raises NotFound, worded as a kube-apiserver does."""
        found = self.table(kind).items.get((namespace, name))
        if found is None:
            raise not_found(kind, name)
        return found

    def place(self, uid: str) -> Place | None:
        """Where the object with ``uid`` is, or None when there is none."""
        return self._places.get(uid)

    def owned(self, uid: str) -> Sequence[Place]:
        """The objects that name ``uid`` as an owner, and may: another namespace has no say in its end."""
        owner = self._places.get(uid)
        owned = self._owned.get(uid, ())
        if owner is None or not owner.namespace:
            return tuple(owned)
        return tuple(place for place in owned if place.namespace == owner.namespace)

    def bytes_in(self, namespace: str) -> int:
        """How much the objects of a namespace take, encoded."""
        return self._bytes.get(namespace, 0)

    def number_in(self, kind: Kind, namespace: str) -> int:
        """How many objects of a kind a namespace has."""
        return self._numbers.get((kind, namespace), 0)

    def _count(self, kind: Kind, namespace: str, more: int) -> None:
        left = self._numbers.get((kind, namespace), 0) + more
        if left:
            self._numbers[kind, namespace] = left
        else:
            self._numbers.pop((kind, namespace), None)

    def _weigh(self, namespace: str, more: int) -> None:
        left = self._bytes.get(namespace, 0) + more
        if left:
            self._bytes[namespace] = left
        else:
            self._bytes.pop(namespace, None)

    def places(self) -> Iterable[tuple[Place, Stored]]:
        """All objects."""
        for kind, table in self._tables.items():
            for (namespace, name), item in list(table.items.items()):
                yield Place(kind, namespace, name), item

    def kinds(self) -> Sequence[Kind]:
        """All kinds that have a table."""
        return tuple(self._tables)

    def load(self, rows: Iterable[ObjectRow], rv: int) -> None:
        """Take what the file holds. Objects of kinds that this version does not serve stay in the file."""
        unknown: set[str] = set()
        for group, plural, version, body in rows:
            kind = self._kinds.by_resource(group, plural)
            if kind is None:
                unknown.add(f"{plural}.{group}")
                continue
            item = Stored.decode(kind, body, version)
            self.table(kind).put(item)
            self._index(Place(kind, item.namespace, item.name), item)
            self._weigh(item.namespace, len(item.raw))
            self._count(kind, item.namespace, 1)
        if unknown:
            _log.warning("The store holds objects of kinds that are not served: %s", ", ".join(sorted(unknown)))
        self.rv = rv

    def apply(self, change: Change) -> None:
        """Make a committed change visible."""
        item = change.item
        place = Place(change.kind, item.namespace, item.name)
        table = self.table(change.kind)
        old = table.items.get((item.namespace, item.name))
        now = 0 if change.type is EventType.DELETED else len(item.raw)
        self._weigh(item.namespace, now - (0 if old is None else len(old.raw)))
        self._count(change.kind, item.namespace, bool(now) - (old is not None))
        if change.type is EventType.DELETED:
            table.drop(item)
            self._unindex(place, old)
        else:
            table.put(item)
            if old is None or old.owners != item.owners or old.uid != item.uid:
                self._unindex(place, old)
                self._index(place, item)
        self.rv = item.rv

    def _index(self, place: Place, item: Stored) -> None:
        self._places[item.uid] = place
        for owner in item.owners:
            self._owned.setdefault(owner, set()).add(place)

    def _unindex(self, place: Place, item: Stored | None) -> None:
        if item is None:
            return
        self._places.pop(item.uid, None)
        for owner in item.owners:
            owned = self._owned.get(owner)
            if owned is not None:
                owned.discard(place)
                if not owned:
                    del self._owned[owner]


def not_found(kind: Kind, name: str) -> NotFound:
    """``virtualmachines.virtualization.deckhouse.io "x" not found``."""
    return NotFound(f'{kind.qualified_resource} "{name}" not found', kind=kind.plural, group=kind.group, name=name)
