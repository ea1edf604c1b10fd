"""Whatever of a node's programs is killed, the guest goes on; where its Pod dies, it starts anew."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial

import pytest

from tests.cluster.nodes import session
from tests.cluster.nodes.hyperds import Hyperds
from tests.cluster.nodes.machines import START_SECONDS, get, pod_of, process_of, until
from tests.cluster.nodes.movers import SECONDS, count, running_on, where
from tests.cluster.nodes.node import Node

pytestmark = [pytest.mark.cluster, pytest.mark.nodes, pytest.mark.slow, pytest.mark.timeout(600)]

_READY = '{.status.conditions[?(@.type=="Ready")].status}'


@pytest.fixture
def spoken_with(hyperds: Hyperds, mover: str) -> Iterator[Node]:
    """The guest's node, on which a TCP session with it goes on for as long as the test."""
    node = where(hyperds, "mover")
    node.begin("talk", sys.executable, session.__file__, node.address, mover, "7")
    yield node
    node.end_program("talk")


def _echoed(node: Node) -> int:
    lines = (node.folder / "log" / "talk.log").read_text().splitlines()
    return int(lines[-1].split()[0]) if lines and lines[-1].split()[0].isdigit() else 0


def _serves(hyperds: Hyperds, node: Node, said: int) -> bool:
    """Whether its hyperd does, since its log was so long."""
    return f"serves node {node.name}" in hyperds.log(node)[said:]


def _goes_on(node: Node, address: str) -> None:
    """The guest counts on, and the session with it is the same still."""
    counted, echoed = count(node, address), _echoed(node)
    assert counted
    until(lambda: count(node, address) > counted, 30)
    until(lambda: _echoed(node) > echoed, 30)


def test_a_guest_does_not_notice_that_its_nodes_programs_are_killed(
    hyperds: Hyperds, mover: str, spoken_with: Node
) -> None:
    bed, node = hyperds.bed, spoken_with
    until(lambda: _echoed(node), 30)
    pod, qemu = pod_of(bed, "mover"), node.run("pgrep", "-x", "qemu-system-x86")
    name = f"pod/{pod['metadata']['name']}"
    for program in ("kubelet", "containerd", "libvirtd", "kube-proxy", "hyperd"):
        said = len(hyperds.log(node))
        node.kill_program(program)
        _goes_on(node, mover)
        node.begin_again(program)
        if program == "hyperd":
            until(partial(_serves, hyperds, node, said), START_SECONDS)
        _goes_on(node, mover)
    # All at once, as where a package manager restarts what it has replaced.
    for program in ("hyperd", "kubelet", "containerd", "libvirtd"):
        node.kill_program(program)
    _goes_on(node, mover)
    for program in ("libvirtd", "containerd", "kubelet", "hyperd"):
        node.begin_again(program)
    bed.plane.kubectl("wait", "--for=condition=Ready", f"node/{node.name}", name, "--timeout=90s")
    until(lambda: get(bed, "vm/mover", "{.status.phase}") == "Running", 60)
    _goes_on(node, mover)
    after = pod_of(bed, "mover")
    assert after["metadata"]["uid"] == pod["metadata"]["uid"]
    assert "READY=" not in bed.plane.kubectl("logs", name), "its console is nobody's who may read Pods' logs"
    assert [one["restartCount"] for one in after["status"]["containerStatuses"]] == [0]
    assert node.run("pgrep", "-x", "qemu-system-x86") == qemu
    label = "vm.kubevirt.internal.virtualization.deckhouse.io/name=mover"
    assert len(bed.plane.kubectl("get", "pods", "-l", label, "-o", "name").split()) == 1


@pytest.mark.parametrize("program", ["launcher", "pause"])
def test_a_machine_whose_pod_dies_starts_anew_and_leaves_no_orphan(
    hyperds: Hyperds, mover: str, program: str
) -> None:
    bed, node = hyperds.bed, where(hyperds, "mover")
    first, before = pod_of(bed, "mover")["metadata"], count(node, mover)
    assert before
    node.run("kill", "-9", str(process_of(node, program, first["uid"])))
    until(lambda: pod_of(bed, "mover").get("metadata", first)["uid"] != first["uid"], SECONDS)
    until(lambda: get(bed, "vm/mover", "{.status.phase}") == "Running", SECONDS)
    until(lambda: count(where(hyperds, "mover"), mover), SECONDS)
    assert count(where(hyperds, "mover"), mover, "before") >= before
    until(lambda: running_on(hyperds) == [where(hyperds, "mover").name], 30)
    assert get(bed, f"pod/{pod_of(bed, 'mover')['metadata']['name']}", _READY) in ("True", "False")
