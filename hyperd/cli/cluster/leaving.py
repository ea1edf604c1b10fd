"""Having hyperd leave the nodes: its DaemonSet becomes one whose Pods remove what the daemons had made there.

The same Pods, image and settings with ``hyperd leave`` in the daemon's place, so that it goes wherever the daemon
went, and once the daemon itself has ended there. Who is interrupted finds it as it is and goes on.
"""

from __future__ import annotations

import time

from hyperd.cli.cluster import bundle
from hyperd.cli.cluster.applying import json_patch
from hyperd.cli.waiting import Progress
from hyperd.client.sync import Client
from hyperd.errors import Timeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.client.resource import Resource
    from hyperd.resources.schema.kind import Object

_LEAVING = "virtualization.deckhouse.io/leaving"
_DONE = "/tmp/left"  # noqa: S108  in a container of its own
_LEAVE = f"hyperd leave && touch {_DONE} && exec sleep infinity"
_OF_A_DAEMON = ("ports", "startupProbe", "livenessProbe", "readinessProbe", "lifecycle", "command", "args")
_PAUSE_SECONDS = 0.5


def is_leaving(daemon_set: Object) -> bool:
    """Whether its Pods are to leave, not to serve."""
    return _LEAVING in (daemon_set["metadata"].get("annotations") or {})


def have_leave(client: Client, daemon_set: Object) -> None:
    """Make the DaemonSet one that leaves; nothing happens to one that is."""
    if is_leaving(daemon_set):
        return
    spec = daemon_set["spec"]["template"]["spec"]
    daemon = next(one for one in spec["containers"] if one["name"] == bundle.DAEMONS)
    leaving = {key: value for key, value in daemon.items() if key not in _OF_A_DAEMON}
    leaving |= {
        "command": ["sh", "-c", _LEAVE],
        "readinessProbe": {"exec": {"command": ["test", "-e", _DONE]}, "periodSeconds": 1},
    }
    notes = {**(daemon_set["metadata"].get("annotations") or {}), _LEAVING: "true"}
    operations: list[Object] = [
        {"op": "test", "path": "/metadata/uid", "value": daemon_set["metadata"]["uid"]},
        {"op": "add", "path": "/metadata/annotations", "value": notes},
        {"op": "add", "path": "/spec/template/spec/initContainers", "value": []},
        {"op": "replace", "path": "/spec/template/spec/containers", "value": [leaving]},
        {
            "op": "replace",
            "path": "/spec/updateStrategy",
            "value": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}},
        },
    ]
    json_patch(client, {**daemon_set, "kind": "DaemonSet"}, operations)


def until_gone(client: Client, resource: Resource, namespace: str | None, name: str, timeout: float) -> None:
    """Wait until an object that is being deleted is gone. Raises Timeout with what holds it."""
    shown, deadline = Progress(f"{resource.singular}/{name}"), time.monotonic() + timeout
    try:
        while (left := client.find(resource, namespace, name)) is not None:
            shown.show("is being removed")
            if time.monotonic() > deadline:
                raise Timeout(f"{resource.kind} {name} is not gone after {timeout:.0f} s{_held(left)}.")
            time.sleep(_PAUSE_SECONDS)
    finally:
        shown.done()


def _held(obj: Object) -> str:
    finalizers = obj["metadata"].get("finalizers")
    conditions = [
        str(one.get("message"))
        for one in (obj.get("status") or {}).get("conditions") or ()
        if one.get("status") == "True" and one.get("message")
    ]
    if conditions:
        return f": {'; '.join(conditions[:2]).rstrip('.')}"
    return f": it is held by {', '.join(map(str, finalizers))}" if finalizers else ""
