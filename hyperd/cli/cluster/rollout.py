"""Waiting until each node's daemon is the one that is wanted, with the reason of each that is not."""

from __future__ import annotations

import time

from hyperd.cli.cluster import bundle
from hyperd.cli.waiting import Progress
from hyperd.client import paths, sanitize
from hyperd.client.sync import Client
from hyperd.errors import HyperdError, ServiceUnavailable, Timeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hyperd.resources.schema.kind import Object

_PAUSE_SECONDS = 1.0
_LINE_CHARACTERS = 300
_SHORT_CHARACTERS = 60
_SHOWN = 3


class Rollout:
    """One look at the DaemonSet, its Pods and their nodes."""

    def __init__(self, client: Client) -> None:
        """Raises what the server says."""
        namespace = bundle.daemons_namespace()
        self._client = client
        self.daemon_set: Object = client.get(bundle.RESOURCES["DaemonSet"], namespace, bundle.DAEMONS)
        selector = (self.daemon_set["spec"].get("selector") or {}).get("matchLabels") or {}
        labels = ",".join(f"{key}={value}" for key, value in selector.items())
        uid = self.daemon_set["metadata"]["uid"]
        revisions = [
            one for one in client.list(bundle.REVISIONS, namespace, labels=labels)["items"] if _owned(one, uid)
        ]
        newest: Object = max(revisions, key=lambda one: int(one.get("revision") or 0), default={})
        self._revision = ((newest.get("metadata") or {}).get("labels") or {}).get("controller-revision-hash")
        self.pods = [
            pod for pod in client.list(bundle.PODS, namespace, labels=labels)["items"] if _owned(pod, uid)
        ]
        self.nodes = {node["metadata"]["name"]: node for node in client.list(bundle.NODES)["items"]}
        self._down = {name for name, node in self.nodes.items() if not _is_ready(node)}

    @property
    def wanted(self) -> int:
        """On how many nodes a daemon is to be."""
        return int((self.daemon_set.get("status") or {}).get("desiredNumberScheduled") or 0)

    @property
    def ready(self) -> int:
        """How many of them have the one that is wanted."""
        return sum(self._is_new(pod) and _is_ready(pod) for pod in self.pods)

    @property
    def down(self) -> list[str]:
        """Nodes with a daemon that nobody can wait for: they are not Ready themselves."""
        return sorted(self._down & {_node(pod) for pod in self.pods})

    @property
    def finished(self) -> bool:
        status = self.daemon_set.get("status") or {}
        if int(status.get("observedGeneration") or 0) < int(self.daemon_set["metadata"].get("generation") or 0):
            return False
        awaited = [pod for pod in self.pods if _node(pod) not in self._down]
        return len(self.pods) >= self.wanted and all(
            self._is_new(pod) and _is_ready(pod) and not pod["metadata"].get("deletionTimestamp")
            for pod in awaited
        )

    def reasons(self) -> list[str]:
        """``NODE: why`` of each node that is not there yet."""
        found = [
            f"{_node(pod) or pod['metadata']['name']}: {self._why(pod)}"
            for pod in self.pods
            if self._is_new(pod) and not _is_ready(pod)
        ]
        found += [f"{node}: the node is not Ready, which holds the others up" for node in self.holding]
        if not self.pods and (why := self._last_warning(self.daemon_set)):
            found.append(f"no Pod is made: {why}")
        if not found and not self.wanted:
            found.append("no node fits the DaemonSet's nodeSelector and tolerations")
        return found

    @property
    def holding(self) -> list[str]:
        """Nodes that are down, of whose daemons Kubernetes waits for one before it replaces those of others."""
        others = [pod for pod in self.pods if _node(pod) not in self._down]
        return [] if all(map(self._is_new, others)) else self.down

    def _is_new(self, pod: Object) -> bool:
        return (pod["metadata"].get("labels") or {}).get("controller-revision-hash") == self._revision

    def _why(self, pod: Object) -> str:
        if _node(pod) in self._down:
            return "the node is not Ready"
        status = pod.get("status") or {}
        for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
            state = container.get("state") or {}
            waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
            before = (container.get("lastState") or {}).get("terminated") or {}
            reason = str(waiting.get("reason") or "")
            if failed := next((one for one in (ended, before) if one and one.get("exitCode")), None):
                line = self._last_line(pod, str(container["name"]), previous=failed is before)
                return f"{container['name']} ended with {failed['exitCode']}{f': {line}' if line else ''}"
            if reason not in ("", "PodInitializing", "ContainerCreating"):
                return f"{reason}: {waiting.get('message') or container.get('image')}"
        return self._last_warning(pod) or str(status.get("message") or status.get("phase") or "it is starting")

    def _last_line(self, pod: Object, container: str, *, previous: bool) -> str:
        where = {"container": container, "tailLines": "1", "previous": "true" if previous else ""}
        metadata = pod["metadata"]
        path = paths.single(bundle.PODS, metadata["namespace"], metadata["name"]) + "/log" + paths.query(where)
        try:
            text = self._client.raw("GET", path).decode("utf-8", "replace").strip()
        except HyperdError:
            return ""
        return _message(text)[:_LINE_CHARACTERS]

    def _last_warning(self, obj: Object) -> str:
        fields = f"involvedObject.uid={obj['metadata']['uid']},type=Warning"
        try:
            events = self._client.list(bundle.EVENTS, bundle.daemons_namespace(), fields=fields)["items"]
        except HyperdError:
            return ""
        events = [one for one in events if str(one.get("reason") or "").startswith("Failed")]
        last: Object = max(
            events, key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""), default={}
        )
        return str(last.get("message") or "")[:_LINE_CHARACTERS]


def wait(
    client: Client,
    label: str,
    timeout: float,
    *,
    anywhere: bool = True,
    look: Callable[[Rollout], None] = lambda _: None,
) -> Rollout:
    """The rollout once it is finished, on one node at least unless that is not asked for (``anywhere``).

    ``look`` is shown it each time that it is looked at. Raises Timeout with each node's reason.
    """
    shown, deadline = Progress(label), time.monotonic() + timeout
    seen: Rollout | None = None
    try:
        while True:
            try:
                seen = Rollout(client)
                look(seen)
            except (ServiceUnavailable, Timeout) as err:
                shown.show(err.message)
            else:
                if seen.finished and (seen.wanted or not anywhere):
                    return seen
                reasons = seen.reasons()
                of = f"{seen.ready} of {seen.wanted} nodes"
                shown.show("; ".join([of, *map(_short, reasons[:_SHOWN])]))
            if time.monotonic() > deadline:
                break
            time.sleep(_PAUSE_SECONDS)
    finally:
        shown.done()
    reasons = seen.reasons() if seen is not None else []
    told = "".join(f"\n  {sanitize.line(reason)}" for reason in reasons)
    counted = f"{seen.ready} of {seen.wanted} nodes have it" if seen is not None else "the server does not answer"
    raise Timeout(f"{label}: after {timeout:.0f} s {counted}.{told}")


def _short(reason: str) -> str:
    return reason if len(reason) <= _SHORT_CHARACTERS else f"{reason[: _SHORT_CHARACTERS - 1]}…"


def _owned(obj: Object, uid: str) -> bool:
    return any(owner.get("uid") == uid for owner in obj["metadata"].get("ownerReferences") or ())


def _node(pod: Object) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")


def _is_ready(obj: Object) -> bool:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _message(line: str) -> str:
    """What a line of the daemon's log says, which is JSON unless settings say otherwise."""
    import json

    try:
        told = json.loads(line)
    except ValueError:
        return line
    return str(told.get("message") or told.get("msg") or line) if isinstance(told, dict) else line
