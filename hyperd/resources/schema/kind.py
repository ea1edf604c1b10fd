"""What a kind is: one declaration from which schema, CRD, columns, forms and help are derived.

A kind is declared once, in a module of its own, and registered here. Nothing else in the product may repeat a
field, a default or a column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from hyperd.resources.schema import applies
from hyperd.resources.schema.rule import Rule
from hyperd.resources.schema.schema import structural_schema

if TYPE_CHECKING:
    from pydantic import BaseModel

Object = dict[str, Any]
"""An API object as JSON: pruned and defaulted, never a dump of a model."""
AnyObject = Mapping[str, Any]
"""Any object to be read: an ``Object`` or a typed view of a kind."""
V_co = TypeVar("V_co", bound=AnyObject, covariant=True, default=Any)
"""The view of a kind (``resources.views``); of a kind that is not known, anything."""
V = TypeVar("V", bound=AnyObject)
S_co = TypeVar("S_co", bound=AnyObject, covariant=True, default=Any)
"""The view of its spec."""


@dataclass(frozen=True)
class Column:
    """One printer column; ``json_path`` is kubectl's dialect (``.status.phase``). Priority above 0 is wide only.

    ``cell`` computes what a path cannot say (a Secret's number of keys); only core kinds may use it, since a CRD
    cannot carry code.
    """

    name: str
    json_path: str
    type: str = "string"
    description: str = ""
    priority: int = 0
    format: str = ""
    cell: Callable[[Object], Any] | None = None


@dataclass(frozen=True, eq=False)
class Kind(Generic[V_co]):
    """One kind of the API. ``model`` is None for core kinds, whose content is kept as it comes.

    ``V_co`` is its objects' view, for mypy alone: a store and an informer of the kind give such objects.
    There is one object a kind: it is compared and hashed by identity, which every lookup of the store relies on.
    """

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    model: type[BaseModel] | None = None
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    rules: tuple[Rule, ...] = ()
    subresources: frozenset[str] = frozenset()
    """Of ``status`` and ``scale``; connect subresources belong to the API. ``scale`` reads and writes
    ``spec.replicas`` and shows ``status.replicas`` and ``status.selector``."""
    selectable_fields: tuple[str, ...] = ()
    """Field selectors beyond metadata.name and metadata.namespace."""
    selected: Mapping[str, Callable[[Object], str]] = field(default_factory=dict)
    """What a selectable field reads where a path cannot say it; for core kinds only, like ``Column.cell``."""
    verbs: tuple[str, ...] = (
        "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch",
    )  # fmt: skip
    unbuilt: Mapping[str, str] = field(default_factory=dict)
    """Spec paths whose effect is not built yet → what to tell the user. See ``resources.unbuilt``."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Like ``unbuilt``, for what would cost data or safety if it were ignored: admission refuses it."""
    hidden: Mapping[str, Callable[[str], str]] = field(default_factory=dict)
    """Paths that only those see who may edit the object → what others see there. See ``resources.hidden``."""
    elsewhere: tuple[str, ...] = ()
    """Paths of a cluster-wide kind that lead into namespaces: a reference with ``namespace``, or a list of their
    names. Who may not see such a namespace does not read there that it is, and what is in it."""
    finalizer: str = ""
    """By what our controllers keep an object until its host part is cleaned up."""
    held_from_birth: bool = True
    """Whether admission sets ``finalizer``: no moment then in which the object could go without the clean-up."""
    main_condition: StrEnum | None = None
    """The condition that says whether the object does what it is for; None of core kinds."""
    settled: tuple[str, ...] = ()
    """Phases at which there is nothing more to wait for, in the order of likelihood."""
    deprecated: bool = False
    """Whether another version should be used; every answer of this one carries a warning then."""
    not_built: str = ""
    """What is missing, when nothing of the kind is built yet: objects are kept and say so."""
    openapi: Mapping[str, Any] | None = None
    """The schema of a core kind; ours derive theirs from ``model``."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"

    @property
    def core(self) -> bool:
        """Whether Kubernetes owns this kind: strategic merge patch, protobuf, no schema of ours."""
        return self.model is None

    @property
    def qualified_resource(self) -> str:
        """``virtualmachines.virtualization.deckhouse.io``, as Kubernetes writes it in messages."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @cached_property
    def fields(self) -> tuple[applies.Field, ...]:
        """Every field of the spec, and what a change of it does."""
        return () if self.model is None else tuple(applies.fields(self.model))

    @cached_property
    def validations(self) -> tuple[Rule, ...]:
        """What is asked of a write: what is fixed from the creation on, and ``rules``."""
        return (*applies.immutability(self.fields), *self.rules)

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The structural OpenAPI v3 schema, derived from the model."""
        if self.model is None:
            return dict(self.openapi or {"type": "object", "x-kubernetes-preserve-unknown-fields": True})
        return structural_schema(self.model, self.fields, self.validations)


@dataclass(frozen=True)
class ServedVersion:
    """One more version in which a kind is served; it is stored in its own alone.

    Both functions are pure, total, and each other's inverse on valid objects; apiVersion is not their concern.
    """

    kind: Kind
    from_storage: Callable[[Object], Object]
    to_storage: Callable[[Object], Object]
    fields: Mapping[str, str] = field(default_factory=dict)
    """Selectable fields → what they are called where the kind is stored, as far as that differs."""


_VERSION = re.compile(r"v([0-9]+)(?:(alpha|beta)([0-9]+))?")
_STAGES = {None: 2, "beta": 1, "alpha": 0}


def version_rank(version: str) -> tuple[int, int, int]:
    """Sorts versions as Kubernetes does, the preferred one highest: v2, v1, v1beta1, v1alpha3, v1alpha2."""
    found = _VERSION.fullmatch(version)
    if found is None:
        return (-1, 0, 0)
    return (_STAGES[found[2]], int(found[1]), int(found[3] or 0))


class Registry:
    """All kinds of the API, found by resource or by kind; each in the version it is stored in, unless said."""

    def __init__(self) -> None:
        self._by_resource: dict[tuple[str, str], Kind] = {}
        self._by_kind: dict[tuple[str, str], Kind] = {}
        self._more: dict[tuple[str, str], list[ServedVersion]] = {}
        self._served: dict[tuple[str, str, str], Kind] = {}

    def add(self, kind: Kind[V]) -> Kind[V]:
        """Register ``kind``; returns it, so that a module can write ``X = KINDS.add(Kind(...))``."""
        self._by_resource[kind.group, kind.plural] = kind
        self._by_kind[kind.group, kind.kind] = kind
        return kind

    def serve(self, version: ServedVersion, *, of: Kind | None = None) -> Kind:
        """Register one more version of a kind that is registered; returns the kind in that version.

        ``of`` is the kind where the version is in another group.
        """
        kind = version.kind
        stored = kind if of is None else of
        self._more.setdefault((stored.group, stored.plural), []).append(version)
        self._served[kind.group, kind.plural, kind.version] = kind
        return kind

    def more_versions(self, kind: Kind) -> Sequence[ServedVersion]:
        """In which versions ``kind`` is served beside the one it is stored in."""
        return self._more.get((kind.group, kind.plural), ())

    def versions(self, kind: Kind) -> list[Kind]:
        """``kind`` in every version it is served in, the one that clients should prefer first."""
        served = [kind, *(more.kind for more in self.more_versions(kind))]
        return sorted(served, key=lambda one: version_rank(one.version), reverse=True)

    def deprecation(self, kind: Kind) -> str:
        """What kube-apiserver says to who uses ``kind`` in this version; empty unless it is deprecated."""
        if not kind.deprecated:
            return ""
        stored = self._by_resource[kind.group, kind.plural]
        newer = next((one for one in self.versions(stored) if not one.deprecated), None)
        text = f"{kind.api_version} {kind.kind} is deprecated"
        if newer is None or version_rank(newer.version) < version_rank(kind.version):
            return text
        return f"{text}; use {newer.api_version} {newer.kind}"

    def in_version(self, group: str, plural: str, version: str) -> Kind | None:
        """The kind in one of the versions it is served in."""
        kind = self._by_resource.get((group, plural))
        if kind is not None and kind.version == version:
            return kind
        return self._served.get((group, plural, version))

    def served(self) -> Iterator[Kind]:
        """Every kind in every version."""
        for kind in self:
            yield from self.versions(kind)

    def by_resource(self, group: str, plural: str) -> Kind | None:
        return self._by_resource.get((group, plural))

    def by_kind(self, group: str, kind: str) -> Kind | None:
        return self._by_kind.get((group, kind))

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._by_resource.values())


KINDS = Registry()
