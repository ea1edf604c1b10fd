"""On which node a machine or a disk may be, and on which it is best."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from hyperd import clock
from hyperd.controllers.context import Context
from hyperd.controllers.node import fitting
from hyperd.controllers.node.heartbeat import served_nodes
from hyperd.resources.all import NODE
from hyperd.resources.core.node import NodeConditionType
from hyperd.resources.schema.kind import AnyObject
from hyperd.resources.values import names
from hyperd.resources.values.conditions import is_true
from hyperd.resources.values.meta import labels

if TYPE_CHECKING:
    from hyperd.resources.views.core import Node
    from hyperd.resources.views.placement import Toleration

SERVED_SECONDS = 1.0
"""For how long the answer to which nodes are served is good enough."""
CLAIM_SECONDS = 5.0
"""For how long a node may say that it holds what has none."""
_NAMED = 5
"""How many nodes a message names at most."""


class Nodes:
    """The nodes of the cluster, as the leader sees them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._nodes = context.informer(NODE)
        self._served: frozenset[str] = frozenset()
        self._served_at = float("-inf")
        self._seen = clock.Seen()
        self.choosing = asyncio.Lock()
        """Held while a node is chosen and written."""
        self._unbound = clock.Seen(10_000)
        """For how long objects without a node have been seen, by uid."""

    def left_to_claim(self, obj: AnyObject) -> float:
        """Seconds before a node is chosen for what is not new and has none.

        It may have had one: after the restore of an earlier state the node that holds it says so in that time.
        """
        is_new = not (obj.get("status") or {}).get("phase")
        waited = self._unbound.age(obj["metadata"]["uid"], hint=CLAIM_SECONDS if is_new else 0.0)
        return max(0.0, CLAIM_SECONDS - waited)

    async def usable(self, tolerated: Sequence[Toleration] = ()) -> tuple[Sequence[Node], str]:
        """The nodes that take new work; where there is none, a sentence that says what keeps each from it.

        ``tolerated`` are the tolerations of what is to be placed.
        """
        served = await self._which_are_served()
        emulation = self._context.settings.kubernetes.allow_emulation
        nodes = [item.object() for item in self._nodes.items()]
        faults = {
            name_of(node): fault(node, served=served, emulation=emulation, tolerated=tolerated) for node in nodes
        }
        usable = [node for node in nodes if not faults[name_of(node)]]
        return usable, "" if usable else faults_sentence(faults)

    async def _which_are_served(self) -> frozenset[str]:
        if clock.elapsed() - self._served_at > SERVED_SECONDS:
            self._served = await served_nodes(self._context.store, self._seen)
            self._served_at = clock.elapsed()
        return self._served


def fault(node: Node, *, served: Collection[str], emulation: bool, tolerated: Sequence[Toleration] = ()) -> str:
    """What keeps a node from taking new work, as what follows its name; empty when nothing does.

    ``served`` are the nodes with a hyperd; ``emulation`` is whether machines may do without KVM.
    """
    if not is_true(node, NodeConditionType.READY):
        return "is not Ready"
    if fitting.cordoned(node, tolerated):
        return fitting.CORDONED
    if name_of(node) not in served:
        return "has no hyperd that answers"
    if not emulation and labels(node).get(names.KVM_ENABLED_LABEL) != "true":
        return "cannot use KVM"
    return ""


def faults_sentence(faults: Mapping[str, str]) -> str:
    """A sentence that says of each node what keeps it from taking the work."""
    if not faults:
        return "The cluster has no node."
    listed = [f"{name} {found}" for name, found in sorted(faults.items())]
    more = f"; and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return f"No node can take it: {'; '.join(listed[:_NAMED])}{more}."


def name_of(node: Node) -> str:
    return node["metadata"]["name"]


def least_used(nodes: Iterable[Node], used: Mapping[str, int]) -> str:
    """The name of the node with the fewest; the first of several. Empty when there is no node."""
    return min((name_of(node) for node in nodes), key=lambda name: (used.get(name, 0), name), default="")
