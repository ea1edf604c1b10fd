"""Live migration from Pod to Pod, by kubectl alone: the guest counts on, its disk comes along, one guest lives."""

from __future__ import annotations

import sys
import time

import pytest

from hyperd.crashpoints import CrashPoint
from tests.cluster.nodes import session
from tests.cluster.nodes.bed import Bed
from tests.cluster.nodes.hyperds import Hyperds
from tests.cluster.nodes.machines import get, make, pod_of, until
from tests.cluster.nodes.movers import SECONDS, count, running_on, tell, where
from tests.cluster.nodes.node import Node

pytestmark = [pytest.mark.cluster, pytest.mark.nodes, pytest.mark.slow, pytest.mark.timeout(600)]

_LONGEST_STOP_SECONDS = 10.0
"""On a machine that others use as well, and without KVM."""


def begin(bed: Bed, name: str, type_: str = "Migrate", **spec: object) -> None:
    make(bed, "VirtualMachineOperation", name, type=type_, virtualMachineName="mover", **spec)


def ended(bed: Bed, name: str) -> str:
    """The phase of the operation at its end."""
    until(lambda: get(bed, f"vmop/{name}", "{.status.phase}") in ("Completed", "Failed"), SECONDS)
    return get(bed, f"vmop/{name}", "{.status.phase}")


def longest_stop(node: Node, after: int) -> tuple[int, float]:
    """Of the session on ``node``, seconds, and how often it was echoed; once that is more than ``after``."""
    log = node.folder / "log" / "session.log"
    found = (0, 0.0)

    def told() -> bool:
        nonlocal found
        lines = log.read_text().splitlines()
        number, seconds = lines[-1].split() if lines else ("0", "0")
        found = int(number), float(seconds)
        return found[0] > after

    until(told, 60)
    return found


def test_a_guest_goes_to_another_node_with_its_disk(hyperds: Hyperds, mover: str) -> None:
    bed, source = hyperds.bed, where(hyperds, "mover")
    (target,) = (node for node in hyperds.nodes if node is not source)
    first, volume = pod_of(bed, "mover")["metadata"]["name"], get(bed, "vd/mover", "{.metadata.uid}")
    source.begin("session", sys.executable, session.__file__, source.address, mover, "7")
    echoed, _ = longest_stop(source, 0)
    content = tell(
        source, mover, "dd if=/dev/urandom of=/state/blob bs=64k count=8 2>/dev/null; sync; md5sum </state/blob"
    )
    before, began = count(source, mover), time.monotonic()
    bed.plane.kubectl("label", f"node/{target.name}", "zone=there")
    begin(bed, "away", migrate={"nodeSelector": {"zone": "there"}})
    assert ended(bed, "away") == "Completed", get(bed, "vmop/away", "{.status.conditions}")
    took = time.monotonic() - began
    assert get(bed, "vmop/away", "{.status.progress}") == "100%"
    assert where(hyperds, "mover") is target
    until(lambda: count(target, mover) > before, 30)
    assert count(target, mover) - before < (time.monotonic() - began) * 5 + 5, "it went on, and did not begin anew"
    assert tell(target, mover, "echo 3 >/proc/sys/vm/drop_caches; md5sum </state/blob") == content != ""
    echoed, _ = longest_stop(source, echoed)
    _, stop = longest_stop(source, echoed)
    source.end_program("session")
    assert stop < _LONGEST_STOP_SECONDS
    print(f"migrated in {took:.1f} s, a TCP session with it stood still for {stop:.2f} s")
    state = get(bed, "vm/mover", "{.status.migrationState.result} {.status.migrationState.target.node}")
    assert state == f"Succeeded {target.name}"
    assert running_on(hyperds) == [target.name]
    until(lambda: get(bed, "vm/mover", "{.status.virtualMachinePods[*].active}") == "true", 60)
    second = get(bed, "vm/mover", "{.status.virtualMachinePods[0].name}")
    assert second != first
    assert get(bed, f"pod/{second}", "{.spec.nodeName}") == target.name
    bed.plane.kubectl("wait", "--for=condition=Ready", f"pod/{second}", "--timeout=30s")
    files = "ls /var/lib/hyperd/volumes /var/lib/hyperd/seeds /var/lib/hyperd/arrivals /run/hyperd/moves"
    until(lambda: volume not in source.run("sh", "-c", files, rc=None), 30)
    assert volume in target.run("sh", "-c", files, rc=None)
    assert source.run("virsh", "-q", "list", "--all", "--name").split() == []
    until(lambda: mover not in source.run("ip", "route", "show", "table", "1490", "proto", "149"), 20)


def test_one_for_which_there_is_no_node_says_so_and_ends_with_its_operation(hyperds: Hyperds, mover: str) -> None:
    bed, node = hyperds.bed, where(hyperds, "mover")
    before = count(node, mover)
    begin(bed, "lost", migrate={"nodeSelector": {"zone": "moon"}})
    completed = '{.status.conditions[?(@.type=="Completed")].reason}'
    until(lambda: get(bed, "vmop/lost", completed) == "TargetUnschedulable", 60)
    bed.plane.kubectl("delete", "vmop/lost", "--timeout=60s")
    active = "{.status.virtualMachinePods[*].active}"
    until(lambda: get(bed, "vm/mover", active) == "true", 60)
    lives_once(hyperds, node, mover, before)


def lives_once(hyperds: Hyperds, node: Node, address: str, before: int) -> None:
    """The guest counts on, on ``node``, and nowhere else."""
    until(lambda: where(hyperds, "mover") is node, 60)
    until(lambda: count(node, address) > before, 60)
    assert running_on(hyperds) == [node.name]


def crash(hyperds: Hyperds, node: Node, *, then: str = "") -> None:
    """Wait until the daemon has ended where it was to, and start it anew."""
    hyperds.await_crash(node)
    hyperds.begin(node, then)


def test_one_guest_lives_whenever_the_daemon_is_killed_that_it_leaves(hyperds: Hyperds, mover: str) -> None:
    """At each named step; what was begun is brought to its end by the next one."""
    bed, source = hyperds.bed, where(hyperds, "mover")
    (target,) = (node for node in hyperds.nodes if node is not source)
    before = count(source, mover)
    hyperds.kill(source)
    hyperds.begin(source, CrashPoint.MIGRATION_AFTER_RECORD)
    begin(bed, "recorded")
    crash(hyperds, source, then=CrashPoint.MIGRATION_AFTER_PREPARE)
    assert ended(bed, "recorded") == "Failed"
    lives_once(hyperds, source, mover, before)
    begin(bed, "prepared")
    crash(hyperds, source, then=CrashPoint.MIGRATION_BEFORE_RESUME)
    assert ended(bed, "prepared") == "Failed"
    lives_once(hyperds, source, mover, before)
    begin(bed, "sent")
    crash(hyperds, source, then=CrashPoint.MIGRATION_AFTER_RESUME)
    crash(hyperds, source, then=CrashPoint.MIGRATION_AFTER_DISKS)
    assert running_on(hyperds) == [target.name]
    crash(hyperds, source)
    assert ended(bed, "sent") == "Completed"
    lives_once(hyperds, target, mover, before)
    until(lambda: not source.run("virsh", "-q", "list", "--all", "--name").split(), 60)


def test_one_guest_lives_where_the_daemon_is_killed_that_it_comes_to(hyperds: Hyperds, mover: str) -> None:
    """At each named step, and while its memory is sent; what was made and is not needed goes."""
    bed, source = hyperds.bed, where(hyperds, "mover")
    (target,) = (node for node in hyperds.nodes if node is not source)
    before, volume = count(source, mover), get(bed, "vd/mover", "{.metadata.uid}")
    hyperds.kill(target)
    hyperds.begin(target, CrashPoint.ARRIVAL_AFTER_NOTE)
    begin(bed, "back", "Evict")
    crash(hyperds, target, then=CrashPoint.ARRIVAL_AFTER_VOLUMES)
    crash(hyperds, target)
    until(lambda: target.run("virsh", "-q", "list", "--all", "--name").split(), SECONDS)
    hyperds.kill(target)
    hyperds.begin(target, CrashPoint.ARRIVAL_AFTER_CLEARING)
    arrived = ended(bed, "back") == "Completed"
    if not arrived:
        crash(hyperds, target)
        lives_once(hyperds, source, mover, before)
        until(lambda: not target.run("virsh", "-q", "list", "--all", "--name").split(), 60)
        files = "ls /var/lib/hyperd/volumes /var/lib/hyperd/seeds /var/lib/hyperd/arrivals /run/hyperd/moves"
        until(lambda: volume not in target.run("sh", "-c", files, rc=None), 60)
    hyperds.kill(target)
    hyperds.begin(target, "" if arrived else CrashPoint.ARRIVAL_BEFORE_RESUME)
    if arrived:
        source, target = target, source
        hyperds.kill(target)
        hyperds.begin(target, CrashPoint.ARRIVAL_BEFORE_RESUME)
    begin(bed, "on", "Evict")
    crash(hyperds, target, then=CrashPoint.ARRIVAL_AFTER_RESUME)
    crash(hyperds, target)
    assert ended(bed, "on") == "Completed"
    lives_once(hyperds, target, mover, before)
    until(lambda: not source.run("virsh", "-q", "list", "--all", "--name").split(), 60)


def test_what_it_had_written_is_on_the_disk_that_it_starts_anew_with(hyperds: Hyperds, mover: str) -> None:
    bed, node = hyperds.bed, where(hyperds, "mover")
    before = count(node, mover)
    make(bed, "VirtualMachineOperation", "anew", type="Restart", virtualMachineName="mover", force=True)
    until(lambda: get(bed, "vmop/anew", "{.status.phase}") == "Completed", SECONDS)
    until(lambda: 0 < count(node, mover) < before, SECONDS)
    assert where(hyperds, "mover") is node
    assert count(node, mover, "before") >= before
    assert running_on(hyperds) == [node.name]
