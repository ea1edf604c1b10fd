"""What lives in the demo: objects as a home would tell of them, the same ones each time."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]

NODES = 8
NAMESPACES = ("shop", "lab", "build")
_IMAGES = ("debian-12", "ubuntu-24", "alma-9", "windows-2022")
_BROKEN = "alma-9"
"""The image that the registry refuses, in the last namespace; machines of it wait."""
_SYSTEMS = {
    "debian-12": "Debian GNU/Linux 12 (bookworm)",
    "ubuntu-24": "Ubuntu 24.04 LTS",
    "alma-9": "AlmaLinux 9.5",
}
_WAITING = 97
"""Every so many machines wait for the broken image."""
_RESTARTING = 41
"""Every so many have a change that a restart would apply."""
_STOPPED = 9
_SNAPSHOTS = 6
_GIB = 1 << 30


class Inhabitants:
    """Makes them; ``seed`` decides about all that is left to chance."""

    def __init__(self, machines: int, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  nothing depends on it
        self._machines = machines

    def all(self) -> Iterator[tuple[str, str, Object]]:
        """(plural, namespace, object), those first that others refer to."""
        for name in NAMESPACES:
            yield "namespaces", "", {"metadata": {"name": name}, "status": {"phase": "Active"}}
        for number in range(NODES):
            yield "nodes", "", _node(number)
        yield "virtualmachineclasses", "", {
            "metadata": {"name": "generic"}, "spec": {"cpu": {"type": "Model", "model": "x86-64-v3"}},
            "status": {"phase": "Ready", "availableNodes": [f"demo-{number}" for number in range(NODES)]},
        }  # fmt: skip
        for namespace in NAMESPACES:
            for name in _IMAGES:
                yield "virtualimages", namespace, _image(namespace, name)
        yield "virtualimages", "lab", _importing("fedora-43")
        for number in range(self._machines):
            namespace, name = NAMESPACES[number % 3], f"demo-{number:04}"
            image = _BROKEN if _waits(number) else self._random.choice(_IMAGES)
            yield "virtualdisks", namespace, _disk(name, image, waits=_waits(number))
            machine = self._machine(number, name, image)
            yield "virtualmachines", namespace, machine
            for event in _events(number, namespace, name):
                yield "events", namespace, event
        for number in range(1, min(self._machines, _SNAPSHOTS * 3), 3):
            yield "virtualmachinesnapshots", "lab", _snapshot(f"demo-{number:04}")

    def age(self) -> str:
        """When something was made: some weeks ago."""
        return stamp(-self._random.random() * 4e6)

    def _machine(self, number: int, name: str, image: str) -> Object:
        cores, memory = self._random.choice((1, 2, 4, 8)), self._random.choice(("1Gi", "2Gi", "4Gi", "16Gi"))
        spec = {
            "virtualMachineClassName": "generic", "cpu": {"cores": cores, "coreFraction": "100%"},
            "memory": {"size": memory}, "runPolicy": "Manual",
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": f"{name}-root"}],
        }  # fmt: skip
        if _waits(number):
            why = condition(
                "BlockDevicesReady", "False", "BlockDevicesNotReady", f"Waiting for VirtualDisk {name}-root"
            )
            return {"metadata": {"name": name}, "spec": spec, "status": {"phase": "Pending", "conditions": [why]}}
        if number % _STOPPED == 0:
            return {"metadata": {"name": name}, "spec": spec, "status": {"phase": "Stopped"}}
        return {"metadata": {"name": name}, "spec": spec, "status": _running(number, name, image, cores, memory)}


def condition(kind: str, status: str, reason: str, message: str = "") -> Object:
    """One condition, as it has been for an hour."""
    told = {"type": kind, "status": status, "reason": reason, "lastTransitionTime": stamp(-3600.0)}
    return {**told, "message": message} if message else told


def stamp(seconds: float) -> str:
    """The time ``seconds`` from now, as the API writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def _waits(number: int) -> bool:
    return number % _WAITING == 2  # of the last namespace


def _node(number: int) -> Object:
    size = {"cpu": "64", "memory": f"{512 * _GIB >> 10}Ki"}
    info = {"kubeletVersion": "v1.33.0+hyperd", "kernelVersion": "6.1.0-40-amd64",
            "osImage": "Debian GNU/Linux 12 (bookworm)"}  # fmt: skip
    quiet = [condition(kind, "False", "Enough") for kind in ("MemoryPressure", "DiskPressure")]
    conditions = [condition("Ready", "True", "DemoReady"), *quiet]
    status = {"conditions": conditions, "capacity": size, "allocatable": size, "nodeInfo": info}
    return {"metadata": {"name": f"demo-{number}"}, "status": status}


def _image(namespace: str, name: str) -> Object:
    url = f"https://images.example.org/{name}.qcow2"
    spec = {"storage": "ContainerRegistry", "dataSource": {"type": "HTTP", "http": {"url": url}}}
    status: Object = {"phase": "Ready", "format": "qcow2", "size": {"stored": "310Mi", "unpacked": "10Gi"}}
    if (namespace, name) == (NAMESPACES[-1], _BROKEN):
        refused = f"The server answered 401 Unauthorized for {url}"
        status = {"phase": "Failed", "conditions": [condition("Ready", "False", "ProvisioningFailed", refused)]}
    return {"metadata": {"name": name}, "spec": spec, "status": status}


def _importing(name: str) -> Object:
    made = _image("", name)
    made["status"] = {"phase": "Provisioning", "progress": "37.2%", "downloadSpeed": {"current": "84Mi"}}
    return made


def _disk(name: str, image: str, *, waits: bool) -> Object:
    source = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": image}}
    users = [{"name": name, "mounted": True}]
    status: Object = {"phase": "Ready", "capacity": "20Gi", "attachedToVirtualMachines": users}
    if waits:
        why = condition("DatasourceReady", "False", "DatasourceNotReady", f"Waiting for VirtualImage {image}")
        status = {"phase": "Pending", "conditions": [why]}
    spec = {"persistentVolumeClaim": {"size": "20Gi"}, "dataSource": source}
    return {"metadata": {"name": f"{name}-root"}, "spec": spec, "status": status}


def _running(number: int, name: str, image: str, cores: int, memory: str) -> Object:
    disk = {"kind": "VirtualDisk", "name": f"{name}-root", "size": "20Gi", "attached": True, "target": "sda"}
    conditions = [
        condition("Running", "True", "Running"),
        condition("AgentReady", "True", "AgentReady"),
        condition("BlockDevicesReady", "True", "BlockDevicesReady"),
        condition("Migratable", "True", "VirtualMachineMigratable"),
    ]
    status: Object = {
        "phase": "Running", "nodeName": f"demo-{number % NODES}",
        "ipAddress": f"10.66.{number // 250}.{number % 250 + 1}",
        "stats": {"lastStartTime": stamp(-3600.0 * (number % 400 + 1))},
        "resources": {"cpu": {"cores": cores, "coreFraction": "100%"}, "memory": {"size": memory}},
        "blockDeviceRefs": [disk], "conditions": conditions,
    }  # fmt: skip
    if image in _SYSTEMS:
        status["guestOSInfo"] = {"prettyName": _SYSTEMS[image]}
    if number % _RESTARTING == 1:
        change = {"operation": "replace", "path": "memory.size", "currentValue": memory, "desiredValue": "32Gi"}
        waits = f"memory.size {memory} → 32Gi waits for a restart"
        status["restartAwaitingChanges"] = [change]
        conditions.append(condition("AwaitingRestartToApplyConfiguration", "True", "ChangesPendingRestart", waits))
    return status


def _snapshot(machine: str) -> Object:
    spec = {"virtualMachineName": machine, "requiredConsistency": True}
    status = {"phase": "Ready", "consistent": True, "virtualDiskSnapshotNames": [f"{machine}-root-1"]}
    return {"metadata": {"name": f"{machine}-before-upgrade"}, "spec": spec, "status": status}


def _events(number: int, namespace: str, name: str) -> Iterator[Object]:
    """Of every few machines: what happened to them lately."""
    if number % _RESTARTING != 1:
        return
    told = (
        ("Started", "Normal", "The machine runs", 5 * 3600.0),
        ("AgentReady", "Normal", "The guest agent answers", 5 * 3600.0 - 60.0),
        ("RestartAwaitingChanges", "Warning", "memory.size waits for a restart", 300.0),
    )
    about = {
        "kind": "VirtualMachine",
        "namespace": namespace,
        "name": name,
        "uid": uid("virtualmachines", namespace, name),
    }
    for reason, kind, message, ago in told:
        yield {
            "metadata": {"name": f"{name}.{reason.lower()}"}, "involvedObject": about, "type": kind, "count": 1,
            "reason": reason, "message": message, "lastTimestamp": stamp(-ago),
        }  # fmt: skip


def uid(plural: str, namespace: str, name: str) -> str:
    """The uid of one that is there from the start."""
    return f"demo-{plural}-{namespace}-{name}"
