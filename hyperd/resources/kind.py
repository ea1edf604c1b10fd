"""What a kind is: one declaration from which schema, CRD, columns, forms and help are derived.

A kind is declared once, in a module of its own, and registered here. Nothing else in the product may repeat a
field, a default or a column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

Object = dict[str, Any]
"""An API object as JSON: pruned and defaulted, never a dump of a model."""


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


@dataclass(frozen=True)
class Rule:
    """A cross-field rule: one message, its CEL text for the CRD and the same predicate in Python.

    ``path`` is where the rule hangs (``spec.dataSource``, ``spec.policies[].cores``). ``holds(value, old)`` gets
    the value at that path and the former value (None on create); a transition rule (CEL that names ``oldSelf``)
    is asked on updates only.
    """

    path: str
    message: str
    cel: str
    holds: Callable[[Any, Any], bool]
    transition: bool = False


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of the API. ``model`` is None for core kinds, whose content is kept as it comes.

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
    verbs: tuple[str, ...] = (
        "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch",
    )  # fmt: skip
    unbuilt: Mapping[str, str] = field(default_factory=dict)
    """Spec paths whose effect is not built yet → what to tell the user. See ``resources.unbuilt``."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Like ``unbuilt``, for what would cost data or safety if it were ignored: admission refuses it."""
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
    def schema(self) -> dict[str, Any]:
        """The structural OpenAPI v3 schema, derived from the model."""
        from hyperd.resources.schema import structural_schema

        schema: dict[str, Any] = structural_schema(self)
        return schema


class Registry:
    """All kinds of the API, found by resource or by kind."""

    def __init__(self) -> None:
        self._by_resource: dict[tuple[str, str], Kind] = {}
        self._by_kind: dict[tuple[str, str], Kind] = {}

    def add(self, kind: Kind) -> Kind:
        """Register ``kind``; returns it, so that a module can write ``X = KINDS.add(Kind(...))``."""
        self._by_resource[kind.group, kind.plural] = kind
        self._by_kind[kind.group, kind.kind] = kind
        return kind

    def by_resource(self, group: str, plural: str) -> Kind | None:
        return self._by_resource.get((group, plural))

    def by_kind(self, group: str, kind: str) -> Kind | None:
        return self._by_kind.get((group, kind))

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._by_resource.values())


KINDS = Registry()
