"""A node that is cut off, frozen or powered off: what begins elsewhere, and when; never are there two guests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from hyperd.controllers.node import promise
from hyperd.resources.values.names import FENCING_ANNOTATION, LEASE_PROMISE_ANNOTATION, SYSTEM_NAMESPACE
from tests.cluster.nodes.bed import Bed
from tests.cluster.nodes.hyperds import Hyperds
from tests.cluster.nodes.machines import START_SECONDS, get, make, make_machine, pod_of, running, until
from tests.cluster.nodes.node import Node
from tests.cluster.nodes.sightings import Guest, Sightings, watching

pytestmark = [pytest.mark.cluster, pytest.mark.nodes, pytest.mark.slow, pytest.mark.timeout(600)]

_TAINT = "node.kubernetes.io/out-of-service"
_MODE = "virtualdisk.virtualization.deckhouse.io/access-mode"
_PLAIN, _OTHER, _FENCED = "plain", "other", "fenced"
_LONG_SECONDS, _SHORT_SECONDS = 16.0, 8.0
"""Of nodes' leases: by the first one a guest that is fenced outlives a partition of half a minute."""
_PARTITION_SECONDS = 30.0


@dataclass
class Lab:
    """Three nodes with a hyperd, and machines on volumes that every node reaches."""

    hyperds: Hyperds
    seen: Sightings
    record: Callable[[str, object], None] = lambda name, value: None

    @property
    def bed(self) -> Bed:
        return self.hyperds.bed

    def guest(self, machine: str, *, but: Guest | None = None) -> Guest:
        """The one that lives, once it does, and its machine says so; another one than ``but``."""
        uid, found = get(self.bed, f"vm/{machine}", "{.metadata.uid}"), list[Guest]()

        def lives() -> bool:
            found[:] = [guest for guest in [self.seen.of(uid)] if guest is not None and guest is not but]
            said = get(self.bed, f"vm/{machine}", "{.status.phase} {.status.nodeName}")
            return bool(found) and said == f"Running {found[0].node}"

        until(lives, START_SECONDS)
        return found[0]

    def node(self, guest: Guest) -> Node:
        return next(node for node in self.bed.nodes if node.name == guest.node)

    def keeps(self, *guests: Guest) -> None:
        """Those very guests live."""
        for guest in guests:
            assert self.seen.of(guest.machine) is guest, guest

    def only(self, *names: str) -> None:
        """New guests begin on these nodes alone."""
        for node in self.bed.nodes:
            self.bed.plane.kubectl("uncordon" if node.name in names else "cordon", node.name)

    def lease(self, seconds: float) -> None:
        """Have leases last so long, by daemons that are killed and begun anew."""
        self.hyperds.node_lease_seconds = seconds
        for node in self.bed.nodes:
            self.hyperds.kill(node)
            self.hyperds.begin(node)
        for node in self.bed.nodes:
            until(partial(self._lasts, node.name, f"{seconds:.0f}"), START_SECONDS)

    def _lasts(self, node: str, seconds: str) -> bool:
        return self.of_lease(node, ".spec.leaseDurationSeconds") == seconds

    def of_lease(self, node: str, path: str) -> str:
        """What the node's lease says."""
        return get(self.bed, f"lease/node-{node}", f"{{{path}}}", namespace=SYSTEM_NAMESPACE)

    def fenced(self) -> None:
        """The machine's guest is guarded, and its node has promised that with its lease."""
        until(lambda: get(self.bed, f"vm/{_FENCED}", "{.status.holder.fenced}") == "true", START_SECONDS)
        node = get(self.bed, f"vm/{_FENCED}", "{.status.nodeName}")
        until(lambda: LEASE_PROMISE_ANNOTATION in self.of_lease(node, ".metadata.annotations"), START_SECONDS)

    def told(self, what: str, fencing: str, came: str) -> None:
        """A row of the table that the run ends with."""
        self.record("table", f"{what:<16} {fencing:<17} {came}")


@pytest.fixture(scope="module")
def lab(hyperds: Hyperds) -> Iterator[Lab]:
    bed, before = hyperds.bed, hyperds.node_lease_seconds
    hyperds.settle(bed.nodes[2])
    meta = {"name": "all", "annotations": {_MODE: "ReadWriteMany"}}
    bed.plane.apply({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": meta,
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"})  # fmt: skip
    with watching(bed.nodes) as seen:
        made = Lab(hyperds, seen)
        made.lease(_LONG_SECONDS)
        for name, node in ((_PLAIN, 1), (_FENCED, 1), (_OTHER, 0)):
            _begin(made, name, bed.nodes[node])
        bed.plane.kubectl("annotate", f"vm/{_FENCED}", f"{FENCING_ANNOTATION}=true")
        made.fenced()
        yield made
        made.only(*(node.name for node in bed.nodes))
        machines = (_PLAIN, _OTHER, _FENCED)
        bed.plane.kubectl(
            "delete", *(f"{kind}/{name}" for name in machines for kind in ("vm", "vd")), "--timeout=60s"
        )
        bed.plane.kubectl("delete", "sc/all", *(f"pv/{name}" for name in machines), "--wait=false")
        made.lease(before)
    hyperds.leave(bed.nodes[2])


@pytest.fixture(autouse=True)
def _recording(lab: Lab, record_property: Callable[[str, object], None]) -> None:
    lab.record = record_property


def _begin(lab: Lab, name: str, node: Node) -> None:
    bed, folder = lab.bed, lab.bed.folder / f"loss-{name}"
    folder.mkdir()
    volume = {"capacity": {"storage": "16Mi"}, "accessModes": ["ReadWriteMany"], "storageClassName": "all",
        "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": str(folder)}}  # fmt: skip
    bed.plane.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": volume})
    lab.only(node.name)
    make(bed, "VirtualDisk", name, persistentVolumeClaim={"storageClassName": "all", "size": "8Mi"})
    make_machine(bed, name, runPolicy="AlwaysOn", terminationGracePeriodSeconds=1)
    assert lab.guest(name).node == node.name


def test_one_that_is_cut_off_keeps_its_guests_but_those_that_are_fenced(lab: Lab) -> None:
    """For half a minute it keeps all of them."""
    plain, fenced, other = (lab.guest(name) for name in (_PLAIN, _FENCED, _OTHER))
    node, target = lab.node(plain), lab.bed.nodes[0].name
    lab.only(target)
    began = time.monotonic()
    node.cut()
    try:
        time.sleep(_PARTITION_SECONDS)
        lab.keeps(plain, fenced, other)
        lab.told("cut off", "", f"after {_PARTITION_SECONDS:.0f} s every guest goes on")
        after = lab.guest(_FENCED, but=fenced)
        assert (after.node, lab.node(fenced)) == (target, node)
        lab.keeps(plain, other)
    finally:
        node.mend()
    ended, again = fenced.last - began, after.first - began
    assert promise.ends(_LONG_SECONDS) * 3 / 4 < ended < promise.ends(_LONG_SECONDS) + 5
    lab.told("cut off", "with fencing", f"ended after {ended:.0f} s, on another node after {again:.0f} s")
    lab.told("cut off", "without", f"goes on, also {time.monotonic() - began:.0f} s later")
    until(lambda: "NodeLost" not in running(lab.bed, _PLAIN), 60)
    lab.keeps(plain, after, other)


def test_a_frozen_hyperd_costs_no_guest_but_those_that_are_fenced(lab: Lab) -> None:
    lab.lease(_SHORT_SECONDS)
    lab.fenced()
    fenced, other = lab.guest(_FENCED), lab.guest(_OTHER)
    node, target = lab.node(other), lab.bed.nodes[1].name
    assert lab.node(fenced) is node
    lab.only(target)
    began = time.monotonic()
    with node.frozen("hyperd"):
        after = lab.guest(_FENCED, but=fenced)
        assert after.node == target
        until(lambda: "the guest most likely runs" in running(lab.bed, _OTHER), 60)
        lab.keeps(other)
    ended, again = fenced.last - began, after.first - began
    lab.told("frozen", "with fencing", f"ended after {ended:.0f} s, on another node after {again:.0f} s")
    lab.told("frozen", "without", f"goes on, also {time.monotonic() - began:.0f} s later")
    until(lambda: "NodeLost" not in running(lab.bed, _OTHER), 60)
    lab.keeps(after, other)


def test_an_api_server_that_is_away_for_all_stops_no_guest(lab: Lab) -> None:
    """Nor one that is fenced: most nodes say to each other that it is."""
    lab.fenced()
    guests = [lab.guest(name) for name in (_PLAIN, _FENCED, _OTHER)]
    away = promise.certain(promise.make(_SHORT_SECONDS, ()), _SHORT_SECONDS) + 2
    with lab.bed.plane.frozen():
        time.sleep(away)
        lab.keeps(*guests)
    lab.told("API server away", "with and without", f"every guest goes on, also after {away:.0f} s")
    lab.fenced()
    lab.keeps(*guests)


def test_one_without_power_is_left_by_the_fenced_and_by_others_on_an_administrators_word(lab: Lab) -> None:
    bed = lab.bed
    lab.fenced()
    plain, fenced, other = (lab.guest(name) for name in (_PLAIN, _FENCED, _OTHER))
    node = lab.node(plain)
    assert lab.node(fenced) is node
    lab.only(*(each.name for each in bed.nodes))
    began = time.monotonic()
    node.power_off()
    after = lab.guest(_FENCED, but=fenced)
    again = after.first - began
    lab.told("powered off", "with fencing", f"ended at once, on another node after {again:.0f} s")
    until(lambda: f"kubectl taint node {node.name} {_TAINT}" in running(bed, _PLAIN), 120)
    told = time.monotonic() - began
    bed.plane.kubectl("delete", f"pod/{pod_of(bed, _PLAIN)['metadata']['name']}", "--force", "--grace-period=0")
    time.sleep(3)
    assert lab.seen.of(plain.machine) is None, "a Pod that is gone proves nothing"
    assert get(bed, f"vm/{_PLAIN}", "{.status.nodeName}") == node.name
    tainted = time.monotonic()
    bed.plane.kubectl("taint", "node", node.name, f"{_TAINT}=nodeshutdown:NoExecute")
    moved = lab.guest(_PLAIN)
    assert moved.node != node.name
    took = moved.first - tainted
    lab.told("powered off", "without", f"told after {told:.0f} s, on another node {took:.0f} s after the taint")
    node.start([])
    lab.hyperds.settle(node)
    bed.plane.kubectl("taint", "node", node.name, f"{_TAINT}-")
    bed.plane.kubectl("wait", "--for=condition=Ready", f"node/{node.name}", "--timeout=60s")
    stamp = lab.of_lease(node.name, ".spec.renewTime")
    until(lambda: lab.of_lease(node.name, ".spec.renewTime") > stamp, START_SECONDS)
    assert not node.run("virsh", "-q", "list", "--state-running", "--name").split()
    lab.keeps(after, moved, other)
    assert not lab.seen.crowded
    lab.told("all of it", "", f"{len(lab.seen.guests)} guests of 3 machines, at no moment two of one")
