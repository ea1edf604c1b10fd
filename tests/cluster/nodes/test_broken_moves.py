"""A move that somebody takes back, or in whose midst a daemon is killed: the guest stays, and counts on."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from tests.cluster.controlplane.plane import PlaneError
from tests.cluster.nodes.bed import Bed
from tests.cluster.nodes.hyperds import Hyperds
from tests.cluster.nodes.machines import get, make, until
from tests.cluster.nodes.movers import SECONDS, count, running_on, where
from tests.cluster.nodes.node import Node

pytestmark = [pytest.mark.cluster, pytest.mark.nodes, pytest.mark.slow, pytest.mark.timeout(600)]

_SLOWLY = 2 << 20
"""Bytes a second: there is time to break something."""
_READY = "https://127.0.0.1:6481/readyz"
"""Where a daemon says that it answers, also of evictions."""
_REASON = '{.status.conditions[?(@.type=="Completed")].reason}'
_MESSAGE = '{.status.conditions[?(@.type=="Completed")].message}'


@pytest.fixture
def slow(hyperds: Hyperds, mover: str) -> Iterator[Node]:
    """Where the guest runs; from there it is sent slowly."""
    source = where(hyperds, "mover")
    hyperds.kill(source)
    hyperds.begin(source, migration_bytes_per_second=_SLOWLY)
    until(lambda: source.run("curl", "-sk", "-m", "2", _READY, rc=None).strip() == "ok", 60)
    yield source
    hyperds.kill(source)
    hyperds.begin(source)


def other(hyperds: Hyperds, node: Node) -> Node:
    (found,) = (each for each in hyperds.nodes if each is not node)
    return found


def sent(bed: Bed, name: str) -> None:
    """Wait until the operation's guest is on its way."""
    until(lambda: get(bed, f"vmop/{name}", _REASON) == "Syncing", SECONDS)


def stays(hyperds: Hyperds, node: Node, address: str, before: int) -> None:
    """The guest counts on, on ``node``; elsewhere there is nothing of it."""
    target, volume = other(hyperds, node), get(hyperds.bed, "vd/mover", "{.metadata.uid}")
    until(lambda: get(hyperds.bed, "vm/mover", "{.status.phase}") == "Running", 60)
    assert where(hyperds, "mover") is node
    until(lambda: count(node, address) > before, 60)
    assert running_on(hyperds) == [node.name]
    until(lambda: not target.run("virsh", "-q", "list", "--all", "--name").split(), 60)
    files = "ls /var/lib/hyperd/volumes /var/lib/hyperd/arrivals /run/hyperd/moves"
    until(lambda: volume not in target.run("sh", "-c", files, rc=None), 60)
    until(lambda: get(hyperds.bed, "vm/mover", "{.status.virtualMachinePods[*].active}") == "true", 60)


def test_who_deletes_the_operation_has_the_guest_stay(hyperds: Hyperds, mover: str, slow: Node) -> None:
    bed, before = hyperds.bed, count(slow, mover)
    make(bed, "VirtualMachineOperation", "taken-back", type="Migrate", virtualMachineName="mover")
    sent(bed, "taken-back")
    bed.plane.kubectl("delete", "vmop/taken-back", "--timeout=60s")
    stays(hyperds, slow, mover, before)


@pytest.mark.parametrize("leaves", [True, False], ids=["the-node-that-it-leaves", "the-node-that-it-goes-to"])
def test_libvirtd_is_killed_on(hyperds: Hyperds, mover: str, slow: Node, leaves: bool) -> None:
    bed, before = hyperds.bed, count(slow, mover)
    name = f"libvirtd-{'there' if leaves else 'here'}"
    make(bed, "VirtualMachineOperation", name, type="Migrate", virtualMachineName="mover")
    sent(bed, name)
    node = slow if leaves else other(hyperds, slow)
    node.end_program("libvirtd", signal.SIGKILL)
    node.begin("libvirtd", "libvirtd")
    until(lambda: get(bed, f"vmop/{name}", "{.status.phase}") == "Failed", SECONDS)
    message = get(bed, f"vmop/{name}", _MESSAGE)
    print(message)
    assert message
    stays(hyperds, slow, mover, before)


def test_an_evacuation_begins_anew_after_its_daemon_was_killed(hyperds: Hyperds, mover: str, slow: Node) -> None:
    bed, before = hyperds.bed, count(slow, mover)
    # Not any Pod of it: one that its guest did not come to may be ending still, and may be evicted.
    evict(bed, get(bed, "vm/mover", "{.status.virtualMachinePods[?(@.active==true)].name}"))
    until(lambda: evacuations(bed), 60)
    (first,) = evacuations(bed)
    sent(bed, first)
    hyperds.kill(slow)
    hyperds.begin(slow)
    until(lambda: get(bed, f"vmop/{first}", "{.status.phase}") == "Failed", SECONDS)
    assert "hyperd was started anew while the guest was on its way" in get(bed, f"vmop/{first}", _MESSAGE)
    until(lambda: where(hyperds, "mover") is not slow, SECONDS)
    target = other(hyperds, slow)
    until(lambda: count(target, mover) > before, 60)
    assert running_on(hyperds) == [target.name]
    second = next(name for name in evacuations(bed) if name != first)
    until(lambda: get(bed, f"vmop/{second}", "{.status.phase}") == "Completed", 60)
    bed.plane.kubectl("delete", "vmop", first, second, "--timeout=60s")  # others count what evictions led to


def evict(bed: Bed, pod: str) -> None:
    """Until a hyperd answers: one has just been started."""
    meta, path = {"name": pod, "namespace": "default"}, f"/api/v1/namespaces/default/pods/{pod}/eviction"
    eviction = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta})

    def answered() -> bool:
        try:
            bed.plane.kubectl("create", "--raw", path, "-f", "-", stdin=eviction)
        except PlaneError as err:
            return "Eviction triggered evacuation" in str(err)
        raise AssertionError("the Pod of a running guest was evicted")

    until(answered, 60)


def evacuations(bed: Bed) -> list[str]:
    listed = bed.plane.kubectl("get", "vmop", "--no-headers", "-o", "custom-columns=:.metadata.name")
    return sorted(name for name in listed.split() if name.startswith("evacuation-"))
