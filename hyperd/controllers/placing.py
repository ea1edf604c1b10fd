"""On which node a machine or a disk may be, and on which it is best."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from hyperd.controllers.context import Context
from hyperd.controllers.heartbeat import served_nodes
from hyperd.resources import names
from hyperd.resources.all import NODE
from hyperd.resources.conditions import is_true
from hyperd.resources.kind import Object
from hyperd.resources.meta import labels

SERVED_SECONDS = 1.0
"""For how long the answer to which nodes are served is good enough."""


class Places:
    """The nodes of the cluster, as the leader sees them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._nodes = context.informer(NODE)
        self._served: frozenset[str] = frozenset()
        self._served_at = float("-inf")
        self.choosing = asyncio.Lock()
        """Held while a node is chosen and written."""

    async def usable(self) -> Sequence[Object]:
        """Nodes that take new work: Ready, not cordoned, with a hyperd, and with KVM unless it may be emulated."""
        served = await self._which_are_served()
        emulation = self._context.settings.kubernetes.allow_emulation
        return [
            node
            for node in (item.object() for item in self._nodes.items())
            if node["metadata"]["name"] in served
            and is_true(node, "Ready")
            and not (node.get("spec") or {}).get("unschedulable")
            and (emulation or labels(node).get(names.KVM_ENABLED_LABEL) == "true")
        ]

    async def _which_are_served(self) -> frozenset[str]:
        if time.monotonic() - self._served_at > SERVED_SECONDS:
            self._served = await served_nodes(self._context.store)
            self._served_at = time.monotonic()
        return self._served


def name_of(node: Object) -> str:
    return str(node["metadata"]["name"])


def least_used(nodes: Iterable[Object], used: Mapping[str, int]) -> str:
    """The name of the node with the fewest; the first of several. Empty when there is no node."""
    return min((name_of(node) for node in nodes), key=lambda name: (used.get(name, 0), name), default="")


def count(nodes: Iterable[str]) -> Counter[str]:
    """How often each node is named."""
    return Counter(node for node in nodes if node)
