"""A backup is put back under machines that run: none is stopped, and what the backup does not know is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hyperd.client import paths
from tests.host.inventory import domains, files, repositories
from tests.host.node import Node, wait_until
from tests.host.running import Hyperd, ImageServer, disk, image, machine

Object = dict[str, Any]


def hv(daemon: Hyperd, *arguments: str) -> str:
    command = [sys.executable, "-m", "hyperd.cli.main", *arguments, "--socket", str(daemon.socket)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def restore(daemon: Hyperd, backup: Path) -> str:
    settings = [part for key, value in daemon.settings.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "hyperd.daemon", *settings, "restore", str(backup)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def running(daemon: Hyperd, vm: Object) -> str:
    """The process of a machine's QEMU."""
    name = f"{daemon.instance}-{vm['metadata']['uid']}"
    return daemon.node.virsh("domid", name).strip() + daemon.node.virsh("domstate", name).strip()


def test_a_restore_stops_no_guest_and_removes_nothing_it_does_not_know(node: Node, images: ImageServer) -> None:
    node.ensure_libvirtd()
    with Hyperd(node) as daemon:
        daemon.create(image("guest", f"{images.url}/guest.qcow2"))
        daemon.create(disk("old", image="guest"))
        daemon.create(machine("old", "old", terminationGracePeriodSeconds=0))
        old = daemon.wait_phase("vm", "old", "Running")
        backup = daemon.dir / "backup.db"
        hv(daemon, "backup", str(backup))
        daemon.create(image("late", f"{images.url}/guest.qcow2"))
        daemon.wait_phase("vi", "late", "Ready")
        daemon.create(disk("new", image="late"))
        daemon.create(machine("new", "new", terminationGracePeriodSeconds=0))
        new = daemon.wait_phase("vm", "new", "Running")
        before = (running(daemon, old), running(daemon, new))
        volumes = files(daemon.state_dir / "volumes")
        daemon.stop()
        assert "Restored" in restore(daemon, backup)
        daemon.start()
        daemon.wait_phase("vm", "old", "Running")
        assert daemon.find("vm", "new") is None
        said = hv(daemon, "gc")
        assert f"Virtual machine default/new runs as domain {new['metadata']['uid']}" in said
        assert "another store's" in said
        # By name of this store, even when asked: a guest that runs stays, and so does what it may have open.
        said = hv(daemon, "gc", "--foreign")
        assert "default/new runs" in said
        assert (running(daemon, old), running(daemon, new)) == before
        assert files(daemon.state_dir / "volumes") == volumes
        _works_on(daemon, new["status"]["ipAddress"])
        node.virsh("destroy", f"{daemon.instance}-{new['metadata']['uid']}")
        daemon.client.call("POST", f"{paths.SUBRESOURCES}/nodes/node/collectgarbage?foreign=true")
        wait_until(
            lambda: len(files(daemon.state_dir / "volumes")) == 1, timeout=60, what="the stray volume's end"
        )
        assert len(domains(daemon)) == 1
        assert sum(bool(tags) for tags in repositories(daemon).values()) == 1
        assert running(daemon, old) == before[0]
    node.remove_domains()


def _works_on(daemon: Hyperd, taken: str) -> None:
    """What the restored store knows is administered as ever, and the guest it forgot keeps its address."""
    daemon.create(disk("more", size="8Mi"))
    daemon.create(machine("more", "more", terminationGracePeriodSeconds=0))
    vm = daemon.wait_phase("vm", "more", "Running")
    assert vm["status"]["ipAddress"] != taken
    for word in ("vm", "vd"):
        daemon.delete(word, "more")
        daemon.wait_gone(word, "more")
