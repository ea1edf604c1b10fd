"""Guests that are all to move at once go one after the other from each node; none is lost, and none doubled."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from hyperd.controllers.pod.turns import FEWEST, OF_NODE
from tests.cluster.nodes.bed import Bed
from tests.cluster.nodes.hyperds import Hyperds
from tests.cluster.nodes.machines import START_SECONDS, make, make_machine, until
from tests.cluster.nodes.movers import SECONDS

pytestmark = [pytest.mark.cluster, pytest.mark.nodes, pytest.mark.slow, pytest.mark.timeout(600)]

_NAMES = [f"herd-{number}" for number in range(10)]


class Herd:
    """Of ten machines; ``look`` shows them, their operations and Pods as they are now."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self.machines: dict[str, dict[str, Any]] = {}
        self.operations: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, list[str]] = {}
        """Names of those that do not end, by their machine's."""

    def look(self) -> None:
        listed = json.loads(self._bed.plane.kubectl("get", "pods,vm,vmop", "-o", "json"))["items"]
        named = [(each["kind"], each["metadata"]["name"], {"status": {}, **each}["status"]) for each in listed]
        self.machines = {name: status for kind, name, status in named if kind == "VirtualMachine"}
        self.operations = {name: status for kind, name, status in named if kind == "VirtualMachineOperation"}
        self.pods = {name: [] for name in _NAMES}
        for each in listed:
            if each["kind"] == "Pod" and "deletionTimestamp" not in each["metadata"]:
                for owner in each["metadata"].get("ownerReferences", ()):
                    self.pods.setdefault(owner["name"], []).append(each["metadata"]["name"])

    def phases(self) -> Counter[str]:
        return Counter(str(self.machines[name].get("phase")) for name in _NAMES)

    def going(self) -> Counter[str]:
        """How many there are from each node and to each, and how many of each have a Pod elsewhere."""
        found: Counter[str] = Counter()
        for name in _NAMES:
            status, holder = self.machines[name], self.machines[name]["holder"]
            if holder.get("to"):
                found.update([f"from {holder['node']}", f"to {holder['to']}"])
            active = next(pod["name"] for pod in status["virtualMachinePods"] if pod["active"])
            left = status.get("migrationState", {}).get("source", {}).get("pod")
            if set(self.pods[name]) - {active, left if left != active else active}:
                found.update([f"prepared of {status['nodeName']}", "prepared"])
        return found

    def ended(self) -> Counter[str]:
        return Counter(str(self.operations.get(name, {}).get("phase")) for name in _NAMES)

    def nodes(self) -> dict[str, str]:
        return {name: self.machines[name]["nodeName"] for name in _NAMES}


@pytest.fixture
def herd(hyperds: Hyperds) -> Iterator[Herd]:
    """All of them run. Their firmware finds nothing to boot from, and waits: they cost little."""
    bed, found = hyperds.bed, Herd(hyperds.bed)
    for name in _NAMES:
        make(bed, "VirtualDisk", name, persistentVolumeClaim={"size": "1Mi"})
        make_machine(bed, name, terminationGracePeriodSeconds=1, memory={"size": "64Mi"},
            cpu={"cores": 1, "coreFraction": "5%"})  # fmt: skip

    def run() -> bool:
        found.look()
        return found.phases() == {"Running": len(_NAMES)}

    try:
        until(run, START_SECONDS)
        yield found
    finally:
        if found.phases() != {"Running": len(_NAMES)}:
            print(bed.plane.kubectl("get", "vm,pods", "-o", "wide"))
        bed.plane.kubectl("delete", "vm", *_NAMES, "--ignore-not-found", "--timeout=120s")
        bed.plane.kubectl("delete", "vd", *_NAMES, "--ignore-not-found", "--timeout=60s")


def doubled(hyperds: Hyperds) -> set[str]:
    """Guests that run on both nodes at one moment: on the first one before and after it was so on the other."""
    first, second = hyperds.nodes
    before, there, after = (
        set(node.run("virsh", "-q", "list", "--state-running", "--name").split())
        for node in (first, second, first)
    )
    return before & there & after


def test_ten_moves_at_once_keep_to_the_slots(hyperds: Hyperds, herd: Herd) -> None:
    bed, before = hyperds.bed, herd.nodes()
    for name in _NAMES:
        make(bed, "VirtualMachineOperation", name, type="Evict", virtualMachineName=name)
    most, pending = Counter[str](), set[str]()

    def ended() -> bool:
        herd.look()
        for what, count in herd.going().items():
            most[what] = max(most[what], count)
        pending.update(name for name in _NAMES if herd.operations[name].get("phase") == "Pending")
        assert not doubled(hyperds)
        return not set(herd.ended()) - {"Completed", "Failed"}

    until(ended, SECONDS)
    print(dict(most), f"{len(pending)} waited")
    assert herd.ended() == {"Completed": len(_NAMES)}
    after = herd.nodes()
    assert all(after[name] != before[name] for name in _NAMES)
    assert herd.phases() == {"Running": len(_NAMES)}
    assert pending, "they were not all on their way at once"
    assert 0 < most["prepared"] <= max(FEWEST, len(bed.nodes))
    for node in hyperds.nodes:
        assert most[f"from {node.name}"] == 1
        assert most[f"prepared of {node.name}"] <= OF_NODE
    bed.plane.kubectl("delete", "vmop", *_NAMES, "--timeout=60s")
