"""The embedded home as Kubernetes' namespace controller: what may come into a namespace, and when that may go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from hyperd.errors import Cause, Forbidden
from hyperd.resources.schema.kind import Kind, Object, Registry
from hyperd.resources.values.meta import now_rfc3339
from hyperd.slices import sliced
from hyperd.store.embedded import deletion
from hyperd.store.embedded.ledger import Ledger
from hyperd.store.embedded.memory import Memory, Place, not_found
from hyperd.store.grammar import core_kinds
from hyperd.store.interface import Item

_MOST_FINALIZERS: Final = 20
"""That are named: what clients write may be of any number."""


class Namespaces:
    """Without a kind for them, nothing is asked of them."""

    def __init__(self, kinds: Registry, memory: Memory, ledger: Ledger) -> None:
        self._kind = kinds.by_resource("", "namespaces")
        self._memory = memory
        self._ledger = ledger

    def missing(self) -> Iterator[tuple[Kind, str]]:
        """Namespaces that every home has, and that this one lacks yet."""
        if self._kind is not None:
            for name in core_kinds.FIRST_NAMESPACES:
                if self._memory.get(self._kind, "", name) is None:
                    yield self._kind, name

    def require_open(self, kind: Kind, namespace: str, name: str) -> None:
        """Raises NotFound and Forbidden where no object may be made in ``namespace``."""
        if not kind.namespaced or self._kind is None:
            return
        home = self._memory.get(self._kind, "", namespace)
        if home is None:
            raise not_found(self._kind, namespace)
        if home.deleting:
            text = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise Forbidden(
                f'{kind.qualified_resource} "{name}" is forbidden: {text}',
                causes=[
                    Cause(
                        "metadata.namespace", f"namespace {namespace} is being terminated", "NamespaceTerminating"
                    )
                ],
                kind=kind.plural,
                group=kind.group,
                name=name,
            )

    async def finalize(self, name: str) -> None:
        """An empty namespace that is being deleted may go; other finalizers still hold it."""
        kind = self._kind
        if kind is None:
            return
        async with self._ledger.turn(Place(kind, "", name)):
            old = self._memory.get(kind, "", name)
            if old is None or not old.deleting:
                return
            obj = old.object()
            if not core_kinds.holds(kind, obj):
                return
            obj["spec"] = {**obj["spec"], "finalizers": []}
            if deletion.may_go(kind, obj):
                await self._ledger.drop(kind, obj, old)
            else:
                await self._ledger.put(kind, obj, old)

    async def tell(self, name: str, left: Iterable[tuple[Kind, Item]]) -> None:
        """Show what is left of a namespace that is being deleted, and what that is held by."""
        kind = self._kind
        if kind is None:
            return
        conditions = await _remaining([*left])
        async with self._ledger.turn(Place(kind, "", name)):
            old = self._memory.get(kind, "", name)
            if old is None or not old.deleting:
                return
            obj = old.object()
            if _set(obj, conditions):
                await self._ledger.put(kind, obj, old)


async def _remaining(left: Sequence[tuple[Kind, Item]]) -> list[Object]:
    """Kubernetes' own conditions of it, in its own words."""
    resources: Counter[str] = Counter()
    finalizers: Counter[str] = Counter()

    def count(one: tuple[Kind, Item]) -> None:
        kind, item = one
        resources[f"{kind.plural}.{kind.group}"] += 1
        finalizers.update(item.object()["metadata"].get("finalizers") or ())

    await sliced(left, count, lambda one: len(one[1].raw))
    kept = [f"{one} has {count} resource instances" for one, count in sorted(resources.items())]
    holding = [f"{one} in {count} resource instances" for one, count in sorted(finalizers.items())]
    if len(holding) > _MOST_FINALIZERS:
        holding[_MOST_FINALIZERS:] = [f"{len(holding) - _MOST_FINALIZERS} others"]
    return [
        {
            "type": "NamespaceContentRemaining",
            "status": "True",
            "reason": "SomeResourcesRemain",
            "message": f"Some resources are remaining: {', '.join(kept)}",
        },
        {
            "type": "NamespaceFinalizersRemaining",
            "status": "True" if holding else "False",
            "reason": "SomeFinalizersRemain" if holding else "ContentHasNoFinalizers",
            "message": f"Some content in the namespace has finalizers remaining: {', '.join(holding)}"
            if holding
            else "All content-preserving finalizers finished",
        },
    ]


def _set(obj: Object, conditions: list[Object]) -> bool:
    """Put the conditions into a namespace, in place; whether that changed anything."""
    had = {one["type"]: one for one in obj["status"].get("conditions") or ()}
    now = now_rfc3339()
    for one in conditions:
        before = had.get(one["type"], {})
        same = before.get("status") == one["status"]
        one["lastTransitionTime"] = before["lastTransitionTime"] if same else now
    if conditions == list(had.values()):
        return False
    obj["status"]["conditions"] = conditions
    return True
