"""A backup is put back under machines that run: none is stopped, and what the backup does not know is kept."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.host.inventory import domains, files, repositories
from tests.host.node import Node, wait_until
from tests.host.running import Hyperd, ImageServer, disk, image, machine

Object = dict[str, Any]


def hv(daemon: Hyperd, *arguments: str, rc: int = 0) -> str:
    """Both outputs of a command that ends with ``rc``."""
    command = [sys.executable, "-m", "hyperd.cli.main", *arguments, "--socket", str(daemon.socket)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == rc, done.stdout + done.stderr
    return done.stdout + done.stderr


def restore(daemon: Hyperd, backup: Path) -> str:
    settings = [part for key, value in daemon.settings.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "hyperd.daemon", *settings, "restore", str(backup)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def running(daemon: Hyperd, vm: Object) -> str:
    """The process of a machine's QEMU."""
    name = f"{daemon.instance}-{vm['metadata']['uid']}"
    return daemon.node.virsh("domid", name).strip() + daemon.node.virsh("domstate", name).strip()


@pytest.mark.timeout(300)
def test_a_restore_stops_no_guest_and_removes_nothing_it_does_not_know(node: Node, images: ImageServer) -> None:
    node.ensure_libvirtd()
    with Hyperd(node) as daemon:
        daemon.create(image("guest", f"{images.url}/guest.qcow2"))
        daemon.create(disk("old", image="guest"))
        daemon.create(machine("old", "old", terminationGracePeriodSeconds=0))
        old = daemon.wait_phase("vm", "old", "Running")
        backup, newer = daemon.dir / "backup.db", daemon.dir / "newer.db"
        hv(daemon, "backup", str(backup))
        late = daemon.create(image("late", f"{images.url}/guest.qcow2"))
        daemon.wait_phase("vi", "late", "Ready")
        new_disk = daemon.create(disk("new", image="late"))
        daemon.create(machine("new", "new", terminationGracePeriodSeconds=0))
        new = daemon.wait_phase("vm", "new", "Running")
        hv(daemon, "backup", str(newer))
        uids = {obj["metadata"]["uid"] for obj in (late, new_disk, new)}
        before = (running(daemon, old), running(daemon, new))
        volumes, tags = files(daemon.state_dir / "volumes"), repositories(daemon)
        swap(daemon, backup)
        daemon.wait_phase("vm", "old", "Running")
        assert daemon.find("vm", "new") is None
        said = named(daemon, uids)
        assert "The store is another one" in said
        assert f"of VirtualMachine default/new (uid {new['metadata']['uid']})" in said
        refused = hv(daemon, "gc", "empty", "--all", "--yes", rc=1)
        assert "hv gc accept" in refused
        hv(daemon, "gc", "accept")
        hv(daemon, "gc")
        assert (running(daemon, old), running(daemon, new)) == before
        assert (files(daemon.state_dir / "volumes"), repositories(daemon)) == (volumes, tags)
        assert any(event["reason"] == "OwnerAbsent" for event in daemon.events("node"))
        _works_on(daemon, new["status"]["ipAddress"])

        # Its owners return: all of it is theirs again.
        swap(daemon, newer)
        hv(daemon, "gc", "accept")
        vm = daemon.wait_phase("vm", "new", "Running")
        assert vm["status"]["ipAddress"] == new["status"]["ipAddress"]
        assert "no owner" not in hv(daemon, "gc")
        assert (running(daemon, old), running(daemon, new)) == before
        assert (files(daemon.state_dir / "volumes"), repositories(daemon)) == (volumes, tags)

        # Lost again, and emptied: exactly what was listed goes.
        swap(daemon, backup)
        hv(daemon, "gc", "accept")
        named(daemon, uids)
        hv(daemon, "gc", "empty", new["metadata"]["uid"], "--yes")
        assert len(domains(daemon)) == 1
        assert files(daemon.state_dir / "volumes") == volumes
        hv(daemon, "gc", "empty", "--all", "--yes")
        assert files(daemon.state_dir / "volumes") == [daemon.get("vd", "old")["metadata"]["uid"]]
        assert sum(bool(of) for of in repositories(daemon).values()) == 1
        assert running(daemon, old) == before[0]
        assert hv(daemon, "gc") == "node: nothing to remove\n"
        _looks_before_it_removes(daemon)
    node.remove_domains()


def _looks_before_it_removes(daemon: Hyperd) -> None:
    uid = daemon.get("vi", "guest")["metadata"]["uid"]
    assert "node: 1 image, 0 without an owner, 0 can be removed\n" in hv(daemon, "registry", "gc")
    daemon.delete("vi", "guest")
    daemon.wait_gone("vi", "guest")
    found = hv(daemon, "registry", "gc", "--check")
    assert "node: 1 image, 0 without an owner, 1 can be removed\nnode: total " in found
    assert found.endswith(f"VirtualImage  default    guest  {uid}\n")
    assert hv(daemon, "registry", "gc", "--run") == "node: removed 1 image and 1 repository without an image\n"
    assert "node: 0 images, " in hv(daemon, "registry", "gc")


def named(daemon: Hyperd, uids: Iterable[str]) -> str:
    """What `hv gc` says once it names all of them."""
    said = ""

    def all_named() -> bool:
        nonlocal said
        said = hv(daemon, "gc")
        return all(uid in said for uid in uids)

    wait_until(all_named, timeout=30, what="their names")
    return said


def swap(daemon: Hyperd, backup: Path) -> None:
    """Put a backup in the place of the store, while guests run."""
    daemon.stop()
    assert "Restored" in restore(daemon, backup)
    daemon.start()


def _works_on(daemon: Hyperd, taken: str) -> None:
    """What the restored store knows is administered as ever, and the guest it forgot keeps its address."""
    daemon.create(disk("more", size="8Mi"))
    daemon.create(machine("more", "more", terminationGracePeriodSeconds=0))
    vm = daemon.wait_phase("vm", "more", "Running")
    assert vm["status"]["ipAddress"] != taken
    for word in ("vm", "vd"):
        daemon.delete(word, "more")
        daemon.wait_gone(word, "more")
