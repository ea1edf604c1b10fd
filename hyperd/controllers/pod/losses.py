"""Which nodes are silent, as the leader sees it, and for how long that was without doubt.

All is timed by what this process has seen itself, by a clock that nobody sets: whoever begins to lead waits anew.
A look at the leases that fails, or one in which most of a node's electors are silent as well, begins the time
until its guests count as dead anew: then it may be the leader that is cut off, or the API server was away for all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from hyperd import clock
from hyperd.controllers.context import Context
from hyperd.controllers.node import promise
from hyperd.controllers.node.heartbeat import DURATION_SECONDS, node_leases
from hyperd.controllers.ownership import machine_node
from hyperd.controllers.pod import loss
from hyperd.controllers.pod.loss import Sight
from hyperd.errors import HyperdError
from hyperd.resources.all import NODE, VIRTUAL_MACHINE
from hyperd.resources.core.node import NodeConditionType
from hyperd.resources.values import meta, names
from hyperd.resources.values.conditions import is_true
from hyperd.runtime.controller import Key

if TYPE_CHECKING:
    from hyperd.resources.views.core import Lease

_log = logging.getLogger(__name__)
_NODE_INDEX: Final = "bound-to"
_LOOKS: Final = 8
"""In the duration of a node's lease."""


@dataclass
class _Known:
    """Of one node's lease: when it was seen to change last, and since when nothing was in doubt."""

    stamp: str
    since: float
    certain: float
    duration: float
    promise: promise.Promise | None
    renewed: bool = False
    """Whether it was seen to change at all."""
    unsure: str = ""


class Losses:
    """``run`` is to go on as long as the daemon does; ``sight`` answers while it leads."""

    def __init__(self, context: Context, *, elapsed: Callable[[], float] = clock.elapsed) -> None:
        self._context = context
        self._elapsed = elapsed
        self._every = context.settings.kubernetes.node_lease_seconds / _LOOKS
        self._machines = context.informer(VIRTUAL_MACHINE)
        self._machines.add_index(_NODE_INDEX, lambda machine: [machine_node(machine)])
        self._nodes = context.informer(NODE)
        self._known: dict[str, _Known] = {}
        self._began = elapsed()
        """Since when the leases are looked at."""
        self._looked = float("-inf")
        self._told: dict[str, Sight] = {}
        self._look_at: Callable[[Key], None] = lambda _: None

    def wake(self, look: Callable[[Key], None]) -> None:
        """Have ``look`` called with the machines of each node of which there is something new to be said."""
        self._look_at = look

    async def run(self) -> None:
        """Look at the leases while this daemon leads."""
        logged = ""
        while True:
            await asyncio.sleep(self._every)
            if not self._context.ownership.leads():
                self._forget()
                continue
            try:
                await self.look()
                logged = ""
            except HyperdError as err:
                if logged != err.message:
                    logged = err.message
                    _log.warning("Nobody knows which nodes are lost: %s", err.message)

    async def look(self) -> None:
        """Once. Raises HyperdError: nothing is certain then."""
        began = self._elapsed()
        if began - self._looked > 2 * self._every:
            self._doubt(began)
        leases = await node_leases(self._context.store)
        now = self._elapsed()
        if now - began > self._every:
            self._doubt(now)
        self._note(leases, now)
        self._looked = now
        self._tell()

    def sight(self, node: str) -> Sight | None:
        """What is known of the node; None while nothing is."""
        now = self._elapsed()
        if now - self._looked > 2 * self._every or not self._context.ownership.leads():
            return None
        known = self._known.get(node)
        since = self._began if known is None else known.since
        if now - since < (DURATION_SECONDS if known is None else known.duration):
            return Sight(node, heard=True, renewed=known is not None and known.renewed)
        found = self._nodes.get("", node)
        seen = Sight(
            node,
            heard=False,
            exists=found is not None,
            ready=found is not None and is_true(found, NodeConditionType.READY),
            out_of_service=found is not None and loss.is_out_of_service(found),
        )
        if known is None or known.promise is None:
            return seen
        if known.unsure:
            return replace(seen, unsure=known.unsure)
        # The node may have other settings than this one, which looks too seldom then.
        sure = max(promise.certain(known.promise, known.duration), known.promise.seconds + 4 * self._every)
        return replace(seen, fence=max(0.0, known.certain + sure - now))

    def silent(self) -> Sequence[str]:
        """Nodes with a hyperd that is not heard of; empty while nothing is known."""
        seen = (self.sight(node) for node in sorted(self._known))
        return [sight.node for sight in seen if sight is not None and not sight.heard]

    def stamp(self, node: str) -> str:
        """Of the lease as it was seen last, another one with each renewal; empty without one."""
        return self._known[node].stamp if node in self._known else ""

    def _forget(self) -> None:
        self._known.clear()
        self._told.clear()
        self._began, self._looked = self._elapsed(), float("-inf")

    def _doubt(self, now: float) -> None:
        for known in self._known.values():
            known.certain = now

    def _note(self, leases: Mapping[str, Lease], now: float) -> None:
        for gone in self._known.keys() - leases.keys():
            del self._known[gone]
        for node, lease in leases.items():
            mark, before = stamp(lease), self._known.get(node)
            since = now if before is None or before.stamp != mark else before.since
            certain = since if before is None or before.stamp != mark else before.certain
            said = meta.annotations(lease).get(names.LEASE_PROMISE_ANNOTATION, "")
            duration = float((lease.get("spec") or {}).get("leaseDurationSeconds") or DURATION_SECONDS)
            renewed = before is not None and (before.renewed or before.stamp != mark)
            self._known[node] = _Known(mark, since, certain, duration, promise.decode(said), renewed)
        fresh = {node for node, known in self._known.items() if now - known.since < known.duration}
        for known in self._known.values():
            if known.promise is None:
                continue
            heard = len(fresh & set(known.promise.electors))
            if heard < known.promise.majority:
                known.certain = now
                needs = f"{known.promise.majority} of {len(known.promise.electors)} nodes"
                known.unsure = f"Fencing needs {needs}, and {heard} are heard of."

    def _tell(self) -> None:
        """Machines of nodes of which something else is to be said now."""
        nodes = self._known.keys() | {item.name for item in self._nodes.items()}
        for node in self._told.keys() - nodes:
            del self._told[node]
        for node in nodes:
            if (seen := self.sight(node)) is None:
                continue
            plain = _said(seen)
            if self._told.get(node, Sight(node, heard=True)) != plain:
                self._told[node] = plain
                for item in self._machines.by_index(_NODE_INDEX, node):
                    self._look_at(Key(item.namespace, item.name))


def _said(sight: Sight) -> Sight:
    """The same for as long as the same is said of the node."""
    fence = None if sight.fence is None else 1.0 if sight.fence > 0 else 0.0
    return replace(sight, renewed=False, fence=fence)


def stamp(lease: Lease) -> str:
    """Another one with each renewal, also of a node whose clock stands still."""
    spec = lease.get("spec") or {}
    word = meta.annotations(lease).get(names.LEASE_WORD_ANNOTATION, "")
    return f"{lease['metadata']['uid']} {spec.get('renewTime') or ''} {word}"
