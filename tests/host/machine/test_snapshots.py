"""Snapshots of disks while a guest writes to them, its agent holding it; kill -9 in each part of one."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperd.crashpoints import CrashPoint
from hyperd.errors import HyperdError
from tests.host.inventory import leftovers
from tests.host.machine.agent_guest import booting, log_in, snapshot, with_agent
from tests.host.node import Node, wait_until
from tests.host.running import Console, Hyperd, ImageServer, condition, operation

pytestmark = pytest.mark.timeout(400)
SUBRESOURCES = "/apis/subresources.virtualization.deckhouse.io/v1alpha2"
WHILE_TAKING = {
    CrashPoint.SNAPSHOT_FROZEN,
    CrashPoint.SNAPSHOT_AFTER_PIVOT,
    CrashPoint.SNAPSHOT_AFTER_COMMIT,
    CrashPoint.DURABLE_BEFORE_STEP,
    CrashPoint.DURABLE_AFTER_STEP,
    CrashPoint.DURABLE_BEFORE_END,
}
SURE = WHILE_TAKING - {CrashPoint.SNAPSHOT_AFTER_PIVOT, CrashPoint.DURABLE_AFTER_STEP}
"""Where it is known afterwards whether the guest was held."""


@pytest.fixture
def daemon(node: Node, agents: ImageServer) -> Iterator[Hyperd]:
    with booting(node, agents) as running:
        yield running


@pytest.fixture(scope="module")
def crashing(node: Node, agents: ImageServer) -> Iterator[Hyperd]:
    """Whose guest, with its shell and its agent, lives through every crash."""
    with booting(node, agents) as running:
        with_agent(running)
        with log_in(running):
            pass
        yield running


def content(daemon: Hyperd, uid: str, at: Path) -> bytes:
    """All that a snapshot holds, by QEMU's tools."""
    folder = daemon.state_dir / "volumes"
    (mark,) = folder.glob(f"*@{uid}.snapshot")
    layer = folder / f"{mark.name.partition('@')[0]}.qcow2"
    subprocess.run(["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", layer, at], check=True)
    return at.read_bytes()


def held_ms(daemon: Hyperd, name: str) -> int:
    """As an event tells, which comes after the status."""

    def told() -> list[str]:
        return [
            found[1] for one in daemon.events(name) if (found := re.search(r"held for (\d+) ms", one["message"]))
        ]

    wait_until(told, what="the event of the snapshot")
    return int(told()[0])


def test_a_guest_that_writes_is_held_for_a_moment_and_goes_on(daemon: Hyperd, tmp_path: Path) -> None:
    with_agent(daemon)
    with log_in(daemon) as console:
        console.run("echo before-it > /data/marker; (while :; do date >> /data/log; sync; done) & echo")
        daemon.create(snapshot("one"))
        one = daemon.wait_phase("vds", "one", "Ready")
        assert one["status"]["consistent"] is True
        print(f"held for {held_ms(daemon, 'one')} ms")
        console.run("kill %1; echo after-it > /data/marker; sync")
        assert "after-it" in console.run("cat /data/marker")
    raw = tmp_path / "raw"
    assert b"before-it" in content(daemon, one["metadata"]["uid"], raw)
    assert b"after-it" not in raw.read_bytes()
    subprocess.run(["e2fsck", "-fn", raw], check=True)
    daemon.create(operation("Restart", "vm"))
    with log_in(daemon, boots=2) as console:
        assert "after-it" in console.run("cat /data/marker")


def test_a_snapshot_in_the_middle_goes_while_the_guest_runs_and_frees_its_space(
    daemon: Hyperd, tmp_path: Path
) -> None:
    with_agent(daemon)
    files = daemon.state_dir / "volumes"
    uids = {}
    with log_in(daemon) as console:
        for number in range(1, 4):
            console.run(f"dd if=/dev/urandom of=/data/big bs=1M count=8; echo state-{number} > /data/marker; sync")
            daemon.create(snapshot(f"s{number}"))
            uids[number] = daemon.wait_phase("vds", f"s{number}", "Ready")["metadata"]["uid"]
        console.run("echo state-4 > /data/marker; sync; md5sum /data/big > /data/sum; sync")

        def layers() -> int:
            uid = daemon.get("vd", "data")["metadata"]["uid"]
            return len(list(files.glob(f"{uid}*.qcow2")))

        assert layers() == 4
        daemon.delete("vds", "s1")
        daemon.wait_gone("vds", "s1")
        wait_until(lambda: layers() == 3, timeout=60, what="a commit of one layer into the other")
        for number in (2, 3):
            assert f"state-{number}".encode() in content(daemon, uids[number], tmp_path / "raw")
            subprocess.run(["e2fsck", "-fn", tmp_path / "raw"], check=True)
        daemon.delete("vds", "s3")
        wait_until(lambda: layers() == 2, timeout=60, what="a pull of one layer into the top")
        daemon.delete("vds", "s2")
        wait_until(lambda: layers() == 1, timeout=60, what="a pull of the last layer into the top")
        assert "OK" in console.run("echo 3 > /proc/sys/vm/drop_caches; md5sum -c /data/sum")
    wait_until(lambda: not leftovers(daemon), timeout=60, what="the sweep of leftovers")
    daemon.create(operation("Restart", "vm"))
    with log_in(daemon, boots=2) as console:
        assert "OK" in console.run("md5sum -c /data/sum")
        assert "state-4" in console.run("cat /data/marker")


def test_a_guest_without_its_agent_is_snapshotted_only_if_that_may_be_inconsistent(daemon: Hyperd) -> None:
    daemon.create(snapshot("sure"))
    failed = daemon.wait_phase("vds", "sure", "Failed")
    told = condition(failed, "VirtualDiskSnapshotReady")
    assert told["reason"] == "PotentiallyInconsistent"
    assert "start qemu-guest-agent in it" in told["message"]
    daemon.create(snapshot("any", requiredConsistency=False))
    taken = daemon.wait_phase("vds", "any", "Ready")
    assert "consistent" not in taken["status"]
    daemon.delete("vds", "sure")
    daemon.wait_gone("vds", "sure")
    assert not leftovers(daemon)


@pytest.mark.parametrize("point", sorted(WHILE_TAKING))
def test_a_crash_while_a_snapshot_is_taken(crashing: Hyperd, point: CrashPoint) -> None:
    daemon = crashing
    with_agent(daemon)
    with Console(daemon, "vm") as console:
        console.run("echo before-it > /data/marker; sync")
    daemon.stop()
    daemon.start(env={"HYPERD_CRASH_AT": point})
    with contextlib.suppress(HyperdError, OSError):
        daemon.create(snapshot("one"))
    daemon.wait_dead()
    daemon.start()
    ended = daemon.wait("vds", "one", lambda one: one["status"].get("phase") in ("Ready", "Failed"))
    if point in SURE:
        assert ended["status"]["phase"] == "Ready"
        assert ended["status"]["consistent"] is True
    with Console(daemon, "vm") as console:  # its shell is there still
        assert "alive" in console.run("echo alive > /data/marker; sync; cat /data/marker", timeout=30)
    daemon.delete("vds", "one")
    daemon.wait_gone("vds", "one")
    wait_until(lambda: not leftovers(daemon), timeout=60, what="the sweep of leftovers")


def test_a_guest_is_frozen_for_who_asks_and_thawed_if_hyperd_is_killed(crashing: Hyperd) -> None:
    daemon = crashing
    with_agent(daemon)

    def ask(what: str) -> str:
        path = f"{SUBRESOURCES}/namespaces/default/virtualmachines/vm/{what}"
        body = b'{"unfreezeTimeout": "60s"}'
        return str(json.loads(daemon.client.raw("PUT", path, body=body))["message"])

    def frozen() -> bool:
        return bool(condition(daemon.get("vm", "vm"), "FilesystemFrozen"))

    assert "are frozen (" in ask("freeze")
    told = daemon.wait("vm", "vm", lambda vm: condition(vm, "FilesystemFrozen"))
    assert condition(told, "FilesystemFrozen")["reason"] == "Frozen"
    with Console(daemon, "vm") as console:
        console.type("echo late > /data/frozen; sync; echo DONE-$?\r")
        daemon.create(snapshot("held"))
        held = daemon.wait_phase("vds", "held", "Ready")
        assert held["status"]["consistent"] is True
        assert frozen(), "the snapshot leaves it so"
        assert "DONE-0" not in daemon.console_log(told)
        assert ask("unfreeze").endswith("are thawed.")
        console.expect("DONE-0")
    wait_until(lambda: not frozen(), what="the end of the condition")
    ask("freeze")
    daemon.kill()
    daemon.start()
    with Console(daemon, "vm") as console:
        assert "alive" in console.run("echo alive > /data/marker; sync; cat /data/marker", timeout=30)
    assert not frozen()
    daemon.delete("vds", "held")
    daemon.wait_gone("vds", "held")
    wait_until(lambda: not leftovers(daemon), timeout=60, what="the sweep of leftovers")


def test_a_guest_that_writes_goes_back_and_another_is_made_of_what_it_was(crashing: Hyperd) -> None:
    daemon = crashing
    with_agent(daemon)
    with Console(daemon, "vm") as console:
        console.run("echo state-1 > /data/marker; sync; (while :; do date >> /data/log; sync; done) & echo")
        whole = {
            "apiVersion": "virtualization.deckhouse.io/v1alpha2",
            "kind": "VirtualMachineSnapshot",
            "metadata": {"name": "whole", "namespace": "default"},
            "spec": {"virtualMachineName": "vm"},
        }
        daemon.create(whole)
        assert daemon.wait_phase("vms", "whole", "Ready")["status"]["consistent"] is True
        console.run("echo state-2 > /data/marker; sync")
    customized = {"mode": "Strict", "customization": {"namePrefix": "copy-"}}
    making = {**snapshot("make"), "kind": "VirtualMachineSnapshotOperation"}
    making["spec"] = {
        "type": "CreateVirtualMachine",
        "virtualMachineSnapshotName": "whole",
        "createVirtualMachine": customized,
    }
    daemon.create(making)
    daemon.wait_phase("vmsop", "make", "Completed", timeout=60)
    back = daemon.create(
        operation("Restore", "vm", restore={"mode": "Strict", "virtualMachineSnapshotName": "whole"})
    )
    daemon.wait_phase("vmop", back["metadata"]["name"], "Completed", timeout=90)
    for name in ("vm", "copy-vm"):
        daemon.wait_phase("vm", name, "Running", timeout=60)
        with log_in(daemon, name, boots=2) as console:
            assert "state-1" in console.run("cat /data/marker")
    daemon.delete("vms", "whole")
    daemon.wait_gone("vms", "whole")
    for word, name in (("vm", "copy-vm"), ("vd", "copy-root"), ("vd", "copy-data")):
        daemon.delete(word, name)
        daemon.wait_gone(word, name)
    wait_until(lambda: not leftovers(daemon), timeout=60, what="the sweep of leftovers")
