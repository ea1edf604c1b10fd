"""A node that is cut off, frozen or powered off: what begins elsewhere, and when; never are there two guests."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.nodes.bed import Bed
from tests.cluster.nodes.hyperds import Hyperds
from tests.cluster.nodes.machines import START_SECONDS, get, make, make_machine, pod_of, running, until
from tests.cluster.nodes.node import Node
from tests.cluster.nodes.sightings import Guest, Sightings, watching

pytestmark = [pytest.mark.cluster, pytest.mark.nodes, pytest.mark.slow, pytest.mark.timeout(900)]

_TAINT = "node.kubernetes.io/out-of-service"
_MODE = "virtualdisk.virtualization.deckhouse.io/access-mode"
_MACHINES = ("plain", "kept")


class Lab:
    """Three nodes with a hyperd, and machines on volumes that every node reaches."""

    def __init__(self, hyperds: Hyperds, seen: Sightings) -> None:
        self.hyperds = hyperds
        self.bed = hyperds.bed
        self.seen = seen
        self.rows: list[tuple[str, str, str]] = []

    def uid(self, machine: str) -> str:
        return get(self.bed, f"vm/{machine}", "{.metadata.uid}")

    def guest(self, machine: str) -> Guest:
        """That lives, once one does."""
        uid, found = self.uid(machine), list[Guest]()

        def lives() -> bool:
            found[:] = [guest] if (guest := self.seen.of(uid)) is not None else []
            return bool(found) and get(self.bed, f"vm/{machine}", "{.status.phase}") == "Running"

        until(lives, START_SECONDS)
        return found[0]

    def node(self, machine: str) -> Node:
        name = get(self.bed, f"vm/{machine}", "{.status.nodeName}")
        return next(node for node in self.bed.nodes if node.name == name)

    def told(self, what: str, fencing: str, came: str) -> None:
        self.rows.append((what, fencing, came))

    def keeps(self, machine: str, before: Guest) -> None:
        """The very same guest lives."""
        found = self.seen.of(before.machine)
        assert found is not None, machine
        assert (found.pid, found.node) == (before.pid, before.node), machine


def taint(bed: Bed, node: Node, *, on: bool) -> None:
    value = f"{_TAINT}=nodeshutdown:NoExecute" if on else f"{_TAINT}-"
    bed.plane.kubectl("taint", "node", node.name, value)


def since(began: float, holds: Callable[[], object], seconds: float) -> float:
    """Seconds from ``began`` until it is so."""
    until(holds, seconds)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def lab(hyperds: Hyperds) -> Iterator[Lab]:
    bed = hyperds.bed
    hyperds.settle(bed.nodes[2])
    meta = {"name": "all", "annotations": {_MODE: "ReadWriteMany"}}
    bed.plane.apply({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": meta,
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"})  # fmt: skip
    for name in _MACHINES:
        (bed.folder / name).mkdir()
        volume = {"capacity": {"storage": "16Mi"}, "accessModes": ["ReadWriteMany"], "storageClassName": "all",
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": str(bed.folder / name)}}  # fmt: skip
        bed.plane.apply(
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": volume}
        )
        make(bed, "VirtualDisk", name, persistentVolumeClaim={"storageClassName": "all", "size": "8Mi"})
    bed.plane.kubectl("cordon", bed.nodes[0].name, bed.nodes[2].name)
    with watching(bed.nodes) as seen:
        made = Lab(hyperds, seen)
        for name in _MACHINES:
            make_machine(bed, name, runPolicy="AlwaysOn", terminationGracePeriodSeconds=1)
        for name in _MACHINES:
            made.guest(name)
        bed.plane.kubectl("uncordon", bed.nodes[0].name, bed.nodes[2].name)
        yield made
    for what, fencing, came in made.rows:
        print(f"{what:<34} {fencing:<8} {came}")
    bed.plane.kubectl(
        "delete", *(f"{kind}/{name}" for name in _MACHINES for kind in ("vm", "vd")), "--timeout=60s"
    )
    bed.plane.kubectl("delete", "sc/all", *(f"pv/{name}" for name in _MACHINES), "--wait=false")
    hyperds.leave(bed.nodes[2])
    assert not seen.crowded


def test_a_node_without_power_is_left_on_an_administrators_word_alone(lab: Lab) -> None:
    bed, node, before = lab.bed, lab.node("plain"), lab.guest("plain")
    began = time.monotonic()
    node.power_off()
    until(lambda: "kubectl taint node" in running(bed, "plain"), 120)
    told = time.monotonic() - began
    pod = pod_of(bed, "plain")["metadata"]["name"]
    bed.plane.kubectl("delete", f"pod/{pod}", "--force", "--grace-period=0")
    time.sleep(5)
    assert lab.seen.of(before.machine) is None, "a Pod that is removed proves nothing"
    tainted = time.monotonic()
    taint(bed, node, on=True)
    after = lab.guest("plain")
    assert after.node != node.name
    lab.told(
        "powered off", "no", f"told after {told:.0f} s, elsewhere {after.first - tainted:.0f} s after the taint"
    )
    node.start([])
    lab.hyperds.settle(node)
    taint(bed, node, on=False)
    bed.plane.kubectl("wait", "--for=condition=Ready", f"node/{node.name}", "--timeout=60s")
    until(lambda: not node.run("virsh", "-q", "list", "--state-running", "--name").split(), 60)
    lab.keeps("plain", after)
    print(json.dumps(get(bed, "vm/plain", "{.status.holder}")), file=sys.stderr)
