"""Nodes that are lost while daemons are replaced one by one: Kubernetes would wait for them for ever.

A daemon of a node that is not Ready counts as the one that may be away at a time. A node that is not Ready for
long is given room of its own, so that of the others still one at a time is replaced; its own daemon follows once
it is back.
"""

from __future__ import annotations

import sys
import time

from hyperd.cli.cluster import bundle
from hyperd.cli.cluster.applying import json_patch
from hyperd.client import ages, sanitize
from hyperd.client.sync import Client
from hyperd.errors import HyperdError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.cli.cluster.rollout import Rollout
    from hyperd.resources.schema.kind import Object


class Giving:
    """Gives room while a rollout is looked at, and takes it back at its ``end``."""

    def __init__(self, client: Client, lost_after: float) -> None:
        self._client = client
        self._lost_after = lost_after
        self._since: dict[str, float] = {}
        """When each node was first seen down here: clocks of other machines may be wrong."""
        self._told: set[str] = set()
        self._was: int | None = None

    def look(self, seen: Rollout) -> None:
        """Have as many daemons away as there are lost nodes, and one. Raises what the server says."""
        now = time.monotonic()
        self._since = {node: self._since.get(node, now) for node in seen.holding}
        lost = [node for node in seen.holding if self._down_for(seen, node) >= self._lost_after]
        have = room(seen.daemon_set)
        if have is None:
            return
        if self._was is None:
            self._was = have
        if self._was + len(lost) > have:
            self._give(seen.daemon_set, self._was + len(lost))
        for node in lost:
            if node not in self._told:
                span = ages.span(self._down_for(seen, node))
                text = f"Node {node} has not been Ready for {span}: hyperd is replaced on the others without it."
                print(f"hv: {sanitize.line(text)}", file=sys.stderr, flush=True)
        self._told |= set(lost)

    def end(self) -> None:
        """As it was before; where the server does not answer, the next install or upgrade does so."""
        if not self._told or self._was is None:
            return
        resource, namespace = bundle.RESOURCES["DaemonSet"], bundle.daemons_namespace()
        try:
            daemon_set = self._client.get(resource, namespace, bundle.DAEMONS)
            if room(daemon_set) not in (None, self._was):
                self._give(daemon_set, self._was)
        except HyperdError as err:
            text = f"The DaemonSet may have more than {self._was} daemons away at a time: {err.message}"
            print(f"hv: {sanitize.line(text)}", file=sys.stderr, flush=True)

    def _down_for(self, seen: Rollout, node: str) -> float:
        watched = time.monotonic() - self._since[node]
        since = ages.parse(_not_ready_since(seen.nodes[node]))
        return watched if since is None else max(watched, time.time() - since)

    def _give(self, daemon_set: Object, count: int) -> None:
        operations: list[Object] = [
            {"op": "test", "path": "/metadata/uid", "value": daemon_set["metadata"]["uid"]},
            {"op": "replace", "path": "/spec/updateStrategy/rollingUpdate/maxUnavailable", "value": count},
        ]
        try:
            json_patch(self._client, {**daemon_set, "kind": "DaemonSet"}, operations)
        except NotFound:
            return


def room(daemon_set: Object) -> int | None:
    """How many daemons may be away at a time; None where that is no number."""
    strategy = (daemon_set.get("spec") or {}).get("updateStrategy") or {}
    value = (strategy.get("rollingUpdate") or {}).get("maxUnavailable")
    return value if type(value) is int else None


def _not_ready_since(node: Object) -> str:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return next((str(one.get("lastTransitionTime") or "") for one in conditions if one.get("type") == "Ready"), "")
