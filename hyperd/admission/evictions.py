"""Whether a machine's Pod may be evicted: the words and codes are those of the reference's webhook.

The Pod of a guest stays until the guest has gone to another node: who asks is told to ask again, as a disruption
budget tells it, and the Pod is to be marked. That of a guest that cannot be moved stays all the same, since an
eviction is asked for by programs, and a guest is not theirs to end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hyperd.errors import HyperdError, TooManyRequests
from hyperd.resources.all import POD, VIRTUAL_MACHINE
from hyperd.resources.core.pod import PodPhase
from hyperd.resources.kinds.virtual_machine_conditions import VirtualMachineCondition
from hyperd.resources.kinds.virtual_machine_status import VirtualMachinePhase
from hyperd.resources.schema.kind import Object
from hyperd.resources.values import meta, names
from hyperd.resources.values.conditions import find_condition
from hyperd.store.interface import Reader

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine

_RETRY_SECONDS: Final = 5
_WITHOUT_GUEST: Final = (None, "", VirtualMachinePhase.PENDING, VirtualMachinePhase.STOPPED)
_ENDED: Final = (PodPhase.SUCCEEDED, PodPhase.FAILED)


@dataclass(frozen=True)
class Ruling:
    """``refusal`` is why the Pod stays for now; ``marks`` the Pod whose guest is to go because of it."""

    refusal: HyperdError | None = None
    marks: Object | None = None


async def judge(reader: Reader, namespace: str, name: str) -> Ruling:
    """What becomes of an eviction of the Pod ``name``; that of others' Pods is no matter of ours."""
    pod = await reader.find(POD, namespace, name)
    if pod is None or meta.is_deleting(pod) or (pod.get("status") or {}).get("phase") in _ENDED:
        return Ruling()
    machine = await _machine_of(reader, namespace, pod)
    if machine is None:
        return Ruling()
    status, title = machine.get("status") or {}, f'"{namespace}/{machine["metadata"]["name"]}"'
    if status.get("phase") in _WITHOUT_GUEST:
        return Ruling()
    if name not in [one["name"] for one in status.get("virtualMachinePods") or () if one.get("active")]:
        return Ruling(_refuse("Eviction request for target Pod"))
    if status["phase"] == VirtualMachinePhase.STOPPING:
        return Ruling(_refuse(f"VMI {title} is being stopped"))
    told = f"Eviction triggered evacuation of VMI {title}"
    movable = find_condition(machine, VirtualMachineCondition.MIGRATABLE) or {}
    if movable.get("status") == "False":
        why = movable.get("message") or movable["reason"]
        told = f"{told}. It cannot be migrated: {why} Stop it to free the node."
    if meta.annotations(pod).get(names.POD_EVICTED_ANNOTATION) == "true":
        return Ruling(_refuse(f"Evacuation in progress: {told}"))
    return Ruling(_refuse(told), pod)


async def _machine_of(reader: Reader, namespace: str, pod: Object) -> VirtualMachine | None:
    labels = meta.labels(pod)
    name, uid = labels.get(names.VM_POD_NAME_LABEL, ""), labels.get(names.VM_UID_LABEL, "")
    if not name or not uid or not meta.is_owned_by(pod, uid):
        return None
    machine = await reader.find(VIRTUAL_MACHINE, namespace, name)
    return machine if machine is not None and machine["metadata"]["uid"] == uid else None


def _refuse(message: str) -> HyperdError:
    return TooManyRequests(message, retry_after_seconds=_RETRY_SECONDS)
