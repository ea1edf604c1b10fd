"""What breaks around the daemon: libvirt, the registry, the disk, the host itself; and how it heals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hyperd.client import paths
from tests.host.inventory import domains, leftovers, repositories, taps
from tests.host.node import Node, wait_until
from tests.host.running import (
    BOOT_SECONDS,
    Console,
    Hyperd,
    ImageServer,
    condition,
    disk,
    image,
    machine,
    operation,
)

Object = dict[str, Any]


@pytest.fixture
def daemon(node: Node, images: ImageServer) -> Iterator[Hyperd]:
    """A daemon with the image ``guest`` Ready and a running machine ``vm``."""
    node.ensure_libvirtd()
    with Hyperd(node) as running:
        ready(running, images)
        yield running
    node.ensure_libvirtd()
    node.remove_domains()


def ready(daemon: Hyperd, images: ImageServer) -> Object:
    daemon.create(image("guest", f"{images.url}/guest.qcow2"))
    daemon.create(disk("root", image="guest"))
    daemon.create(machine("vm", "root", terminationGracePeriodSeconds=0))
    return daemon.wait_phase("vm", "vm", "Running")


def test_without_libvirt_the_node_is_not_ready_and_machines_keep_their_phase(daemon: Hyperd, node: Node) -> None:
    node.kill_libvirtd()
    daemon.wait("node", "node", lambda o: condition(o, "Ready").get("status") == "False", timeout=60)
    assert daemon.get("vm", "vm")["status"]["phase"] == "Running"
    daemon.create(disk("second", image="guest"))
    daemon.create(machine("late", "second", terminationGracePeriodSeconds=0))
    waiting = daemon.wait("vm", "late", lambda o: "libvirt" in condition(o, "Running").get("message", ""))
    assert waiting["status"]["phase"] == "Pending"
    node.start_libvirtd()
    daemon.wait("node", "node", lambda o: condition(o, "Ready").get("status") == "True", timeout=60)
    daemon.wait_phase("vm", "late", "Running", timeout=60)


def test_an_import_waits_for_a_registry_that_is_down_and_heals(node: Node, images: ImageServer) -> None:
    settings = {"registry.binary": "/nonexistent/registry"}
    with Hyperd(node, settings=settings) as daemon:
        daemon.create(image("guest", f"{images.url}/guest.qcow2"))
        waiting = daemon.wait(
            "vi", "guest", lambda o: "registry" in condition(o, "Ready").get("message", "").lower()
        )
        assert waiting["status"]["phase"] in ("Pending", "Provisioning")
        daemon.stop()
        daemon.settings["registry.binary"] = "docker-registry"
        daemon.start()
        daemon.wait_phase("vi", "guest", "Ready", timeout=60)


def test_a_killed_registry_comes_back_by_itself(daemon: Hyperd, node: Node, images: ImageServer) -> None:
    pids = node.exec(["pgrep", "-f", f"{daemon.state_dir}/registry"]).stdout.split()
    node.exec(["kill", "-9", *pids])
    daemon.create(image("again", f"{images.url}/guest.qcow2"))
    daemon.wait_phase("vi", "again", "Ready", timeout=60)


def test_a_guest_paused_by_a_full_disk_goes_on_when_there_is_space(node: Node, images: ImageServer) -> None:
    state = node.make_dir()
    node.exec(["mount", "-t", "tmpfs", "-o", "size=100m,mode=711", "tmpfs", state])
    try:
        with Hyperd(node, settings={"state_dir": state}) as daemon:
            vm = ready(daemon, images)
            daemon.create(disk("data", size="400Mi"))
            daemon.patch(
                "vm",
                "vm",
                {
                    "spec": {
                        "blockDeviceRefs": [
                            {"kind": "VirtualDisk", "name": "root"},
                            {"kind": "VirtualDisk", "name": "data"},
                        ]
                    }
                },
            )
            daemon.wait_phase("vd", "data", "Ready")
            daemon.create(operation("Restart", "vm", force=True))
            daemon.wait(
                "vm", "vm", lambda o: len([d for d in o["status"]["blockDeviceRefs"] if d["attached"]]) == 2
            )
            wait_until(
                lambda: daemon.console_log(vm).count("login:") >= 1, timeout=BOOT_SECONDS, what="a login prompt"
            )
            with Console(daemon, "vm") as console:
                console.log_in()
                # By its address: Linux names SCSI disks in the order in which its probes end.
                disk_at = "/dev/$(ls /sys/class/scsi_disk/0:0:1:0/device/block)"
                console.type(f"dd if=/dev/zero of={disk_at} bs=1M count=150; sync; echo WROTE''-ALL\r")
                paused = daemon.wait_phase("vm", "vm", "Pause", timeout=90)
                assert "space" in condition(paused, "Running")["message"]
                node.exec(["mount", "-o", "remount,size=900m", state])
                console.expect("WROTE-ALL", timeout=90)
            daemon.wait_phase("vm", "vm", "Running")
    finally:
        node.remove_domains()
        node.exec(["umount", "-l", state], check=False)


def test_after_a_reboot_of_the_host_machines_come_back_as_their_policies_say(daemon: Hyperd, node: Node) -> None:
    for name, policy in (
        ("manual", "Manual"),
        ("by-hand", "AlwaysOnUnlessStoppedManually"),
        ("always", "AlwaysOn"),
    ):
        daemon.create(disk(name, image="guest"))
        daemon.create(machine(name, name, runPolicy=policy, terminationGracePeriodSeconds=0))
    daemon.wait_phase("vm", "manual", "Stopped")
    daemon.create(operation("Start", "manual"))
    for name in ("manual", "by-hand", "always"):
        daemon.wait_phase("vm", name, "Running")
    daemon.create(operation("Stop", "by-hand", force=True))
    daemon.wait_phase("vm", "by-hand", "Stopped")
    daemon.kill()
    node.kill_libvirtd()
    for pidfile in (node.run_dir / "libvirt" / "qemu").glob(f"{daemon.instance}-*.pid"):
        node.exec(["kill", "-9", pidfile.read_text().strip()], check=False)
    for path in (node.run_dir / "libvirt" / "qemu").glob(f"{daemon.instance}-*"):
        if path.is_file():
            path.unlink()
    for tap in json.loads(node.exec(["ip", "-j", "link"]).stdout):
        if tap.get("ifalias", "").startswith(f"hyperd:{daemon.instance}:"):
            node.exec(["ip", "link", "del", tap["ifname"]])
    node.start_libvirtd()
    daemon.start()
    daemon.wait_phase("vm", "vm", "Running")
    daemon.wait_phase("vm", "always", "Running")
    daemon.wait_phase("vm", "manual", "Stopped")
    daemon.wait_phase("vm", "by-hand", "Stopped")
    wait_until(lambda: not leftovers(daemon), timeout=60, what="an inventory without leftovers")


def test_two_daemons_on_one_host_do_not_see_each_other(daemon: Hyperd, node: Node, images: ImageServer) -> None:
    other = {
        "network.virtual_machine_cidrs": '["10.66.20.0/24"]',
        "network.route_table": 1491,
        "network.tap_prefix": "hw",
    }
    with Hyperd(node, settings=other) as second:
        theirs = ready(second, images)
        assert theirs["status"]["ipAddress"].startswith("10.66.20.")
        assert [vm["metadata"]["name"] for vm in daemon.list("vm")] == ["vm"]
        assert domains(daemon) != domains(second)
        assert len(domains(daemon)) == len(domains(second)) == 1
        second.delete("vm", "vm")
        second.wait_gone("vm", "vm")
        assert daemon.get("vm", "vm")["status"]["phase"] == "Running"
        assert len(domains(daemon)) == 1
        assert len(taps(daemon)) == 1


BAD = ("html", "empty", "truncated", "backing", "data_file", "huge")


@pytest.fixture(scope="module")
def bad_images(node: Node, guest_image: Path) -> Iterator[ImageServer]:
    """One file of each bad kind."""
    folder = node.make_dir()
    (folder / "html").write_text("<!DOCTYPE html><html><body>404, but with 200</body></html>" + " " * 70_000)
    (folder / "empty").write_bytes(b"")
    (folder / "truncated").write_bytes(guest_image.read_bytes()[: guest_image.stat().st_size // 2])
    create = ["qemu-img", "create", "-q", "-f", "qcow2"]
    node.exec([*create, "-u", "-b", "/etc/shadow", "-F", "raw", folder / "backing", "64K"])
    node.exec([*create, "-o", f"data_file={folder}/outside", folder / "data_file", "1M"])
    node.exec([*create, folder / "huge", "4P", "-o", "cluster_size=2M"])
    server = ImageServer(node, folder, port=8098)
    yield server
    server.close()


def test_bad_images_fail_with_a_reason_and_leave_nothing(
    node: Node, bad_images: ImageServer, images: ImageServer
) -> None:
    with Hyperd(node) as daemon:
        for kind in BAD:
            daemon.create(image(kind.replace("_", "-"), f"{bad_images.url}/{kind}"))
        wrong = {"sha256": "0" * 64}
        daemon.create(image("wrong-sum", f"{images.url}/guest.qcow2", checksum=wrong))
        for name in (*(kind.replace("_", "-") for kind in BAD), "wrong-sum"):
            failed = daemon.wait_phase("vi", name, "Failed", timeout=60)
            verdict = condition(failed, "Ready")
            assert verdict["reason"] == "ProvisioningFailed", verdict
            assert verdict["message"].endswith("."), verdict
        forbidden = image("metadata", "http://169.254.169.254/latest/meta-data/")
        daemon.create(forbidden)
        assert daemon.wait_phase("vi", "metadata", "Failed")
        assert list((daemon.state_dir / "images").glob("*")) == []
        assert leftovers(daemon) == []


def test_deleting_a_namespace_and_collecting_garbage_removes_all_that_came_from_it(
    node: Node, images: ImageServer
) -> None:
    with Hyperd(node) as daemon:
        ready(daemon, images)
        kept = {repo for repo, tags in repositories(daemon).items() if tags}
        daemon.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        for obj in (
            image("guest", f"{images.url}/guest.qcow2"),
            disk("root", image="guest"),
            disk("blank", size="8Mi"),
            machine(
                "vm",
                "root",
                "blank",
                provisioning={"type": "UserData", "userData": "#!/bin/sh\ntrue\n"},
                terminationGracePeriodSeconds=0,
            ),
        ):
            obj["metadata"]["namespace"] = "shop"
            daemon.create(obj)
        vm = daemon.wait_phase("vm", "vm", "Running", namespace="shop")
        daemon.create(
            {**operation("Restart", "vm", force=True), "metadata": {"name": "again", "namespace": "shop"}}
        )
        daemon.delete("namespace", "shop")
        daemon.wait_gone("namespace", "shop", timeout=60)
        daemon.client.call("POST", f"{paths.SUBRESOURCES}/nodes/node/collectgarbage")
        wait_until(lambda: not leftovers(daemon), timeout=60, what="an inventory without leftovers")
        uid = vm["metadata"]["uid"]
        assert [str(path) for path in daemon.dir.rglob(f"*{uid}*")] == []
        assert set(repositories(daemon)) == kept
        assert daemon.get("vm", "vm")["status"]["phase"] == "Running"
        assert len(domains(daemon)) == len(taps(daemon)) == len(daemon.list("vmipl")) == 1
    node.remove_domains()


def test_two_guests_that_hang_keep_nobody_from_being_deleted(node: Node, images: ImageServer) -> None:
    """With two threads for libvirt; and libvirt, which is well, is not blamed."""
    with Hyperd(node, settings={"hypervisor.workers": 2}) as daemon:
        ready(daemon, images)
        names = ["vm"]
        for name in ("other", "well"):
            daemon.create(disk(f"{name}-root", image="guest"))
            daemon.create(machine(name, f"{name}-root", terminationGracePeriodSeconds=3000))
            names.append(name)
        uids = {name: daemon.wait_phase("vm", name, "Running")["metadata"]["uid"] for name in names}
        hung = [node.exec(["pgrep", "-f", f"qemu.*{uids[name]}"]).stdout.split()[0] for name in ("vm", "other")]
        daemon.patch("vm", "vm", {"spec": {"terminationGracePeriodSeconds": 3000}})
        node.exec(["kill", "-STOP", *hung])
        try:
            for name in ("vm", "other"):
                daemon.create(operation("Stop", name))
            wait_until(
                lambda: all(
                    f"shut down domain {uids[name]}: its QEMU does not answer" in daemon.log()
                    for name in ("vm", "other")
                ),
                timeout=90,
                what="both guests' calls to be given up",
            )
            daemon.create(operation("Stop", "well", force=True))
            daemon.wait_phase("vm", "well", "Stopped", timeout=30)
            daemon.delete("vm", "well")
            daemon.wait_gone("vm", "well", timeout=30)
            log = daemon.log()
            assert "libvirt is not reachable" not in log
            assert "resync failed" not in log
        finally:
            node.exec(["kill", "-CONT", *hung])
    node.remove_domains()
