"""From a machine to its Pod: a pure function.

The Pod stands for the guest towards scheduler, quotas, Services and evictions. Its one container is the launcher;
the node's hyperd puts the guest's QEMU beneath the Pod's limits. It passes Pod Security ``restricted``: the
guest's power over the node is hyperd's and libvirt's to give, not the Pod's. Its name follows from the machine, so
that there cannot be two: a second one can only be made once the first is gone. That of the Pod to which a guest
goes follows from the operation that moves it; which one has the guest stands in the machine's status.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import orjson

from hyperd.controllers.machine.capacity import requested
from hyperd.controllers.pod.claims import Mount
from hyperd.controllers.pod.placing import Goes, placing
from hyperd.launcher.connection import VOLUME
from hyperd.resources.all import POD
from hyperd.resources.schema.kind import AnyObject, Object
from hyperd.resources.values import meta, names
from hyperd.resources.values.charges import EMULATION_OVERHEAD
from hyperd.resources.values.quantity import format_bytes
from hyperd.runtime.informer import Informer
from hyperd.settings import KubernetesSettings

if TYPE_CHECKING:
    from hyperd.resources.views.virtual_machine import VirtualMachine
    from hyperd.resources.views.virtual_machine_class import VirtualMachineClass

CONTAINER: Final = "compute"
PROGRAM: Final = "/usr/lib/hyperd/launcher"
"""In the launcher's image."""
FOLDER: Final = "/run/hyperd"
_USER: Final = 65532
_GRACE_MARGIN_SECONDS: Final = 15
"""For hyperd to end a guest that did not shut down, before kubelet ends all."""
_DEFAULT_GRACE_SECONDS: Final = 60
_STARTUP_SECONDS: Final = 2
_READY_SECONDS: Final = 10
_FOREVER: Final = (1 << 31) - 1
_RULES: Final = ("nodeSelector", "affinity", "tolerations")
_NOT_CARRIED: Final = frozenset({"kubectl.kubernetes.io/last-applied-configuration", names.POD_EVICTED_ANNOTATION})


def pod_name(machine: AnyObject, *, operation: str = "") -> str:
    """The name of the machine's Pod, its own among all machines that ever had this name.

    With the uid of an ``operation``, of the Pod to which that moves the guest.
    """
    known = machine["metadata"]
    digest = hashlib.sha256((known["uid"] + operation).encode()).hexdigest()
    return f"{names.POD_NAME_PREFIX}{known['name']}-{digest[:5]}"


def current_pod_name(machine: VirtualMachine) -> str:
    """The name of the Pod that has the machine's guest, or is to."""
    pods = (machine.get("status") or {}).get("virtualMachinePods") or ()
    return next((pod["name"] for pod in pods if pod.get("active")), "") or pod_name(machine)


def find_pod(pods: Informer[Object], machine: VirtualMachine) -> Object | None:
    """The Pod that has the machine's guest, or is to, as far as it is seen."""
    namespace = machine["metadata"]["namespace"]
    # One that a guest went to is followed by one of the first name, once it is gone.
    return pods.get(namespace, current_pod_name(machine)) or pods.get(namespace, pod_name(machine))


def carried(machine: AnyObject) -> tuple[dict[str, str], dict[str, str]]:
    """The labels and annotations that the machine hands on to its Pod."""
    annotations = {key: value for key, value in meta.annotations(machine).items() if key not in _NOT_CARRIED}
    return dict(meta.labels(machine)), annotations


def own_labels(machine: AnyObject) -> dict[str, str]:
    """By which the machine's Pod is known; no label of the machine's can take their place."""
    known = machine["metadata"]
    return {
        names.VM_UID_LABEL: known["uid"],
        names.VM_POD_NAME_LABEL: known["name"],
        names.LAUNCHER_LABEL: names.LAUNCHER_LABEL_VALUE,
    }


def make_manifest(
    machine: VirtualMachine,
    class_: VirtualMachineClass,
    conf: KubernetesSettings,
    *,
    node: str = "",
    mounts: Sequence[Mount] = (),
    goes: Goes | None = None,
    avoided: Sequence[str] = (),
) -> Object:
    """The Pod. ``node`` is where the machine's disks are kept; empty while they are nowhere yet.

    ``mounts`` are the claims of those that are claims. One that a guest ``goes`` to counts as made of the same as
    the Pod that it leaves. To nodes that are ``avoided`` it does not come.
    """
    labels, annotations = carried(machine)
    spec = _spec(machine, conf, mounts)
    return {
        "apiVersion": POD.api_version,
        "kind": POD.kind,
        "metadata": {
            "namespace": machine["metadata"]["namespace"],
            "name": pod_name(machine, operation="" if goes is None else goes.operation),
            "labels": {**labels, **own_labels(machine)},
            "annotations": {
                **annotations,
                names.POD_CARRIED_ANNOTATION: encode_carried(labels, annotations),
                names.POD_MADE_OF_ANNOTATION: fingerprint(spec | _placing(machine, class_, conf, "")),
                names.POD_PLACED_BY_ANNOTATION: placed_by(machine, class_, conf),
                names.POD_PINNED_ANNOTATION: node,
                **({names.POD_AVOIDED_ANNOTATION: " ".join(avoided)} if avoided else {}),
            },
            "ownerReferences": [meta.owner_reference(machine)],
        },
        "spec": spec | _placing(machine, class_, conf, node, goes, avoided),
    }


def encode_carried(labels: dict[str, str], annotations: dict[str, str]) -> str:
    """The keys that come from the machine, to be taken from the Pod once the machine has them no more."""
    return orjson.dumps({"labels": sorted(labels), "annotations": sorted(annotations)}).decode()


def fingerprint(spec: Object) -> str:
    """Another one where the Pod would be another one."""
    return hashlib.sha256(orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def placed_by(machine: VirtualMachine, class_: VirtualMachineClass, conf: KubernetesSettings) -> str:
    """The digest of the rules by which the machine is placed, of which a running guest is told."""
    rules = _placing(machine, class_, conf, "")
    return fingerprint({name: rules[name] for name in _RULES if name in rules})


def _placing(
    machine: VirtualMachine,
    class_: VirtualMachineClass,
    conf: KubernetesSettings,
    node: str,
    goes: Goes | None = None,
    avoided: Sequence[str] = (),
) -> Object:
    emulation = conf.allow_emulation
    return placing(machine["spec"], class_, emulation=emulation, node=node, goes=goes, avoided=avoided)


def _spec(machine: VirtualMachine, conf: KubernetesSettings, mounts: Sequence[Mount]) -> Object:
    grace = machine["spec"].get("terminationGracePeriodSeconds")
    grace = _DEFAULT_GRACE_SECONDS if grace is None else grace
    return {
        **restricted(grace + _GRACE_MARGIN_SECONDS),
        "containers": [_container(machine, conf, mounts)],
        "volumes": volumes(mounts),
    }


def restricted(grace_seconds: int) -> Object:
    """Of a Pod that gets nothing from its node and nothing of the cluster."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def volumes(mounts: Sequence[Mount]) -> list[Object]:
    """Where hyperd and the launcher meet, and the claims."""
    return [
        {"name": VOLUME, "emptyDir": {"sizeLimit": "1Mi"}},
        *({"name": one.volume, "persistentVolumeClaim": {"claimName": one.claim}} for one in mounts),
    ]


def _container(machine: VirtualMachine, conf: KubernetesSettings, mounts: Sequence[Mount]) -> Object:
    needs, cores = requested(machine["spec"]), machine["spec"]["cpu"]["cores"]
    emulation = EMULATION_OVERHEAD if conf.allow_emulation else 0
    memory, ready = format_bytes(needs.memory_bytes + emulation), {"exec": {"command": [PROGRAM, "ready", FOLDER]}}
    return {
        **launcher(conf, mounts),
        "resources": {
            "requests": {"cpu": f"{needs.cpu_milli}m", "memory": memory},
            "limits": {"cpu": str(cores), "memory": memory},
        },
        # Nothing is asked often of a machine that runs: its guest is started once, and may wait long for that.
        "startupProbe": {**ready, "periodSeconds": _STARTUP_SECONDS, "failureThreshold": _FOREVER},
        "readinessProbe": {**ready, "periodSeconds": _READY_SECONDS, "failureThreshold": 1},
    }


def launcher(conf: KubernetesSettings, mounts: Sequence[Mount]) -> Object:
    """The container of the launcher, which has the claims."""
    devices = [{"name": one.volume, "devicePath": str(one.path)} for one in mounts if one.block]
    return {
        "name": CONTAINER,
        "image": conf.launcher_image,
        "imagePullPolicy": "IfNotPresent",
        "command": [PROGRAM, "run", FOLDER],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # kubelet mounts no volume that no container has. The launcher writes to none of them.
        "volumeMounts": [
            {"name": VOLUME, "mountPath": FOLDER},
            *(
                {"name": one.volume, "mountPath": str(one.path), "readOnly": True}
                for one in mounts
                if not one.block
            ),
        ],
        **({"volumeDevices": devices} if devices else {}),
    }
