"""The cluster of nodes that other tests stand on: it is a Kubernetes as any, and it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.controlplane.plane import document
from tests.cluster.nodes import cgroups
from tests.cluster.nodes.bed import Bed, sweep
from tests.cluster.nodes.images import BOX

pytestmark = [pytest.mark.cluster, pytest.mark.nodes]

_WEB = {"app": "web"}
_CONTAINER = {"name": "box", "image": BOX, "imagePullPolicy": "Never"}
_GUEST = """
<domain type='qemu'>
  <name>guest</name>
  <memory unit='MiB'>16</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
</domain>
"""
_SYSCTLS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")


@pytest.fixture(scope="module")
def pods(bed: Bed) -> dict[str, dict[str, str]]:
    """A Pod on each node with a Service before them: name → address and node."""
    # These run as root, which others' tests keep out of the namespace.
    bed.plane.kubectl("label", "namespace/default", "pod-security.kubernetes.io/enforce-")
    bed.plane.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "selector": {"matchLabels": _WEB},
                "template": {
                    "metadata": {"labels": _WEB},
                    "spec": {"terminationGracePeriodSeconds": 0, "containers": [_CONTAINER]},
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": _WEB, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    )
    bed.plane.kubectl("rollout", "status", "daemonset/web", "--timeout=60s")
    found = document(bed.plane.kubectl("get", "pods", "-l", "app=web", "-o", "json"))["items"]
    return {
        pod["metadata"]["name"]: {"address": pod["status"]["podIP"], "node": pod["spec"]["nodeName"]}
        for pod in found
    }


def test_every_node_runs_a_pod(bed: Bed, pods: dict[str, dict[str, str]]) -> None:
    assert sorted(pod["node"] for pod in pods.values()) == ["node-1", "node-2", "node-3"]
    name = next(iter(pods))
    assert bed.plane.kubectl("logs", name) == f"serving as {name}\n"
    assert bed.plane.kubectl("exec", name, "--", "hostname") == f"{name}\n"


def test_pods_reach_each_other_and_their_service(bed: Bed, pods: dict[str, dict[str, str]]) -> None:
    service = bed.plane.kubectl("get", "service/web", "-o", "jsonpath={.spec.clusterIP}")
    for asking in pods:
        for name, pod in pods.items():
            assert _get(bed, asking, f"{pod['address']} 8080") == name
        assert _get(bed, asking, f"{service} 80") in pods


def test_every_node_has_a_libvirt_of_its_own(bed: Bed) -> None:
    first, second = bed.nodes[:2]
    first.run("virsh", "-q", "create", "/dev/stdin", "--paused", stdin=_GUEST)
    assert "guest" in first.run("virsh", "-q", "list", "--name")
    assert "guest" not in second.run("virsh", "-q", "list", "--name").split()
    assert first.run("virsh", "hostname").strip() == "node-1"
    first.run("virsh", "-q", "destroy", "guest")


def test_a_node_that_loses_power_leaves_the_others_and_comes_back(
    bed: Bed, pods: dict[str, dict[str, str]]
) -> None:
    """What ran on it is dead at once; the node is Ready again with its Pod after it is switched on."""
    node = bed.nodes[2]
    boot = node.run("cat", "/proc/sys/kernel/random/boot_id")
    node.power_off()
    assert _processes_of(bed.folder / node.name) == []
    other = next(name for name, pod in pods.items() if pod["node"] != node.name)
    assert _get(bed, other, f"{pods[other]['address']} 8080") == other
    node.start([])
    assert node.run("cat", "/proc/sys/kernel/random/boot_id") != boot
    lost = next(name for name, pod in pods.items() if pod["node"] == node.name)
    restarts = "jsonpath={.status.containerStatuses[0].restartCount}"
    _until(lambda: bed.plane.kubectl("get", f"pod/{lost}", "-o", restarts) == "1")
    bed.plane.kubectl("wait", "--for=condition=Ready", "--timeout=60s", f"pod/{lost}")


def test_the_machine_keeps_its_own_settings(bed: Bed) -> None:
    """kubelet sets some of the whole machine's, which a node has of its own."""
    assert bed.nodes[0].run("cat", "/proc/sys/vm/overcommit_memory").strip() == "1"
    inside = {name: bed.nodes[0].run("cat", f"/proc/sys/{name}").strip() for name in _SYSCTLS}
    outside = {name: Path(f"/proc/sys/{name}").read_text().strip() for name in _SYSCTLS}
    assert inside == {
        "vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1"
    }  # fmt: skip
    assert outside != inside


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["asked to end", "killed"])
def test_nothing_is_left_of_a_cluster(tmp_path: Path, how: signal.Signals) -> None:
    """By the next start at the latest, where it was killed."""
    before = _traces()
    argv = [sys.executable, "-m", "tests.cluster.nodes.tryout", "--nodes", "1", "--ready", str(tmp_path / "ready")]
    running = subprocess.Popen(argv, env=os.environ | {"TMPDIR": str(tmp_path)})
    try:
        _until(lambda: (tmp_path / "ready").exists() or running.poll() is not None)
        assert running.poll() is None
        assert _processes_of(tmp_path)
        running.send_signal(how)
        running.wait(30)
    finally:
        running.kill()
    _until(lambda: not _processes_of(tmp_path))
    if how == signal.SIGKILL:
        sweep(tmp_path)
    assert _traces() == before
    assert list(tmp_path.glob("hv-nodes-*")) == []


def _get(bed: Bed, pod: str, where: str) -> str:
    """The last line of what a web server says to the Pod."""
    ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {where}"
    return bed.plane.kubectl("exec", pod, "--", "sh", "-c", ask).strip().splitlines()[-1]


def _traces() -> dict[str, object]:
    links = json.loads(subprocess.run(["ip", "-j", "link"], capture_output=True, check=True).stdout)
    return {
        "links": {link["ifname"] for link in links},
        "mounts": {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()},
        "cgroups": cgroups.named("hv-nodes-"),
    }


def _processes_of(folder: Path) -> list[str]:
    """Command lines of processes that have a file of the folder open, or stand in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            held = [(process / "cwd").readlink(), *(link.readlink() for link in (process / "fd").iterdir())]
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if int(process.name) != os.getpid() and any(path.is_relative_to(folder) for path in held):
            found.append(line)
    return found


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "It does not become so within 60 s."
        time.sleep(0.1)
