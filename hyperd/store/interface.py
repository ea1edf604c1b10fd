"""The one interface between everything that works with objects and the home that keeps them.

Two homes implement it: the embedded SQLite store and a Kubernetes API server. Controllers and the API know
nothing else. Semantics are Kubernetes': optimistic concurrency by resourceVersion, finalizers and
deletionTimestamp, generation, status as a subresource, watches that resume.

Objects cross the interface as encoded JSON (``Item.raw``), so a list is a join and a watch event is encoded once.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, Literal, Protocol, TypedDict

import orjson

from hyperd.errors import Cause
from hyperd.resources.schema.kind import AnyObject, Kind, Object, V, V_co


@dataclass(frozen=True)
class User:
    """Who asks. ``groups`` carry the roles of Unix groups, certificates and tokens.

    ``extra`` is what else the login tells, by key, as in Kubernetes' UserInfo.
    """

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


SYSTEM = User("system:hyperd", ("system:masters",))
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""The annotation by which Kubernetes' clients know a bookmark that ends the initial events."""


class Item(Generic[V_co]):
    """One stored object, encoded. ``object()`` parses afresh: the caller owns what it gets."""

    __slots__ = ("name", "namespace", "raw", "resource_version", "uid")

    def __init__(self, raw: bytes, *, namespace: str, name: str, uid: str, resource_version: str) -> None:
        self.raw = raw
        self.namespace = namespace
        self.name = name
        self.uid = uid
        self.resource_version = resource_version

    def object(self) -> V_co:
        """The object as its kind's view; the store has judged what it holds by the kind's schema."""
        found: V_co = orjson.loads(self.raw)
        return found

    @classmethod
    def of(cls, obj: AnyObject) -> Item[V_co]:
        """Encode an object that has its metadata."""
        meta = obj["metadata"]
        return cls(
            orjson.dumps(obj),
            namespace=meta.get("namespace", ""),
            name=meta.get("name", ""),
            uid=meta.get("uid", ""),
            resource_version=meta.get("resourceVersion", ""),
        )


class EventType(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


class WatchEvent:
    """One event of a watch. ``line`` is the JSON line of the wire, encoded once for all watchers."""

    __slots__ = ("_line", "initial_events_end", "item", "type")

    def __init__(self, type_: EventType, item: Item, *, initial_events_end: bool = False) -> None:
        self.type = type_
        self.item = item
        self.initial_events_end = initial_events_end
        """On a bookmark: all that existed has been sent."""
        self._line: bytes | None = None

    @classmethod
    def bookmark(cls, kind: Kind, version: str, *, initial_events_end: bool = False) -> WatchEvent:
        """How far a watch has come, when nothing else says so."""
        metadata: Object = {"resourceVersion": version, "creationTimestamp": None}
        if initial_events_end:
            metadata["annotations"] = {_INITIAL_EVENTS_END: "true"}
        raw = orjson.dumps({"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata})
        item: Item = Item(raw, namespace="", name="", uid="", resource_version=version)
        return cls(EventType.BOOKMARK, item, initial_events_end=initial_events_end)

    @property
    def line(self) -> bytes:
        if self._line is None:
            self._line = b'{"type":"%s","object":%s}\n' % (self.type.encode(), self.item.raw)
        return self._line


@dataclass(frozen=True)
class Requirement:
    """One term of a label selector; = and != are in and notin.

    ``gt`` and ``lt`` have one value, a whole number; labels that are none never match.
    """

    key: str
    op: Literal["in", "notin", "exists", "!exists", "gt", "lt"]
    values: frozenset[str] = frozenset()

    def matches(self, labels: dict[str, str]) -> bool:
        if self.op == "in":
            return labels.get(self.key) in self.values
        if self.op == "notin":
            return labels.get(self.key) not in self.values
        if self.op in ("gt", "lt"):
            return self._compares(labels.get(self.key, ""))
        return (self.key in labels) == (self.op == "exists")

    def _compares(self, text: str) -> bool:
        number = whole_number(text)
        if number is None:
            return False
        bounds = (int(value) for value in self.values)
        return all(number > bound if self.op == "gt" else number < bound for bound in bounds)


def whole_number(text: str) -> int | None:
    """A whole number of 64 bits as Go's ParseInt reads it, or None."""
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text, re.ASCII):
        return None
    number = int(text)
    return number if -(1 << 63) <= number < 1 << 63 else None


@dataclass(frozen=True)
class FieldRequirement:
    """One term of a field selector: ``path`` (``metadata.name``), equal or not."""

    path: str
    value: str
    equal: bool = True


@dataclass(frozen=True)
class Selector:
    """Labels and fields an object must have; parsed from the wire by the API."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[FieldRequirement, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.labels or self.fields)


EVERYTHING = Selector()


@dataclass(frozen=True)
class Listing(Generic[V_co]):
    """A consistent list at ``resource_version``; ``continue_token`` is empty on the last page."""

    items: Sequence[Item[V_co]]
    resource_version: str
    continue_token: str = ""
    remaining: int | None = None


class PatchType(StrEnum):
    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


class Propagation(StrEnum):
    BACKGROUND = "Background"
    FOREGROUND = "Foreground"
    ORPHAN = "Orphan"


class FieldValidation(StrEnum):
    STRICT = "Strict"
    WARN = "Warn"
    IGNORE = "Ignore"


def _no_warning(_: str) -> None:
    return


@dataclass
class Rehearsal:
    """Objects that are to be made one after another, once others are gone: what a dry run counts of a quota."""

    gone: Sequence[tuple[Kind, str]] = ()
    """Kind and name of what goes first."""
    made: list[tuple[Kind, Object]] = field(default_factory=list)
    """What was found to be fine so far; the store adds to it."""


@dataclass(frozen=True)
class Write:
    """How a write is made: by whom, as a rehearsal or not, and where its warnings go."""

    user: User = SYSTEM
    field_manager: str = "hyperd"
    field_validation: FieldValidation = FieldValidation.WARN
    dry_run: bool = False
    warn: Callable[[str], None] = _no_warning
    rehearsal: Rehearsal | None = None
    """Of a dry run, where it is one of several. A cluster counts for itself, and knows nothing of it."""
    may_create: bool = True
    """Whether an apply may make what is not there; else that is NotFound. In a cluster its RBAC decides."""
    at_once: bool = False
    """Of a deletion, that the grace of a Pod is not waited for. Nothing else has one."""
    shares: bool = False
    """Whether it must fit into the namespace's share of the store, as users' must. In a cluster nothing does."""


BY_SYSTEM = Write()


@dataclass(frozen=True)
class Preconditions:
    """What must be true of the object for a delete to happen; empty means anything."""

    uid: str = ""
    resource_version: str = ""


class Reader(Protocol):
    """The reading half, which admission rules get."""

    async def find(self, kind: Kind[V], namespace: str, name: str) -> V | None:
        """The object, or None."""

    async def find_all(self, kind: Kind[V], namespace: str | None = None) -> Sequence[V]:
        """All objects, of one namespace or of all (None)."""


@dataclass(frozen=True)
class AdmissionRequest(Generic[V_co]):
    """A write on its way in; ``new`` is pruned and defaulted by schema and may be changed in place.

    ``old`` is None on create, ``new`` is None on delete.
    """

    operation: Literal["CREATE", "UPDATE", "DELETE"]
    kind: Kind[V_co]
    namespace: str
    name: str
    new: V_co | None
    old: V_co | None
    user: User
    reader: Reader
    subresource: str = ""
    dry_run: bool = False


@dataclass
class AdmissionResponse:
    """What the rules say: the object as it is to be stored, warnings, and causes of a refusal.

    ``forbidden`` refuses with 403 and this sentence, as a webhook that denies would.
    """

    object: Object | None
    warnings: list[str] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    forbidden: str = ""


Admit = Callable[[AdmissionRequest], Awaitable[AdmissionResponse]]


class Watch(Protocol):
    """An open watch: iterate for events; ends on timeout, raises Expired when it fell behind."""

    def __aiter__(self) -> AsyncIterator[WatchEvent]: ...


class Following(TypedDict, total=False):
    """From where on and how ``Store.watch`` tells: what one that reads another store hands on."""

    resource_version: str
    bookmarks: bool
    send_initial: bool | None
    timeout: float | None


class Store(Reader, Protocol):
    """Get, list, watch, create, update, patch, delete, with conflicts. ``namespace`` is "" for cluster kinds.

    Writes raise the errors of ``hyperd.errors``: NotFound, AlreadyExists, Conflict, Invalid, Forbidden.
    An unchanged write keeps the resourceVersion and wakes no watcher.
    """

    async def get(self, kind: Kind[V], namespace: str, name: str, *, subresource: str = "") -> Item[V]:
        """The object; its Scale for ``subresource`` scale, which takes and gives Scales on writes too."""

    async def list(
        self,
        kind: Kind[V],
        namespace: str | None = None,
        *,
        selector: Selector = EVERYTHING,
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
        match: str = "",
    ) -> Listing[V]:
        """``namespace`` None lists all. Raises Expired for a continue token below the floor."""

    def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        selector: Selector = EVERYTHING,
        resource_version: str = "",
        bookmarks: bool = False,
        send_initial: bool | None = None,
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[Watch]:
        """Events after ``resource_version``; with none given, what exists comes first as ADDED.

        ``send_initial`` True sends what exists and then a bookmark that says so. Raises Expired when
        ``resource_version`` is below the floor, and from the iterator when the watcher's queue overflowed.
        """

    async def create(self, kind: Kind[V], namespace: str, obj: Object, *, write: Write = BY_SYSTEM) -> Item[V]: ...

    async def update(
        self,
        kind: Kind[V],
        namespace: str,
        name: str,
        obj: Object,
        *,
        subresource: str = "",
        write: Write = BY_SYSTEM,
    ) -> Item[V]:
        """Replace; compare-and-set when ``obj`` carries a resourceVersion (our own kinds must, 422 else)."""

    async def patch(
        self,
        kind: Kind[V],
        namespace: str,
        name: str,
        patch_type: PatchType,
        patch: object,
        *,
        subresource: str = "",
        force: bool = False,
        write: Write = BY_SYSTEM,
    ) -> Item[V]:
        """Change as ``patch`` says; ``force`` is for APPLY."""

    async def apply(
        self,
        kind: Kind[V],
        namespace: str,
        name: str,
        config: object,
        *,
        subresource: str = "",
        force: bool = False,
        write: Write = BY_SYSTEM,
    ) -> tuple[Item[V], bool]:
        """Server-side apply for ``write.field_manager``: the object, and whether it was created.

        Raises Conflict, with one cause a field, where others set a field otherwise and ``force`` is not given.
        """

    async def delete(
        self,
        kind: Kind[V],
        namespace: str,
        name: str,
        *,
        preconditions: Preconditions = Preconditions(),
        propagation: Propagation = Propagation.BACKGROUND,
        write: Write = BY_SYSTEM,
    ) -> tuple[Item[V], bool]:
        """The object's last state, and whether it is gone (False: finalizers hold it)."""
