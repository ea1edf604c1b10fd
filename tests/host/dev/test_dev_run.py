"""What an administrator sees first: ``./dev run`` and ``./dev cluster`` on a host without a running libvirt,
again, and away again.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import guest
from tests.cluster.controlplane.build import binary
from tests.host.node import Node

ROOT = Path(__file__).resolve().parents[3]
SECOND_RUN_SECONDS = 10.0


class Script:
    """``./dev`` inside the node, with everything in one folder."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.state = node.dir / "t" / "dev"
        self.state.parent.mkdir(mode=0o711, exist_ok=True)

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.node.exec([ROOT / "dev", *arguments, "--state", self.state], timeout=170)

    def traces(self) -> set[str]:
        """Files, processes and domains of it; links and rules of the whole node."""
        processes = self.node.exec(["ps", "-eo", "args"]).stdout.splitlines()
        links = self.node.exec(["ip", "-brief", "link"]).stdout.splitlines()
        return {
            *(str(path) for path in self.state.parent.glob(f"{self.state.name}*")),
            *(line for line in processes if str(self.state) in line),
            *self.guest_pids(),
            *(line.split()[0] for line in links),
            *self.node.exec(["ip", "rule"]).stdout.splitlines(),
        }

    def guest_pids(self) -> list[str]:
        return [file.read_text() for file in (self.node.run_dir / "libvirt/qemu").glob("dev-*.pid")]


@pytest.fixture
def dev(node: Node, libvirt_uri: str) -> Iterator[Script]:
    guest.image()
    node.kill_libvirtd()
    script = Script(node)
    yield script
    if script.state.exists():
        script("stop", "--all")


@pytest.mark.slow
@pytest.mark.root
def test_run_boots_a_machine_again_finds_it_and_stop_all_leaves_nothing(node: Node, dev: Script) -> None:
    before = dev.traces()
    first = dev("run", "--detach")
    assert "no systemd here" in first.stderr
    assert "      demo login:" in first.stderr
    shown = dict(line.split(maxsplit=1) for line in first.stdout.splitlines() if line.startswith("  "))
    assert Path(shown["kubeconfig"]).stat().st_mode & 0o077 == 0
    assert (
        f"64 bytes from {shown['address']}" in node.exec(["ping", "-c", "1", "-W", "5", shown["address"]]).stdout
    )
    (pid,) = dev.guest_pids()

    begin = time.monotonic()
    second = dev("run", "--detach")
    assert time.monotonic() - begin < SECOND_RUN_SECONDS
    assert "virtualmachine/demo unchanged" in second.stderr

    assert "stays, as it has 1 guest" in dev("stop").stderr
    assert node.exec(["kill", "-0", *dev.guest_pids()]).returncode == 0
    assert dev.guest_pids() == [pid]

    dev("stop", "--all")
    assert dev.traces() == before
    assert node.exec(["virsh", "--connect", "qemu:///system", "uri"], check=False).returncode != 0


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.cluster
@pytest.mark.timeout(300)
def test_cluster_boots_a_machine_on_an_api_server_outlives_that_one_and_stop_all_leaves_nothing(
    node: Node, dev: Script
) -> None:
    before = dev.traces()
    first = dev("cluster", "--detach")
    assert "      demo login:" in first.stderr
    shown = dict(line.split(maxsplit=1) for line in first.stdout.splitlines() if line.startswith("  "))
    kubectl: list[str | Path] = [binary("kubectl"), "--kubeconfig", shown["kubeconfig"]]
    assert node.exec([*kubectl, "get", "vm", "demo", "-o", "jsonpath={.status.phase}"]).stdout == "Running"
    console = "/apis/subresources.virtualization.deckhouse.io/v1alpha2/namespaces/default/virtualmachines/demo/log"
    assert "demo login:" in node.exec([*kubectl, "get", "--raw", console]).stdout
    (pid,) = dev.guest_pids()

    node.exec(["pkill", "-KILL", "kube-apiserver"])
    assert "virtualmachine/demo unchanged" in dev("cluster", "--detach").stderr
    assert dev.guest_pids() == [pid]

    dev("stop", "--all")
    assert dev.traces() == before
