"""A machine whose guest has QEMU's agent, a shell, and a second disk to write to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.host.node import Node, wait_until
from tests.host.running import Console, Hyperd, ImageServer, Object, condition, disk, image, machine


@contextmanager
def booting(node: Node, agents: ImageServer, settings: Mapping[str, object] | None = None) -> Iterator[Hyperd]:
    """A daemon with the machine ``vm``, which starts; its disks are ``root`` and ``data``."""
    node.ensure_libvirtd()
    running = Hyperd(node, settings=settings)
    running.start()
    running.create(image("agent", f"{agents.url}/guest.qcow2"))
    running.create(disk("root", image="agent"))
    running.create(disk("data", size="64Mi"))
    running.create(machine("vm", "root", "data", memory={"size": "160Mi"}, terminationGracePeriodSeconds=1))
    running.wait_phase("vm", "vm", "Running")
    yield running
    running.stop()
    running.client.close()
    node.remove_domains()


def snapshot(name: str, of: str = "data", **spec: object) -> Object:
    """Of a disk."""
    return {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "VirtualDiskSnapshot",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"virtualDiskName": of, **spec},
    }


def with_agent(daemon: Hyperd) -> Object:
    """The machine, once its agent answers."""
    return daemon.wait("vm", "vm", lambda vm: condition(vm, "AgentReady").get("status") == "True", timeout=150)


def log_in(daemon: Hyperd, name: str = "vm", *, boots: int = 1) -> Console:
    """A shell in the guest, which has its data disk mounted."""
    vm = daemon.get("vm", name)
    daemon.wait_console(vm, f"BOOTS={boots}")
    wait_until(lambda: daemon.console_log(vm).rpartition("BOOTS=")[2].count("login:"), timeout=150, what="a login")
    console = Console(daemon, name)
    console.log_in()
    if "/data" not in console.run("cat /proc/mounts"):
        console.run("mkdir -p /data; for disk in /dev/sd?; do [ -b ${disk}1 ] || break; done")
        console.run("mount -t ext4 $disk /data || { mke2fs $disk; mount -t ext4 $disk /data; }")
        assert "/data" in console.run("cat /proc/mounts")
    return console
