"""A move that somebody takes back, that never ends, or in whose midst a daemon is killed: the guest stays."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hyperd.resources.values.names import POD_EVICTED_ANNOTATION
from tests.cluster.controlplane.plane import PlaneError
from tests.cluster.nodes.bed import Bed
from tests.cluster.nodes.hyperds import Hyperds
from tests.cluster.nodes.machines import get, make, pod_of, until
from tests.cluster.nodes.movers import SECONDS, busy, count, running_on, where
from tests.cluster.nodes.node import Node

pytestmark = [pytest.mark.cluster, pytest.mark.nodes, pytest.mark.slow, pytest.mark.timeout(600)]

_SLOWLY, _LESS_SLOWLY = 2 << 20, 8 << 20
"""Bytes a second: there is time to break something."""
_CANCEL = "/apis/subresources.virtualization.deckhouse.io/v1alpha2/namespaces/default/virtualmachines/mover"
_FROM_STAGE = re.compile(r"Iteration: (\d+); AutoConvergeThrottle: (\d+)%")
_READY = "https://127.0.0.1:6481/readyz"
"""Where a daemon says that it answers, also of evictions."""
_REASON = '{.status.conditions[?(@.type=="Completed")].reason}'
_MESSAGE = '{.status.conditions[?(@.type=="Completed")].message}'


@pytest.fixture
def slow(hyperds: Hyperds, mover: str) -> Iterator[Node]:
    """Where the guest runs; from there it is sent slowly."""
    with sending(hyperds, _SLOWLY) as source:
        yield source


@contextmanager
def sending(hyperds: Hyperds, bytes_per_second: int) -> Iterator[Node]:
    """The node where the guest runs, from which it is sent no faster while the block runs."""
    source = where(hyperds, "mover")
    hyperds.kill(source)
    hyperds.begin(source, migration_bytes_per_second=bytes_per_second)
    until(lambda: source.run("curl", "-sk", "-m", "2", _READY, rc=None).strip() == "ok", 60)
    try:
        yield source
    finally:
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


def test_who_cancels_an_evacuation_has_the_guest_stay(hyperds: Hyperds, mover: str, slow: Node) -> None:
    bed, before, pod = hyperds.bed, count(slow, mover), pod_of(hyperds.bed, "mover")["metadata"]["name"]
    evict(bed, pod)
    until(lambda: evacuations(bed), 60)
    sent(bed, evacuations(bed)[0])
    bed.plane.kubectl("replace", "--raw", f"{_CANCEL}/cancelevacuation", "-f", "-", stdin="{}")
    until(lambda: not evacuations(bed), 60)
    stays(hyperds, slow, mover, before)
    until(lambda: POD_EVICTED_ANNOTATION not in pod_of(bed, "mover")["metadata"]["annotations"], 30)
    required = '{.status.conditions[?(@.type=="EvictionRequired")].status}'
    until(lambda: not get(bed, "vm/mover", required), 30)
    assert evacuations(bed) == [], "nobody asks for it again"
    with pytest.raises(PlaneError, match="is not evacuated"):
        bed.plane.kubectl("replace", "--raw", f"{_CANCEL}/cancelevacuation", "-f", "-", stdin="{}")


def passes(bed: Bed, name: str) -> tuple[int, int]:
    """How often a guest's memory was sent by now, and by how many percent it is slowed down."""
    found = _FROM_STAGE.search(get(bed, f"vmop/{name}", _MESSAGE))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def follow(bed: Bed, policy: str | None) -> None:
    patch = json.dumps({"spec": {"liveMigrationPolicy": policy}})
    bed.plane.kubectl("patch", "vm/mover", "--type=merge", "-p", patch)


def test_a_busy_guest_is_slowed_down_only_where_its_policy_lets_it(hyperds: Hyperds, mover: str) -> None:
    """Else it goes on as fast as ever, and its migration for as long as nobody takes it back."""
    bed = hyperds.bed
    with sending(hyperds, _LESS_SLOWLY) as source:
        with busy(source, mover):
            before = count(source, mover)
            make(bed, "VirtualMachineOperation", "safe", type="Evict", virtualMachineName="mover")
            until(lambda: passes(bed, "safe")[0] >= 6, SECONDS)
            assert passes(bed, "safe")[1] == 0
            assert get(bed, "vmop/safe", "{.status.phase}") == "InProgress"
            bed.plane.kubectl("delete", "vmop/safe", "--timeout=60s")
            stays(hyperds, source, mover, before)
            for policy, force in (("AlwaysSafe", True), ("AlwaysForced", False)):
                follow(bed, policy)
                name = f"refused-{policy.lower()}"
                make(bed, "VirtualMachineOperation", name, type="Evict", virtualMachineName="mover", force=force)
                until(lambda name=name: get(bed, f"vmop/{name}", "{.status.phase}") == "Failed", 30)  # type: ignore[misc]
                assert get(bed, f"vmop/{name}", _REASON) == "NotApplicableForLiveMigrationPolicy"
            make(bed, "VirtualMachineOperation", "forced", type="Evict", virtualMachineName="mover")
            until(lambda: passes(bed, "forced")[1] > 0, SECONDS)
        until(lambda: get(bed, "vmop/forced", "{.status.phase}") == "Completed", SECONDS)
        target = other(hyperds, source)
        assert where(hyperds, "mover") is target
        until(lambda: count(target, mover) > before, 60)
        assert running_on(hyperds) == [target.name]
        follow(bed, None)


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
