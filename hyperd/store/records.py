"""What the embedded store keeps in memory for an object, and what one write changes.

The rule it keeps: an object is its encoded bytes and the few facts that selectors and owners need; no parsed
object stays behind. Strings that repeat (namespaces, labels) are interned.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from sys import intern

import orjson

from hyperd.jsontypes import Json
from hyperd.resources.schema.kind import Kind, Object
from hyperd.store.interface import EventType, Item

Facts = tuple[tuple[tuple[str, str], ...], tuple[str, ...]]
"""What selectors ask: labels, and the values of the kind's selectable fields."""

NO_FACTS: Facts = ((), ())

Name = tuple[str, str]
"""(namespace, name) within a kind."""

VERSIONS_PER_SECOND = 1000
"""At a start the counter of resourceVersions is at least so many times the Unix time: see ``Ledger.begin``."""


class Stored(Item):
    """An object in the store: an Item with the facts that are asked without parsing."""

    __slots__ = ("deleting", "facts", "owners", "rv")

    def __init__(
        self,
        raw: bytes,
        *,
        namespace: str,
        name: str,
        uid: str,
        rv: int,
        facts: Facts = NO_FACTS,
        owners: tuple[str, ...] = (),
        deleting: bool = False,
    ) -> None:
        super().__init__(raw, namespace=namespace, name=name, uid=uid, resource_version=str(rv))
        self.rv = rv
        self.facts = facts
        self.owners = owners
        self.deleting = deleting

    @classmethod
    def encode(cls, kind: Kind, obj: Object, rv: int) -> Stored:
        """Stamp ``obj`` with ``rv``, in place, and encode it."""
        obj["metadata"]["resourceVersion"] = str(rv)
        # orjson leaves the room it guessed for the encoding behind the bytes, several times their size.
        return cls.of_parsed(kind, obj, bytes(memoryview(orjson.dumps(obj))), rv)

    @classmethod
    def decode(cls, kind: Kind, raw: bytes, rv: int) -> Stored:
        """From the bytes of the file."""
        return cls.of_parsed(kind, orjson.loads(raw), raw, rv)

    @classmethod
    def of_parsed(cls, kind: Kind, obj: Object, raw: bytes, rv: int) -> Stored:
        """From bytes whose parsed form is at hand."""
        meta = obj["metadata"]
        owners = meta.get("ownerReferences")
        return cls(
            raw,
            namespace=intern(meta.get("namespace") or ""),
            name=meta["name"],
            uid=meta["uid"],
            rv=rv,
            facts=_facts(kind, obj),
            owners=tuple(ref["uid"] for ref in owners) if owners else (),
            deleting="deletionTimestamp" in meta,
        )


def _facts(kind: Kind, obj: Object) -> Facts:
    labels = obj["metadata"].get("labels")
    if not labels and not kind.selectable_fields:
        return NO_FACTS
    return (
        tuple((intern(key), intern(value)) for key, value in labels.items()) if labels else (),
        tuple(
            kind.selected[path](obj) if path in kind.selected else _text_at(obj, path)
            for path in kind.selectable_fields
        ),
    )


def _text_at(obj: Object, path: str) -> str:
    """A field as a selector sees it: a missing one is empty, a boolean is ``true`` or ``false``."""
    value: Json = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None or isinstance(value, dict | list):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return intern(str(value))


@dataclass(slots=True)
class Change:
    """One committed write. ``item`` is the object after it; on DELETED its last state.

    ``previous`` is the state before it where selectors could see a difference, and None elsewhere: it tells
    whether an object entered or left a selection, also when the change is replayed from the log.
    """

    kind: Kind
    type: EventType
    item: Stored
    previous: Stored | None = None

    @property
    def rv(self) -> int:
        return self.item.rv

    @classmethod
    def of(cls, kind: Kind, type_: EventType, item: Stored, old: Stored | None) -> Change:
        """A change from ``old`` to ``item``."""
        differs = old is not None and type_ is EventType.MODIFIED and old.facts != item.facts
        return cls(kind, type_, item, old if differs else None)


LogRow = tuple[int, str, bytes, bytes | None]
"""rv, type, body and, where selectors could see a difference, the body before."""


def changes_of(kind: Kind, rows: Iterable[LogRow]) -> list[Change]:
    """The changes that rows of the log tell."""
    return [
        Change(
            kind,
            EventType(type_),
            Stored.decode(kind, body, rv),
            Stored.decode(kind, before, rv) if before is not None else None,
        )
        for rv, type_, body, before in rows
    ]
