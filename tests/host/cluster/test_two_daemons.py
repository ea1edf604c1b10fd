"""Two daemons on one cluster: each runs what is bound to its node, one leads, and losing that one harms nobody."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import pytest

from hyperd.crashpoints import CrashPoint
from tests.host.cluster.conftest import Pair
from tests.host.clustered import ClusterHyperd
from tests.host.node import wait_until
from tests.host.running import disk, machine, operation

pytestmark = [pytest.mark.root, pytest.mark.cluster]
Object = dict[str, Any]

LEASE_SECONDS = 3.0
SELECTED_NODE = "volume.kubernetes.io/selected-node"


def make(daemon: ClusterHyperd, *names: str, node: str = "") -> None:
    """A machine on a blank disk for each name; on ``node`` when it is given, by its disk."""
    for name in names:
        body = disk(name, size="1Mi")
        if node:
            body["metadata"]["annotations"] = {SELECTED_NODE: node}
        daemon.create(body)
        daemon.create(machine(name, name, terminationGracePeriodSeconds=0))


def by_role(pair: Pair) -> tuple[ClusterHyperd, ClusterHyperd]:
    """(leader, the other)."""
    wait_until(lambda: any(daemon.leads() for daemon in pair), what="a leader")
    first, second = pair
    return (first, second) if first.leads() else (second, first)


def node_of(daemon: ClusterHyperd) -> str:
    return str(daemon.settings["node_name"])


def assert_each_runs_its_own(pair: Sequence[ClusterHyperd], machines: Sequence[Object]) -> None:
    """Every running machine has one domain, on its node (I2)."""
    for daemon in pair:
        wanted = {vm["metadata"]["uid"] for vm in machines if vm["status"]["nodeName"] == node_of(daemon)}
        assert daemon.domains() == wanted, daemon.log()


def test_machines_are_shared_out_and_each_runs_once(pair: Pair) -> None:
    first, second = pair
    names = [f"m{number}" for number in range(4)]
    first.cluster.kubectl("cordon", "alpha", "beta")
    make(first, *names)
    told = "No node can take it: alpha is cordoned; beta is cordoned."
    for word in ("vm", "vd"):
        first.wait(word, names[0], lambda obj: told in str((obj.get("status") or {}).get("conditions")))
    first.cluster.kubectl("uncordon", "alpha", "beta")
    running = [first.wait_phase("vm", name, "Running") for name in names]
    assert {vm["status"]["nodeName"] for vm in running} == {"alpha", "beta"}
    for vm in running:
        kept = first.get("vd", vm["metadata"]["name"])["metadata"]["annotations"][SELECTED_NODE]
        assert kept == vm["status"]["nodeName"]
    assert_each_runs_its_own(pair, running)
    assert first.leads() != second.leads()

    # A machine stays its node's while it is off, and starts there again.
    before = running[0]
    name = before["metadata"]["name"]
    op = first.create(operation("Stop", name, force=True))
    first.wait_phase("vmop", op["metadata"]["name"], "Completed")
    assert first.get("vm", name)["status"]["nodeName"] == before["status"]["nodeName"]
    op = first.create(operation("Start", name))
    first.wait_phase("vmop", op["metadata"]["name"], "Completed")
    assert_each_runs_its_own(pair, running)

    # Whoever takes a machine from a living node must not get two of it.
    moved = next(vm for vm in running if vm["status"]["nodeName"] == "alpha")["metadata"]["name"]
    bound = {"status": {"nodeName": "beta"}}
    first.cluster.kubectl("patch", "vm", moved, "--subresource=status", "--type=merge", "-p", json.dumps(bound))
    waits = first.wait("vm", moved, lambda vm: "is on node alpha" in str(vm["status"].get("conditions")))
    assert waits["status"]["phase"] == "Pending"
    wait_until(lambda: waits["metadata"]["uid"] not in first.domains() | second.domains(), what="its end")

    for name in names:
        first.delete("vm", name)
        first.wait_gone("vm", name)
        first.delete("vd", name)
        first.wait_gone("vd", name)
    assert_each_runs_its_own(pair, [])


def test_a_guest_that_is_another_nodes_ends_though_its_daemon_is_killed_over_it(pair: Pair) -> None:
    first, second = pair
    make(first, "moved", node="alpha")
    vm = first.wait_phase("vm", "moved", "Running")
    uid = vm["metadata"]["uid"]
    assert vm["status"]["holder"] == {"epoch": 1, "node": "alpha"}
    first.stop()
    first.start(env={"HYPERD_CRASH_AT": CrashPoint.HOLDER_BEFORE_YIELD})
    bound = json.dumps({"status": {"nodeName": "beta"}})
    second.cluster.kubectl("patch", "vm", "moved", "--subresource=status", "--type=merge", "-p", bound)
    first.wait_dead()
    assert uid in first.domains()
    first.start()
    wait_until(lambda: uid not in first.domains() | second.domains(), what="its end")
    second.wait("vm", "moved", lambda o: o["status"].get("holder") == {"epoch": 2, "node": "beta"})
    second.delete("vm", "moved")
    second.wait_gone("vm", "moved")


def test_a_disk_waits_for_its_machine_which_goes_where_taints_let_it(pair: Pair) -> None:
    first, _ = pair
    kubectl = first.cluster.kubectl
    for name in ("free", "let-in", "kept-off"):
        first.create(disk(name, size="1Mi"))
        first.wait_phase("vd", name, "WaitForFirstConsumer")
    kubectl("taint", "node", "alpha", "for=few:NoSchedule")
    few = {"tolerations": [{"key": "for", "value": "few"}], "nodeSelector": {"kubernetes.io/hostname": "alpha"}}
    first.create(machine("let-in", "let-in", terminationGracePeriodSeconds=0, **few))
    first.create(machine("free", "free", terminationGracePeriodSeconds=0))
    assert first.wait_phase("vm", "let-in", "Running")["status"]["nodeName"] == "alpha"
    assert first.wait_phase("vm", "free", "Running")["status"]["nodeName"] == "beta"
    assert first.get("vd", "let-in")["metadata"]["annotations"][SELECTED_NODE] == "alpha"

    kubectl("taint", "node", "beta", "broken:NoExecute")
    first.create(machine("kept-off", "kept-off"))
    told = "beta has the taint broken:NoExecute, which the machine does not tolerate"
    first.wait("vm", "kept-off", lambda vm: told in str((vm.get("status") or {}).get("conditions")))
    op = first.create(operation("Restart", "free", force=True))
    told = "Node beta has the taint broken:NoExecute, which the machine does not tolerate."
    first.wait("vm", "free", lambda vm: told in str(vm["status"].get("conditions")))
    kubectl("taint", "node", "beta", "broken-")
    first.wait_phase("vmop", op["metadata"]["name"], "Completed")
    assert first.wait_phase("vm", "kept-off", "Running")["status"]["nodeName"] == "beta"


def test_a_killed_leader_is_followed_within_its_lease_and_its_guests_run_on(pair: Pair) -> None:
    leader, other = by_role(pair)
    make(leader, "of-leader", node=node_of(leader))
    make(leader, "of-other", node=node_of(other))
    running = [leader.wait_phase("vm", name, "Running") for name in ("of-leader", "of-other")]
    killed = time.monotonic()
    leader.kill()
    wait_until(other.leads, timeout=20, what="the other's leadership")
    took = time.monotonic() - killed
    assert took < 2 * LEASE_SECONDS, f"{took:.1f} s"
    make(other, "later", node=node_of(other))
    running.append(other.wait_phase("vm", "later", "Running"))
    assert leader.domains() == {running[0]["metadata"]["uid"]}

    leader.start()
    leader.create(machine("again", "of-leader", runPolicy="Manual"))
    # It waits for the disk that the other machine runs with, where that is.
    leader.wait("vm", "again", lambda vm: vm.get("status", {}).get("nodeName"))
    assert leader.get("vm", "again")["status"]["nodeName"] == node_of(leader), "a machine goes where its disk is"
    assert other.leads()
    assert not leader.leads()
    assert_each_runs_its_own(pair, running)


def test_a_leader_that_was_stopped_does_no_harm_when_it_goes_on(pair: Pair) -> None:
    leader, other = by_role(pair)
    # Work that it is in the middle of when it stops.
    make(leader, *(f"m{number}" for number in range(6)))
    leader.freeze()
    try:
        wait_until(other.leads, timeout=20, what="the other's leadership")
        make(other, "later", node=node_of(other))
        other.wait_phase("vm", "later", "Running")
    finally:
        leader.thaw()
    names = [*(f"m{number}" for number in range(6)), "later"]
    running = [other.wait_phase("vm", name, "Running") for name in names]
    assert not leader.leads()
    assert other.leads()
    for vm in running:
        kept = other.get("vd", vm["metadata"]["name"])["metadata"]["annotations"][SELECTED_NODE]
        assert kept == vm["status"]["nodeName"]
    assert_each_runs_its_own(pair, running)
