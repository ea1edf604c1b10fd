"""Disks that go to another StorageClass while their guest writes to them; kill -9 in each part of that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from hyperd.crashpoints import CrashPoint
from hyperd.errors import HyperdError
from tests.contract.volumes import xfs
from tests.host.inventory import leftovers
from tests.host.machine.agent_guest import booting, log_in, snapshot
from tests.host.machine.test_crashes import qemu_pid
from tests.host.node import Node, wait_until
from tests.host.running import Console, Hyperd, ImageServer, Object, condition, operation

pytestmark = pytest.mark.timeout(400)
POINTS = (
    CrashPoint.MOVE_AFTER_COPY,
    CrashPoint.MOVE_AFTER_PIVOT,
    CrashPoint.MOVE_AFTER_SWITCH,
)


@pytest.fixture(scope="module")
def pool(node: Node) -> Iterator[Path]:
    """A file system that shares blocks, as the node sees it."""
    with xfs.in_node(node, node.make_dir("pool")) as made:
        yield made.path


@pytest.fixture(scope="module")
def daemon(node: Node, agents: ImageServer, pool: Path) -> Iterator[Hyperd]:
    settings = {"storage.pools": f'[{{name = "fast", kind = "reflink", path = "{pool}/pool"}}]'}
    with booting(node, agents, settings) as running:
        yield running


def name(daemon: Hyperd, disk_: str, class_: str) -> None:
    daemon.patch("vd", disk_, {"spec": {"persistentVolumeClaim": {"storageClassName": class_}}})


def moved(daemon: Hyperd, disk_: str, class_: str) -> Object:
    def is_there(found: Object) -> bool:
        status = found["status"]
        return bool((status["phase"], status.get("storageClassName")) == ("Ready", class_))

    return daemon.wait("vd", disk_, is_there, timeout=120)


def held(daemon: Hyperd, disk_: str) -> bool:
    """Whether an event tells for how long the guest was."""
    told = [one["message"] for one in daemon.events(disk_) if one["reason"] == "VolumeMigrationCompleted"]
    return any("its guest was held for" in message for message in told)


def test_disks_move_under_a_guest_that_writes_and_it_starts_with_them(daemon: Hyperd, pool: Path) -> None:
    with log_in(daemon) as console:
        console.run("dd if=/dev/urandom of=/data/big bs=1M count=8; md5sum /data/big > /data/sum; sync")
        daemon.create(snapshot("before", requiredConsistency=False))
        daemon.wait_phase("vds", "before", "Ready")
        console.run("(while :; do date >> /data/log; sync; done) & echo")
        for one in ("root", "data"):
            name(daemon, one, "fast")
        for one in ("root", "data"):
            found = moved(daemon, one, "fast")
            assert found["status"]["migrationState"]["result"] == "Succeeded"
            assert condition(found, "Migrating") == {}
        assert "OK" in console.run("echo 3 > /proc/sys/vm/drop_caches; md5sum -c /data/sum")
        console.run("kill %1; echo after-it > /data/marker; sync")
    assert daemon.get("vm", "vm")["status"]["phase"] == "Running"
    for one in ("root", "data"):
        wait_until(partial(held, daemon, one), what="the event of the move")
    daemon.create(operation("Restart", "vm"))
    with log_in(daemon, boots=2) as console:
        assert "OK" in console.run("md5sum -c /data/sum")
        assert "after-it" in console.run("cat /data/marker")
        for one in ("root", "data"):
            name(daemon, one, "local")
            moved(daemon, one, "local")
        daemon.delete("vds", "before")
        daemon.wait_gone("vds", "before")
        assert "OK" in console.run("echo 3 > /proc/sys/vm/drop_caches; md5sum -c /data/sum")
    wait_until(lambda: not leftovers(daemon), timeout=60, what="the sweep of leftovers")


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_while_a_disk_moves_under_its_guest(daemon: Hyperd, point: CrashPoint) -> None:
    here = daemon.get("vd", "data")["status"]["storageClassName"]
    there = {"fast": "local", "local": "fast"}[here]
    with Console(daemon, "vm") as console:
        console.run(f"echo before-{point} > /data/marker; sync")
    daemon.stop()
    daemon.start(env={"HYPERD_CRASH_AT": point})
    with contextlib.suppress(HyperdError, OSError):
        name(daemon, "data", there)
    daemon.wait_dead()
    daemon.start()
    assert moved(daemon, "data", there)["status"]["migrationState"]["result"] == "Succeeded"
    daemon.wait_phase("vm", "vm", "Running")
    with Console(daemon, "vm") as console:  # its shell is there still
        assert f"before-{point}" in console.run("echo 3 > /proc/sys/vm/drop_caches; cat /data/marker", timeout=30)
        assert "OK" in console.run("md5sum -c /data/sum")
        assert "alive" in console.run("echo alive > /data/marker; sync; cat /data/marker")
    wait_until(lambda: not leftovers(daemon), timeout=60, what="the sweep of leftovers")


@pytest.mark.parametrize("point", [CrashPoint.MOVE_AFTER_SWITCH, CrashPoint.MOVE_AFTER_PIVOT])
def test_a_guest_that_dies_with_the_daemon_while_its_disk_moves(daemon: Hyperd, point: CrashPoint) -> None:
    here = daemon.get("vd", "data")["status"]["storageClassName"]
    there = {"fast": "local", "local": "fast"}[here]
    vm = daemon.get("vm", "vm")
    with Console(daemon, "vm") as console:
        console.run(f"echo lost-{point} > /data/marker; sync")
    boots = daemon.console_log(vm).count("BOOTS=")
    daemon.stop()
    daemon.start(env={"HYPERD_CRASH_AT": point})
    with contextlib.suppress(HyperdError, OSError):
        name(daemon, "data", there)
    daemon.wait_dead()
    daemon.node.exec(["kill", "-9", str(qemu_pid(daemon, vm))])
    daemon.start()
    moved(daemon, "data", there)
    with log_in(daemon, boots=boots + 1) as console:
        assert f"lost-{point}" in console.run("cat /data/marker")
        assert "OK" in console.run("md5sum -c /data/sum")
    wait_until(lambda: not leftovers(daemon), timeout=60, what="the sweep of leftovers")
