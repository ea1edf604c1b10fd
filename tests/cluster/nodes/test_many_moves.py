"""Guests that are all to move at once go one after the other from each node, and to each."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.cluster.nodes.hyperds import Hyperds
from tests.cluster.nodes.machines import START_SECONDS, make, make_machine, until

pytestmark = [pytest.mark.cluster, pytest.mark.nodes, pytest.mark.slow, pytest.mark.timeout(600)]

_NAMES = [f"herd-{number}" for number in range(10)]
_SECONDS = 300


def test_ten_moves_at_once_keep_to_the_slots(hyperds: Hyperds) -> None:
    """Their firmware finds nothing to boot from, and waits: they cost little."""
    bed = hyperds.bed
    for name in _NAMES:
        make(bed, "VirtualDisk", name, persistentVolumeClaim={"size": "1Mi"})
        make_machine(bed, name, terminationGracePeriodSeconds=1, memory={"size": "32Mi"},
            cpu={"cores": 1, "coreFraction": "5%"})  # fmt: skip
    phases = ("get", "vm", *_NAMES, "-o", "jsonpath={.items[*].status.phase}")
    until(lambda: set(bed.plane.kubectl(*phases).split()) == {"Running"}, START_SECONDS)
    before = nodes(hyperds)
    for name in _NAMES:
        make(bed, "VirtualMachineOperation", name, type="Evict", virtualMachineName=name)
    most: Counter[str] = Counter()

    def done() -> bool:
        machines = json.loads(bed.plane.kubectl("get", "vm", *_NAMES, "-o", "json"))["items"]
        moving = [one["status"]["holder"] for one in machines if one["status"].get("holder", {}).get("to")]
        going = Counter(f"from {holder['node']}" for holder in moving)
        going.update(f"to {holder['to']}" for holder in moving)
        for what, count in going.items():
            most[what] = max(most[what], count)
        ops = json.loads(bed.plane.kubectl("get", "vmop", *_NAMES, "-o", "json"))["items"]
        return {(op.get("status") or {}).get("phase") for op in ops} <= {"Completed", "Failed"}

    until(done, _SECONDS)
    ended = ("get", "vmop", *_NAMES, "-o", "jsonpath={.items[*].status.phase}")
    assert bed.plane.kubectl(*ended).split() == ["Completed"] * len(_NAMES)
    after = nodes(hyperds)
    assert all(after[name] != before[name] for name in _NAMES)
    assert most
    print(dict(most))
    # What comes waits for its turn with the record written; none more than one leaves a node at a time.
    assert all(count <= 1 for what, count in most.items() if what.startswith("from "))
    bed.plane.kubectl("delete", "vm", *_NAMES, "--timeout=120s")
    bed.plane.kubectl("delete", "vd", *_NAMES, "--timeout=60s")


def nodes(hyperds: Hyperds) -> dict[str, str]:
    machines = json.loads(hyperds.bed.plane.kubectl("get", "vm", *_NAMES, "-o", "json"))["items"]
    return {one["metadata"]["name"]: one["status"]["nodeName"] for one in machines}
