"""A small world for rules: objects to read, and one function that puts a write through schema and admission."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

from hyperd.admission import Policy, review
from hyperd.resources.all import KINDS
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.schema.structural import apply_defaults, check_rules, prune, validate
from hyperd.store.interface import AdmissionRequest, AdmissionResponse, User

GROUP = "virtualization.deckhouse.io"
ALICE = User("alice", ("hyperd",))
POLICY = Policy(virtual_machine_cidrs=(IPv4Network("10.66.10.0/24"),))


@dataclass
class World:
    """Objects that rules may read."""

    objects: list[Object] = field(default_factory=list)
    policy: Policy = POLICY
    user: User = ALICE

    async def find(self, kind: Kind, namespace: str, name: str) -> Any:
        for obj in await self.find_all(kind, namespace):
            if obj["metadata"]["name"] == name:
                return obj
        return None

    async def find_all(self, kind: Kind, namespace: str | None = None) -> Sequence[Any]:
        return [
            copy.deepcopy(obj)
            for obj in self.objects
            if obj["kind"] == kind.kind and namespace in (None, obj["metadata"].get("namespace", ""))
        ]

    async def create(self, obj: Object) -> AdmissionResponse:
        return await self._write(obj, None)

    async def update(self, old: Object, new: Object) -> AdmissionResponse:
        return await self._write(new, old)

    async def _write(self, new: Object, old: Object | None) -> AdmissionResponse:
        kind = kind_of(new)
        new = copy.deepcopy(new)
        if not kind.core:
            assert prune(kind.schema, new) == []
            apply_defaults(kind.schema, new)
            assert validate(kind.schema, new) == []
            assert check_rules(kind, new, old) == []
        request = AdmissionRequest(
            "UPDATE" if old else "CREATE",
            kind,
            new["metadata"].get("namespace", ""),
            new["metadata"]["name"],
            new,
            copy.deepcopy(old),
            self.user,
            self,
        )
        return await review(request, policy=self.policy)


def kind_of(obj: Object) -> Kind:
    kind = KINDS.by_kind(obj["apiVersion"].rpartition("/")[0], obj["kind"])
    assert kind is not None
    return kind


def make(kind: str, name: str, *, namespace: str = "default", **parts: object) -> Object:
    """An object of our group; ``parts`` are spec, status and further metadata."""
    cluster = not (KINDS.by_kind(GROUP, kind) or kind_of({"apiVersion": "v1", "kind": kind})).namespaced
    metadata: Object = {"name": name} if cluster else {"name": name, "namespace": namespace}
    metadata.update(parts.pop("metadata", {}))  # type: ignore[call-overload]
    return {"apiVersion": f"{GROUP}/v1alpha2", "kind": kind, "metadata": metadata, **parts}


def changed(obj: Object, **spec: object) -> Object:
    """A copy with some of the spec replaced; None removes."""
    new = copy.deepcopy(obj)
    for key, value in spec.items():
        if value is None:
            new["spec"].pop(key, None)
        else:
            new["spec"][key] = value
    return new


def told(response: AdmissionResponse) -> list[str]:
    """The causes, a line each."""
    return [f"{cause.field}: {cause.message}" for cause in response.causes]


def stored(obj: Object) -> Object:
    """``obj`` as the store would keep it."""
    kind = kind_of(obj)
    new = copy.deepcopy(obj)
    apply_defaults(kind.schema, new)
    return new
