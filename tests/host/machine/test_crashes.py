"""kill -9 at every named point: a restart ends where an undisturbed run would have, with nothing left over."""

from __future__ import annotations

import contextlib
import html
import re
from collections.abc import Iterator
from typing import Any

import pytest

from hyperd.client import paths
from hyperd.controllers.machine.held import serial_of
from hyperd.crashpoints import CrashPoint
from hyperd.errors import AlreadyExists, HyperdError
from tests.host.inventory import leftovers
from tests.host.machine.test_attachments import attachment
from tests.host.machine.test_restore import hv
from tests.host.node import Node, wait_until
from tests.host.registry.moods import Moody
from tests.host.running import Hyperd, ImageServer, disk, image, machine, operation, resource

Object = dict[str, Any]

SCRIPT = "#!/bin/sh\ntrue\n"

BEFORE_RUNNING = {
    CrashPoint.DURABLE_BEFORE_STEP,
    CrashPoint.IMPORT_STREAMING,
    CrashPoint.IMPORT_BEFORE_TAG,
    CrashPoint.IMPORT_AFTER_TAG,
    CrashPoint.DURABLE_AFTER_STEP,
    CrashPoint.DURABLE_BEFORE_END,
    CrashPoint.CACHE_BEFORE_RENAME,
    CrashPoint.DISK_BEFORE_RENAME,
    CrashPoint.DISK_AFTER_FILE,
    CrashPoint.LEASE_AFTER_CREATE,
    CrashPoint.VM_BEFORE_DEFINE,
    CrashPoint.VM_AFTER_DEFINE,
    CrashPoint.VM_AFTER_START,
}
"""Passed on the way from an image to a running machine."""

WHILE_DELETING = {CrashPoint.VM_AFTER_DESTROY, CrashPoint.VM_BEFORE_UNDEFINE, CrashPoint.VM_AFTER_UNDEFINE}
WHILE_RESTARTING = {
    CrashPoint.OPERATION_AFTER_SIGNAL,
    CrashPoint.VM_AFTER_DESTROY,
    CrashPoint.VM_BETWEEN_RESTART,
    CrashPoint.VM_BEFORE_DEFINE,
    CrashPoint.VM_AFTER_DEFINE,
    CrashPoint.VM_AFTER_START,
}
WHILE_REBOOTING = {
    CrashPoint.VM_BEFORE_RECREATE,
    CrashPoint.VM_BETWEEN_REBOOT,
    CrashPoint.VM_BEFORE_DEFINE,
    CrashPoint.VM_AFTER_DEFINE,
    CrashPoint.VM_AFTER_START,
}
"""Passed when a guest's own reboot applies what waits: its machine is off for a moment, and only it knows why."""
WHILE_PLUGGING = {CrashPoint.VM_BEFORE_PLUG, CrashPoint.VM_AFTER_PLUG}
WHILE_UNPLUGGING = {CrashPoint.VM_BEFORE_UNPLUG, CrashPoint.VM_AFTER_UNPLUG}
WHILE_GROWING = {CrashPoint.DISK_AFTER_GROW}
WHILE_ADOPTING = {CrashPoint.HOLDER_AFTER_RECORD, CrashPoint.HOLDER_AFTER_MARK}
"""Passed when a guest meets a store without a record of who holds it."""
WHILE_YIELDING = {CrashPoint.HOLDER_BEFORE_YIELD}
"""Where a node gives a guest up; that takes two: tests/host/cluster."""
WHILE_SNAPSHOTTING = {
    CrashPoint.SNAPSHOT_FROZEN,
    CrashPoint.SNAPSHOT_AFTER_PIVOT,
    CrashPoint.SNAPSHOT_AFTER_COMMIT,
}
"""Passed while a guest's disk is snapshotted: test_snapshots.py."""
WHILE_MOVING = {CrashPoint.MOVE_AFTER_COPY, CrashPoint.MOVE_AFTER_PIVOT, CrashPoint.MOVE_AFTER_SWITCH}
"""Passed while a disk goes to another StorageClass: tests/contract/volumes/test_killed_moves.py."""
WHILE_FETCHING = {
    CrashPoint.LAZY_AFTER_RECORD,
    CrashPoint.LAZY_AFTER_OVERLAY,
    CrashPoint.LAZY_AFTER_PIVOT,
    CrashPoint.LAZY_AFTER_COMMIT,
}
"""Passed by a disk that is used before its image is on the node: test_lazy.py."""
WHILE_POOLING = {CrashPoint.POOL_AFTER_INTENT, CrashPoint.POOL_AFTER_MACHINE, CrashPoint.POOL_AFTER_LOWERING}
"""Passed by pools: tests/contract/api/test_pool_kills.py."""
WHILE_MIGRATING = {
    CrashPoint.MIGRATION_AFTER_RECORD,
    CrashPoint.MIGRATION_AFTER_PREPARE,
    CrashPoint.MIGRATION_BEFORE_RESUME,
    CrashPoint.MIGRATION_AFTER_RESUME,
    CrashPoint.MIGRATION_AFTER_DISKS,
    CrashPoint.ARRIVAL_AFTER_NOTE,
    CrashPoint.ARRIVAL_AFTER_VOLUMES,
    CrashPoint.ARRIVAL_BEFORE_RESUME,
    CrashPoint.ARRIVAL_AFTER_RESUME,
    CrashPoint.ARRIVAL_AFTER_CLEARING,
}
"""Passed by guests that go to another node, which takes a cluster: tests/cluster/nodes/test_migration.py."""
WHILE_CANCELLING = {CrashPoint.DURABLE_BEFORE_UNDO, CrashPoint.DURABLE_AFTER_UNDO}


def test_every_crash_point_has_a_case() -> None:
    cases = BEFORE_RUNNING | WHILE_DELETING | WHILE_RESTARTING | WHILE_REBOOTING | WHILE_GROWING
    cases |= WHILE_PLUGGING | WHILE_UNPLUGGING | WHILE_MOVING | WHILE_FETCHING | WHILE_POOLING
    cases |= WHILE_ADOPTING | WHILE_YIELDING | WHILE_CANCELLING | WHILE_SNAPSHOTTING | WHILE_MIGRATING
    assert set(CrashPoint) == cases


@pytest.fixture
def daemon(node: Node) -> Iterator[Hyperd]:
    node.ensure_libvirtd()
    running = Hyperd(node)
    yield running
    running.stop()
    running.client.close()
    node.remove_domains()
    for path in (running.dir / "s").rglob("*.pid"):
        with contextlib.suppress(OSError, ValueError):
            node.exec(["kill", path.read_text().split()[0]], check=False)


def ensure(daemon: Hyperd, images: ImageServer) -> None:
    """The three objects; the image last, because it sets everything going."""
    wanted = (
        machine(
            "vm", "root", provisioning={"type": "UserData", "userData": SCRIPT}, terminationGracePeriodSeconds=0
        ),
        disk("root", image="guest"),
        image("guest", f"{images.url}/guest.qcow2"),
    )
    for obj in wanted:
        with contextlib.suppress(AlreadyExists):
            daemon.create(obj)


def crash_at(daemon: Hyperd, point: CrashPoint) -> None:
    daemon.start(env={"HYPERD_CRASH_AT": point})


def no_leftovers(daemon: Hyperd) -> None:
    wait_until(lambda: not leftovers(daemon), timeout=60, what="the sweep of leftovers")


@pytest.mark.parametrize("point", sorted(BEFORE_RUNNING))
def test_a_crash_on_the_way_to_a_running_machine(daemon: Hyperd, images: ImageServer, point: CrashPoint) -> None:
    crash_at(daemon, point)
    with contextlib.suppress(HyperdError, OSError):
        ensure(daemon, images)
    daemon.wait_dead()
    daemon.start()
    ensure(daemon, images)
    vm = daemon.wait_phase("vm", "vm", "Running", timeout=60)
    assert daemon.get("vi", "guest")["status"]["phase"] == "Ready"
    assert daemon.get("vd", "root")["status"]["phase"] == "Ready"
    assert vm["status"]["ipAddress"] == "10.66.10.2"
    assert daemon.node.virsh("list", "--name").split() == [f"{daemon.instance}-{vm['metadata']['uid']}"]
    no_leftovers(daemon)


@pytest.mark.parametrize("point", sorted(WHILE_DELETING))
def test_a_crash_while_a_machine_is_deleted(daemon: Hyperd, images: ImageServer, point: CrashPoint) -> None:
    daemon.start()
    ensure(daemon, images)
    daemon.wait_phase("vm", "vm", "Running")
    daemon.stop()
    crash_at(daemon, point)
    with contextlib.suppress(HyperdError, OSError):
        daemon.delete("vm", "vm")
    daemon.wait_dead()
    daemon.start()
    daemon.wait_gone("vm", "vm", timeout=60)
    assert daemon.node.virsh("list", "--all", "--name").split() == []
    no_leftovers(daemon)
    assert daemon.list("vmip") == []


@pytest.mark.parametrize("point", sorted(WHILE_RESTARTING))
def test_a_crash_while_an_operation_is_carried_out(daemon: Hyperd, images: ImageServer, point: CrashPoint) -> None:
    daemon.start()
    ensure(daemon, images)
    vm = daemon.wait_phase("vm", "vm", "Running")
    before = qemu_pid(daemon, vm)
    daemon.stop()
    crash_at(daemon, point)
    op = operation("Restart", "vm")
    op["metadata"] = {"name": "again", "namespace": "default"}
    with contextlib.suppress(HyperdError, OSError):
        daemon.create(op)
    daemon.wait_dead()
    daemon.start()
    daemon.wait_phase("vmop", "again", "Completed", timeout=60)
    assert qemu_pid(daemon, vm) != before
    no_leftovers(daemon)


@pytest.mark.parametrize(
    ("point", "policy"),
    [
        *((point, "Manual") for point in sorted(WHILE_REBOOTING)),
        (CrashPoint.VM_BETWEEN_REBOOT, "AlwaysOnUnlessStoppedManually"),
    ],
)
def test_a_crash_while_a_reboot_applies_what_waits(
    daemon: Hyperd, images: ImageServer, point: CrashPoint, policy: str
) -> None:
    daemon.start()
    ensure(daemon, images)
    daemon.wait_phase("vm", "vm", "Running")
    daemon.patch("vm", "vm", {"spec": {"runPolicy": policy, "memory": {"size": "160Mi"}}})
    vm = daemon.wait("vm", "vm", lambda o: o["status"].get("restartAwaitingChanges"))
    daemon.stop()
    crash_at(daemon, point)
    domain = f"{daemon.instance}-{vm['metadata']['uid']}"
    daemon.node.virsh("reset", domain)
    daemon.wait_dead()
    daemon.start()
    if point is CrashPoint.VM_BEFORE_RECREATE:
        # Nothing was ended yet, and by now the guest may be in use: the changes wait for its next reboot.
        daemon.wait_phase("vm", "vm", "Running")
        wait_until(lambda: '"restarting":false' in metadata(daemon, domain), what="the end of the intent")
        daemon.node.virsh("reset", domain)
    vm = daemon.wait(
        "vm",
        "vm",
        lambda o: o["status"].get("phase") == "Running" and not o["status"].get("restartAwaitingChanges"),
    )
    assert vm["status"]["resources"]["memory"]["size"] == "160Mi"
    wait_until(lambda: '"restarting":false' in metadata(daemon, domain), what="the end of the intent")
    no_leftovers(daemon)


@pytest.mark.parametrize("point", sorted(WHILE_PLUGGING | WHILE_UNPLUGGING))
def test_a_crash_while_a_disk_is_attached_or_detached(
    daemon: Hyperd, images: ImageServer, point: CrashPoint
) -> None:
    daemon.start()
    ensure(daemon, images)
    daemon.create(disk("data", size="1Mi"))
    vm = daemon.wait_phase("vm", "vm", "Running")
    daemon.wait_phase("vd", "data", "Ready")
    serial = serial_of(daemon.get("vd", "data")["metadata"]["uid"])
    domain = f"{daemon.instance}-{vm['metadata']['uid']}"
    if point in WHILE_UNPLUGGING:
        daemon.create(attachment("data", "data", "vm"))
        daemon.wait_phase("vmbda", "data", "Attached")
    daemon.stop()
    crash_at(daemon, point)
    with contextlib.suppress(HyperdError, OSError):
        if point in WHILE_UNPLUGGING:
            daemon.delete("vmbda", "data")
        else:
            daemon.create(attachment("data", "data", "vm"))
    daemon.wait_dead()
    daemon.start()
    if point in WHILE_PLUGGING:
        daemon.wait_phase("vmbda", "data", "Attached")
        assert daemon.node.virsh("dumpxml", domain).count(serial) >= 1
        daemon.delete("vmbda", "data")
    daemon.wait_gone("vmbda", "data")
    assert serial not in daemon.node.virsh("dumpxml", domain).partition("</metadata>")[2]
    assert '"name":"data"' not in metadata(daemon, domain)
    no_leftovers(daemon)


def test_a_crash_while_a_disk_grows(daemon: Hyperd) -> None:
    daemon.start()
    daemon.create(disk("one", size="1Mi"))
    daemon.wait_phase("vd", "one", "Ready")
    daemon.stop()
    crash_at(daemon, CrashPoint.DISK_AFTER_GROW)
    with contextlib.suppress(HyperdError, OSError):
        daemon.patch("vd", "one", {"spec": {"persistentVolumeClaim": {"size": "8Mi"}}})
    daemon.wait_dead()
    daemon.start()
    grown = daemon.wait("vd", "one", lambda o: o["status"].get("capacity") == "8Mi")
    assert grown["status"]["phase"] == "Ready"


@pytest.mark.parametrize("point", sorted(WHILE_ADOPTING))
def test_a_crash_while_a_guest_is_adopted(daemon: Hyperd, images: ImageServer, point: CrashPoint) -> None:
    daemon.start()
    ensure(daemon, images)
    vm = daemon.wait_phase("vm", "vm", "Running")
    domain, pid = f"{daemon.instance}-{vm['metadata']['uid']}", qemu_pid(daemon, vm)
    assert vm["status"]["holder"]["epoch"] == 1
    daemon.stop()
    forget_epoch(daemon, domain)
    crash_at(daemon, point)
    with contextlib.suppress(HyperdError, OSError):
        forge_status(daemon, {"holder": None})
    daemon.wait_dead()
    daemon.start()
    vm = daemon.wait("vm", "vm", lambda o: o["status"].get("holder"))
    epoch = vm["status"]["holder"]["epoch"]
    wait_until(lambda: f'epoch="{epoch}"' in metadata(daemon, domain), what="the domain's epoch")
    assert vm["status"]["phase"] == "Running"
    assert qemu_pid(daemon, vm) == pid, "the guest noticed nothing"
    daemon.delete("vm", "vm")
    daemon.wait_gone("vm", "vm", timeout=60)
    no_leftovers(daemon)


def test_a_record_from_before_the_guest_is_refused_until_an_administrator_accepts_it(
    daemon: Hyperd, images: ImageServer
) -> None:
    daemon.start()
    ensure(daemon, images)
    vm = daemon.wait_phase("vm", "vm", "Running")
    domain, pid = f"{daemon.instance}-{vm['metadata']['uid']}", qemu_pid(daemon, vm)
    daemon.wait_console(vm, f"IP={vm['status']['ipAddress']}")
    forge_status(daemon, {"holder": {"epoch": 8}})
    wait_until(lambda: 'epoch="8"' in metadata(daemon, domain), what="the domain's epoch")
    forge_status(daemon, {"holder": {"epoch": 7}})
    daemon.create(operation("Stop", "vm", force=True))
    daemon.delete("vm", "vm")

    def events() -> list[str]:
        return [one["message"] for one in daemon.list("events") if one["reason"] == "HolderOutdated"]

    wait_until(events, what="the event that says so")
    assert "(epoch 7) is older than its domain" in events()[0]
    assert qemu_pid(daemon, vm) == pid
    assert daemon.node.exec(["ping", "-c", "1", "-W", "5", vm["status"]["ipAddress"]]).returncode == 0
    hv(daemon, "gc", "accept")
    daemon.wait_gone("vm", "vm", timeout=60)
    no_leftovers(daemon)


def forge_status(daemon: Hyperd, status: Object) -> None:
    """As root may."""
    path = f"{paths.single(resource('vm'), 'default', 'vm')}/status"
    daemon.client.call("PATCH", path, body={"status": status}, content_type="application/merge-patch+json")


def forget_epoch(daemon: Hyperd, domain: str) -> None:
    """The domain is as a daemon would have made it that knew no epochs."""
    uri = "urn:hyperd:domain:v1"
    marks = re.sub(r' epoch="\d+"', "", daemon.node.virsh("metadata", domain, "--uri", uri))
    daemon.node.virsh(
        "metadata", domain, "--uri", uri, "--key", "hyperd", "--live", "--config", "--set", marks.strip()
    )


@pytest.fixture(scope="module")
def server(node: Node) -> Iterator[Moody]:
    made = Moody(node, node.make_dir() / "log")
    yield made
    made.close()


def from_url(name: str, url: str) -> Object:
    made = disk(name)
    made["spec"] = {"dataSource": {"type": "HTTP", "http": {"url": url}}}
    return made


@pytest.mark.parametrize("point", sorted(WHILE_CANCELLING))
def test_a_crash_while_a_disk_is_deleted_that_is_being_filled(
    daemon: Hyperd, server: Moody, point: CrashPoint
) -> None:
    crash_at(daemon, point)
    path = f"slow/{point}"
    daemon.create(from_url("slow", server.url(path)))
    daemon.wait("vd", "slow", lambda o: o.get("status", {}).get("operation", {}).get("step") == "import")
    wait_until(lambda: server.asked(path), what="the request to the source")
    with contextlib.suppress(HyperdError, OSError):
        daemon.delete("vd", "slow")
    daemon.wait_dead()
    daemon.start()
    daemon.wait_gone("vd", "slow", timeout=60)
    no_leftovers(daemon)


def test_a_disk_that_was_imported_before_the_crash_is_made_without_its_source(
    daemon: Hyperd, server: Moody
) -> None:
    crash_at(daemon, CrashPoint.DURABLE_AFTER_STEP)
    with contextlib.suppress(HyperdError, OSError):
        daemon.create(from_url("good", server.url("good/disk")))
    daemon.wait_dead()
    daemon.start()
    made = daemon.wait_phase("vd", "good", "Ready", timeout=60)
    assert "operation" not in made["status"]
    assert len(server.asked("good/disk")) == 1
    no_leftovers(daemon)


def metadata(daemon: Hyperd, domain: str) -> str:
    """What the definition carries of ours, with its quotes."""
    return html.unescape(daemon.node.virsh("dumpxml", "--inactive", domain))


def qemu_pid(daemon: Hyperd, vm: Object) -> int:
    name = f"{daemon.instance}-{vm['metadata']['uid']}"
    return int(daemon.node.exec(["cat", f"/run/libvirt/qemu/{name}.pid"]).stdout)
