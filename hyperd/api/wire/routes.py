"""The grammar of resource paths, declared once.

``/api/v1`` and ``/apis/GROUP/VERSION`` share one shape. The shapes below answer requests, and are what OpenAPI,
discovery and the tests read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from hyperd.errors import NotFound
from hyperd.resources.core import scale
from hyperd.resources.schema.kind import Kind, Registry

COLLECTION: Mapping[str, str] = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
OBJECT: Mapping[str, str] = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
SERVED = frozenset({"status", scale.SUBRESOURCE})
"""Subresources that are parts of an object; what connects to a guest has a group of its own."""
SUBRESOURCE: Mapping[str, str] = {"GET": "get", "PUT": "update", "PATCH": "patch"}
"""HTTP method → verb, by what the path names. A list with ``watch=true`` is a watch."""


@dataclass(frozen=True)
class Target:
    """What a path names. ``namespace`` None means all namespaces; no ``name`` means the collection."""

    kind: Kind
    namespace: str | None = None
    name: str = ""
    subresource: str = ""

    @property
    def shape(self) -> Kind:
        """The kind of what is read and written here."""
        return scale.SCALE if self.subresource == scale.SUBRESOURCE else self.kind

    @property
    def methods(self) -> Mapping[str, str]:
        """The methods this path answers, as the kind's verbs allow."""
        if self.subresource:
            shape = SUBRESOURCE
        elif self.name:
            shape = OBJECT
        elif self.kind.namespaced and self.namespace is None:
            shape = {"GET": "list"}
        else:
            shape = COLLECTION
        return {method: verb for method, verb in shape.items() if verb in self.kind.verbs}

    @property
    def scope(self) -> str:
        """The namespace as the store's single-object calls want it."""
        return self.namespace or ""


@dataclass(frozen=True)
class Operation:
    """One method on one path template, for documents and tests."""

    path: str
    method: str
    verb: str
    kind: Kind
    subresource: str = ""

    @property
    def shape(self) -> Kind:
        """The kind of what is read and written here."""
        return scale.SCALE if self.subresource == scale.SUBRESOURCE else self.kind

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names in braces, in order."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


def prefix(kind: Kind) -> str:
    """``/api/v1`` or ``/apis/GROUP/VERSION``."""
    return f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"


def operations(kind: Kind) -> Iterator[Operation]:
    """Everything the grammar offers for ``kind``."""
    base = prefix(kind)
    if kind.namespaced:
        yield from _operations(f"{base}/{kind.plural}", Target(kind))
        base = f"{base}/namespaces/{{namespace}}"
    collection = f"{base}/{kind.plural}"
    yield from _operations(collection, Target(kind, "-"))
    yield from _operations(f"{collection}/{{name}}", Target(kind, "-", "-"))
    for subresource in sorted(kind.subresources & SERVED):
        yield from _operations(f"{collection}/{{name}}/{subresource}", Target(kind, "-", "-", subresource))


def _operations(path: str, target: Target) -> Iterator[Operation]:
    for method, verb in target.methods.items():
        yield Operation(path, method, verb, target.kind, target.subresource)


class Router:
    """Resolves paths of resources; remembers the last few thousand, as most requests repeat."""

    _REMEMBERED = 4096
    _REMEMBERED_CHARS = 512

    def __init__(self, kinds: Registry) -> None:
        self._kinds = kinds
        self._known: dict[str, Target] = {}

    def resolve(self, path: str) -> Target:
        """``path`` without its query, as it came. Raises NotFound."""
        target = self._known.get(path)
        if target is None:
            target = self._parse(path)
            if len(path) <= self._REMEMBERED_CHARS:
                if len(self._known) >= self._REMEMBERED:
                    self._known.clear()
                self._known[path] = target
        return target

    def _parse(self, path: str) -> Target:
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[0] == "api" and len(parts) > 2:
            group, version, rest = "", parts[1], parts[2:]
        elif parts[0] == "apis" and len(parts) > 3:
            group, version, rest = parts[1], parts[2], parts[3:]
        else:
            raise _unknown()
        namespace: str | None = None
        # ``namespaces/NAME/status`` is the Namespace's own; a third part else is a resource in it.
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] != "status":
            namespace, rest = rest[1], rest[2:]
        kind = self._kinds.in_version(group, rest[0], version)
        if kind is None or len(rest) > 3 or not all(rest):
            raise _unknown()
        if (namespace is not None) != kind.namespaced and (namespace is not None or len(rest) > 1):
            raise _unknown()
        subresource = rest[2] if len(rest) > 2 else ""
        if subresource and subresource not in kind.subresources & SERVED:
            raise _unknown()
        return Target(kind, namespace, rest[1] if len(rest) > 1 else "", subresource)


def _unknown() -> NotFound:
    return NotFound("the server could not find the requested resource")
