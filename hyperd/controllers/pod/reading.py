"""What a machine's Pod says of itself, in sentences for the machine's condition."""

from __future__ import annotations

from collections.abc import Sequence

from hyperd.resources.core.pod import PodConditionType, PodPhase
from hyperd.resources.kinds.virtual_machine_conditions import RunningReason
from hyperd.resources.schema.kind import AnyObject
from hyperd.resources.values import meta, names
from hyperd.resources.values.conditions import find_condition

_FINISHED = frozenset({PodPhase.SUCCEEDED, PodPhase.FAILED})


def node_of(pod: AnyObject) -> str:
    """The node that the scheduler chose; empty before that."""
    return (pod.get("spec") or {}).get("nodeName") or ""


def is_ending(pod: AnyObject) -> bool:
    """Whether the Pod is to go: what is in it has its grace period."""
    return meta.is_deleting(pod)


def is_finished(pod: AnyObject) -> bool:
    """Whether nothing runs in it, and nothing will."""
    return (pod.get("status") or {}).get("phase") in _FINISHED


def is_of(pod: AnyObject, machine: AnyObject) -> bool:
    """Whether it is the machine's, and not one that somebody else gave its name."""
    uid = machine["metadata"]["uid"]
    return meta.labels(pod).get(names.VM_UID_LABEL) == uid and meta.is_owned_by(pod, uid)


def made_of(pod: AnyObject) -> str:
    """The digest of what it was asked for."""
    return meta.annotations(pod).get(names.POD_MADE_OF_ANNOTATION, "")


def placed_by(pod: AnyObject) -> str:
    """The digest of the rules of placement that its node fits; empty where that is not told."""
    return meta.annotations(pod).get(names.POD_PLACED_BY_ANNOTATION, "")


def avoided_by(pod: AnyObject) -> Sequence[str]:
    """The nodes to which it does not come, as their hyperds were not heard of."""
    return meta.annotations(pod).get(names.POD_AVOIDED_ANNOTATION, "").split()


def pinned_to(pod: AnyObject) -> str:
    """The node that it was asked for; empty for any."""
    return meta.annotations(pod).get(names.POD_PINNED_ANNOTATION, "")


def claims_of(pod: AnyObject) -> list[str]:
    """Names of the claims that it has."""
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    return [one["persistentVolumeClaim"]["claimName"] for one in volumes if one.get("persistentVolumeClaim")]


def is_unschedulable(pod: AnyObject) -> bool:
    """Whether the scheduler has said that no node takes it now."""
    scheduled = find_condition(pod, PodConditionType.SCHEDULED) or {}
    return not node_of(pod) and scheduled.get("status") == "False"


def why_waiting(pod: AnyObject) -> tuple[RunningReason, str]:
    """Why no guest can begin in it yet, as reason and sentence; an empty sentence where nothing is in the way."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    if is_ending(pod):
        return RunningReason.POD_TERMINATING, f"Pod {name} is ending; another one is made once it is gone."
    if is_finished(pod):
        why = status.get("message") or status.get("reason") or "nobody says why"
        return RunningReason.POD_NOT_STARTED, f"Pod {name} has ended: {_sentence(why)}"
    if not node_of(pod):
        scheduled = find_condition(pod, PodConditionType.SCHEDULED) or {}
        message = scheduled.get("message") or "the scheduler has not looked at it yet"
        return RunningReason.POD_NOT_STARTED, f"Pod {name} cannot be scheduled: {_sentence(message)}"
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("message"):
            return RunningReason.POD_NOT_STARTED, f"Pod {name}: {_sentence(waiting['message'])}"
    if status.get("phase") != PodPhase.RUNNING:
        return RunningReason.POD_NOT_STARTED, f"Pod {name} is being started on node {node_of(pod)}."
    return RunningReason.POD_NOT_STARTED, ""


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
