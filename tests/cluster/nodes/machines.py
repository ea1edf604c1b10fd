"""Machines of the tests' cluster of nodes, as kubectl makes them and shows them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.cluster.controlplane.plane import PlaneError, document
from tests.cluster.nodes.bed import Bed
from tests.cluster.nodes.node import Node

BOOT_SECONDS = 150.0
START_SECONDS = 150.0
"""For daemons, and for the guest's QEMU, where others use the processors."""
_API = "virtualization.deckhouse.io/v1alpha2"


def make(bed: Bed, kind: str, name: str, **spec: Any) -> None:
    meta = {"name": name, "namespace": "default"}
    bed.plane.apply({"apiVersion": _API, "kind": kind, "metadata": meta, "spec": spec})


def make_machine(bed: Bed, name: str, **spec: Any) -> None:
    """Its disk comes after it, as it may in one manifest."""
    make(
        bed,
        "VirtualMachine",
        name,
        **{
            "virtualMachineClassName": "generic",
            "cpu": {"cores": 1, "coreFraction": "50%"},
            "memory": {"size": "128Mi"},
            "terminationGracePeriodSeconds": 30,
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name}],
            **spec,
        },
    )


def get(bed: Bed, what: str, path: str, *, namespace: str = "default") -> str:
    return bed.plane.kubectl("get", what, "-n", namespace, "-o", f"jsonpath={path}").strip()


def until(holds: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with suppress(PlaneError):
            if holds():
                return
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(0.3)


def pod_of(bed: Bed, name: str) -> dict[str, Any]:
    label = f"vm.kubevirt.internal.virtualization.deckhouse.io/name={name}"
    found = document(bed.plane.kubectl("get", "pods", "-l", label, "-o", "json"))["items"]
    return dict(found[0]) if found else {}


def process_of(node: Node, program: str, pod_uid: str) -> int:
    """The process of a Pod on its node that runs ``program``."""
    for pid in node.run("pgrep", "-x", program, rc=None).split():
        if pod_uid in node.run("cat", f"/proc/{pid}/cgroup"):
            return int(pid)
    raise AssertionError(f"the Pod has no {program}")


def running(bed: Bed, name: str) -> str:
    path = '{.status.conditions[?(@.type=="Running")].reason} {.status.conditions[?(@.type=="Running")].message}'
    return get(bed, f"vm/{name}", path)


def answers(node: Node, address: str, *, inside: int = 0) -> bool:
    """Whether the guest serves HTTP, to its node or to what is in the network of the process ``inside``."""
    enter = ["nsenter", f"--net=/proc/{inside}/ns/net"] if inside else []
    return "guest" in node.run(*enter, "curl", "-s", "-m", "3", f"http://{address}/", rc=None)
