"""``kubectl drain`` of a machine's node: the guest goes elsewhere, or the drain waits; no guest ends by it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from hyperd.resources.values.names import POD_EVICTED_ANNOTATION
from tests.cluster.controlplane.build import binary
from tests.cluster.controlplane.plane import PlaneError
from tests.cluster.nodes.bed import Bed
from tests.cluster.nodes.hyperds import Hyperds
from tests.cluster.nodes.machines import get, pod_of, until
from tests.cluster.nodes.movers import count, running_on, where
from tests.cluster.nodes.node import Node

pytestmark = [pytest.mark.cluster, pytest.mark.nodes, pytest.mark.slow, pytest.mark.timeout(600)]

_EVICTION = (
    '{{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {{"name": "{}", "namespace": "default"}}}}'
)
_SECONDS = 240
_REQUIRED = '{.status.conditions[?(@.type=="EvictionRequired")].message}'


def drain(bed: Bed, node: Node, *flags: str) -> tuple[int, str]:
    """Exit code and what was said, of machines' Pods alone."""
    argv = ("drain", node.name, "--pod-selector=vm.kubevirt.internal.virtualization.deckhouse.io/name",
            "--delete-emptydir-data", *flags)  # fmt: skip
    kubectl = [str(binary("kubectl")), "--kubeconfig", str(bed.plane.kubeconfig), *argv]
    done = subprocess.run(kubectl, capture_output=True, text=True, timeout=_SECONDS + 30, check=False)
    return done.returncode, done.stdout + done.stderr


def rehearse(bed: Bed, pod: str) -> str:
    """What an eviction is answered that nobody means."""
    path, meta = f"/api/v1/namespaces/default/pods/{pod}/eviction", {"name": pod, "namespace": "default"}
    only_asks = {"deleteOptions": {"dryRun": ["All"]}}
    eviction = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta, **only_asks})
    try:
        return bed.plane.kubectl("create", "--raw", path, "-f", "-", stdin=eviction)
    except PlaneError as err:
        return str(err)


def marked(bed: Bed) -> bool:
    return POD_EVICTED_ANNOTATION in pod_of(bed, "mover")["metadata"]["annotations"]


def evacuations(bed: Bed) -> list[str]:
    """Phases of the operations that evictions led to."""
    listed = bed.plane.kubectl(
        "get", "vmop", "--no-headers", "-o", "custom-columns=:.metadata.name,:.status.phase"
    )
    found = sorted(line.split() for line in listed.splitlines())
    return [phase for name, phase in found if name.startswith("evacuation-")]


@pytest.fixture
def only_here(hyperds: Hyperds, mover: str) -> Iterator[Node]:
    """Where the guest runs; no other node takes it."""
    node = where(hyperds, "mover")
    others = [each.name for each in hyperds.bed.nodes if each is not node]
    hyperds.bed.plane.kubectl("cordon", *others)
    yield node
    hyperds.bed.plane.kubectl("uncordon", *others, node.name)


def test_a_drain_waits_for_a_guest_that_no_node_takes(hyperds: Hyperds, mover: str, only_here: Node) -> None:
    bed, pod = hyperds.bed, pod_of(hyperds.bed, "mover")["metadata"]["name"]
    budget = get(bed, f"pdb/{pod}", "{.spec.minAvailable} {.status.disruptionsAllowed}")
    assert budget == "1 0"
    code, said = drain(bed, only_here, "--dry-run=server", "--timeout=4s")
    assert not marked(bed), (code, said)
    before = count(only_here, mover)
    code, said = drain(bed, only_here, "--timeout=15s")
    assert code, said
    assert 'Eviction triggered evacuation of VMI "default/mover"' in said
    assert get(bed, "vm/mover", _REQUIRED) == "VirtualMachine should be evicted from current node or restarted."
    until(lambda: evacuations(bed) == ["InProgress"], 30)
    until(lambda: count(only_here, mover) > before, 30)
    # Who deletes the operation takes the eviction back.
    (op,) = (name for name in bed.plane.kubectl("get", "vmop", "-o", "name").split() if "/evacuation-" in name)
    bed.plane.kubectl("delete", op, "--timeout=60s")
    until(lambda: not get(bed, "vm/mover", _REQUIRED) and not marked(bed), 30)
    assert running_on(hyperds) == [only_here.name]


def test_a_budget_keeps_the_pod_while_hyperd_is_not_asked(hyperds: Hyperds, mover: str) -> None:
    bed, pod = hyperds.bed, pod_of(hyperds.bed, "mover")["metadata"]["name"]
    where, path = "validatingwebhookconfiguration/hyperd", "/webhooks/0/matchConditions/0/expression"
    before = get(bed, where, "{.webhooks[0].matchConditions[0].expression}")

    def asked_where(expression: str) -> None:
        patch = json.dumps([{"op": "replace", "path": path, "value": expression}])
        bed.plane.kubectl("patch", where, "--type=json", "-p", patch)

    asked_where("false")
    try:
        until(lambda: "disruption budget" in rehearse(bed, pod), 30)
    finally:
        asked_where(before)
    until(lambda: "Eviction triggered evacuation" in rehearse(bed, pod), 30)


def test_a_drained_node_is_left_by_a_running_guest(hyperds: Hyperds, mover: str) -> None:
    bed, source = hyperds.bed, where(hyperds, "mover")
    pod, before = pod_of(bed, "mover")["metadata"]["name"], count(source, mover)
    try:
        code, said = drain(bed, source, f"--timeout={_SECONDS}s")
        assert code == 0, said
        assert f"evicting pod default/{pod}" in said
        assert evacuations(bed)[-1] == "Completed"
        target = where(hyperds, "mover")
        assert target is not source
        until(lambda: count(target, mover) > before, 30)
        assert running_on(hyperds) == [target.name]
        assert not get(bed, "vm/mover", _REQUIRED)
    finally:
        bed.plane.kubectl("uncordon", source.name)
