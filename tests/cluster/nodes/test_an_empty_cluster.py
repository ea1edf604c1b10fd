"""``hv install``, ``upgrade`` and ``uninstall`` on a cluster of nodes, with hyperd from its image.

On a cluster without hyperd, so before the other files here, which pytest takes by their names; in the end it is
one again.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from hyperd.cli.cluster import bundle
from hyperd.resources.values.names import GROUP, SYSTEM_NAMESPACE
from tests.cluster.controlplane.plane import document
from tests.cluster.nodes import container, session
from tests.cluster.nodes.bed import Bed
from tests.cluster.nodes.hyperds import GUEST_URL, copied
from tests.cluster.nodes.machines import BOOT_SECONDS, START_SECONDS, get, make, make_machine, until
from tests.cluster.nodes.movers import COUNTS, count
from tests.cluster.nodes.node import Node
from tests.guest.builder import image as guest_image

pytestmark = [pytest.mark.cluster, pytest.mark.nodes, pytest.mark.slow, pytest.mark.timeout(1800)]

_NEXT = "localhost/hyperd:2"
_SETTINGS = """
[kubernetes]
allow_emulation = true
lease_seconds = 10.0
[hypervisor]
reserved_memory_bytes = 0
[imports]
allowed = ["127.0.0.0/8"]
[storage]
reserve_bytes = 0
[log]
format = "text"
"""
_TAINT = "no-machines=here:NoSchedule"
_CLUSTER_WIDE = (
    "crd,clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding,"
    "mutatingwebhookconfiguration,validatingwebhookconfiguration,apiservice,storageclass,namespace"
)
_EVERYWHERE = (
    "role,rolebinding,daemonset,pod,poddisruptionbudget,persistentvolumeclaim,lease,secret,configmap,service,"
    "serviceaccount"
)
_ON_A_NODE = """
ip route show table 1490; ip -6 route show table 1490; ip rule | grep 1490; ip -6 rule | grep 1490
ip -o link | grep ': hv'; nft list tables | grep hyperd; virsh -q list --all --name
pgrep -a qemu-system; pgrep -a -x hyperd; pgrep -a launcher; grep /var/lib/hyperd/ /proc/mounts
"""


@dataclass(frozen=True)
class Hv:
    """Runs ``hv`` as the cluster's administrator, or as another."""

    bed: Bed
    nodes: tuple[Node, ...]
    """Those with a hyperd: the other one is tainted."""
    argv: tuple[str, ...] = (sys.executable, "-m", "hyperd.cli.main")

    def __call__(self, *arguments: str, kubeconfig: Path | None = None, rc: int | None = 0) -> str:
        done = subprocess.run(
            [*self.argv, *arguments, "--kubeconfig", str(kubeconfig or self.bed.kubeconfig)],
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert rc is None or done.returncode == rc, said
        assert "Traceback" not in said
        return said


@pytest.fixture(scope="module")
def hv(bed: Bed) -> Iterator[Hv]:
    assert in_cluster(bed) == [], "hyperd is in the cluster already: this file comes first"
    *nodes, other = bed.nodes
    archive, served = container.archive(), bed.folder / "served"
    served.mkdir()
    (served / "guest.qcow2").symlink_to(copied(guest_image(), served))
    bed.plane.kubectl("taint", "node", other.name, _TAINT)
    with ThreadPoolExecutor(len(nodes)) as pool:
        list(pool.map(lambda node: node.import_image(archive), nodes))
    server = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(served), "8099")
    for node in nodes:
        node.tag_image(container.IMAGE, _NEXT)
        node.begin("images", *server)
    made = Hv(bed, tuple(nodes))
    try:
        yield made
    finally:
        made("uninstall", "--delete-machines", "--yes", "--force", "--timeout", "60s", rc=None)
        for node in nodes:
            node.end_program("images")
        bed.plane.kubectl("taint", "node", other.name, f"{_TAINT}-")


def in_cluster(bed: Bed) -> list[str]:
    """What the cluster has of hyperd, by all that could name it."""
    plane = bed.plane
    named = plane.kubectl("get", _CLUSTER_WIDE, "-o", "name")
    named += plane.kubectl("get", _EVERYWHERE, "-A", "-o", "name")
    found = [line for line in named.splitlines() if re.search(r"hyperd|deckhouse|virt-|d8v", line)]
    found += plane.kubectl("get", "storageclass", "-o", "jsonpath={.items[*].provisioner}").split()
    nodes = document(plane.kubectl("get", "nodes", "-o", "json"))["items"]
    return found + [key for node in nodes for key in node["metadata"]["labels"] if "deckhouse" in key]


def on(node: Node) -> list[str]:
    """What a node has of hyperd: ways, devices, tables, guests, programs and mounts."""
    said = node.run("sh", "-c", _ON_A_NODE, rc=None).splitlines()
    return [
        line for line in said if line.strip() and "FIB table does not exist" not in line and "Dump" not in line
    ]


def images(bed: Bed) -> set[str]:
    """Of the daemons that are Ready."""
    pods = document(bed.plane.kubectl("get", "pods", "-n", SYSTEM_NAMESPACE, "-o", "json"))["items"]
    assert all(one["ready"] for pod in pods for one in pod["status"]["containerStatuses"])
    return {one["image"] for pod in pods for one in pod["spec"]["containers"]}


def test_what_is_missing_is_said_before_anything_is_changed(hv: Hv) -> None:
    bed, install = hv.bed, ("install", "--image", container.IMAGE)
    assert "There is no hyperd in this cluster" in hv("upgrade", rc=1)
    assert "There is no hyperd in this cluster" in hv("uninstall")
    assert "which image is hyperd's" in hv("install", rc=1)
    eve = bed.plane.client_kubeconfig("eve")
    assert "You may not get, list, delete" in hv("uninstall", "--yes", kubeconfig=eve, rc=1)
    assert "You may not get, list, create, patch" in hv(*install, kubeconfig=eve, rc=1)
    definition = next(one for one in bundle.load("any") if one["metadata"]["name"] == f"virtualdisks.{GROUP}")
    labels = {"heritage": "deckhouse", "module": "virtualization"}
    bed.plane.apply({**definition, "metadata": {"name": definition["metadata"]["name"], "labels": labels}})
    try:
        assert "another platform's kinds" in hv(*install, rc=1)
        assert "another platform's kinds" in hv("uninstall", "--yes", "--force", rc=1)
    finally:
        bed.plane.kubectl("delete", "crd", definition["metadata"]["name"])
    assert "daemonset/hyperd created (dry run)" in hv(*install, "--dry-run")
    assert in_cluster(bed) == []


def test_an_install_that_is_killed_is_gone_on_with(hv: Hv, tmp_path: Path) -> None:
    bed, settings = hv.bed, tmp_path / "hyperd.toml"
    settings.write_text(_SETTINGS)
    install = ("install", "--image", container.IMAGE, "--settings", str(settings))
    argv = [*hv.argv, *install, "--kubeconfig", str(bed.kubeconfig)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as begun:
        assert begun.stderr is not None
        while b"ClusterRole" not in (line := begun.stderr.readline()):
            assert line, "it ended before it was killed"
        begun.send_signal(signal.SIGKILL)
    assert "daemonset.apps/hyperd" not in in_cluster(bed)
    said = hv(*install)
    assert "hyperd runs on 2 of 2 nodes." in said
    assert images(bed) == {container.IMAGE}
    assert "0 of" not in hv(*install)
    until(lambda: get(bed, "vmclass/generic", "{.status.phase}") == "Ready", START_SECONDS)


@pytest.fixture(scope="module")
def web(hv: Hv) -> tuple[Node, str]:
    """The node and the address of a machine that counts and echoes; its name is web."""
    bed = hv.bed
    make_machine(bed, "web", provisioning={"type": "UserData", "userData": COUNTS})
    source = {"type": "HTTP", "http": {"url": GUEST_URL}}
    make(bed, "VirtualDisk", "web", persistentVolumeClaim={"size": "256Mi"}, dataSource=source)
    until(lambda: get(bed, "vm/web", "{.status.phase}") == "Running", START_SECONDS)
    node = next(each for each in hv.nodes if each.name == get(bed, "vm/web", "{.status.nodeName}"))
    address = get(bed, "vm/web", "{.status.ipAddress}")
    until(lambda: count(node, address), BOOT_SECONDS)
    return node, address


def test_a_guest_counts_on_while_hyperd_is_upgraded_and_killed(hv: Hv, web: tuple[Node, str]) -> None:
    bed, (node, address) = hv.bed, web
    assert "login:" in hv("log", "web")
    node.begin("session", sys.executable, session.__file__, node.address, address, "7")
    before = count(node, address)
    said = hv("upgrade", "--image", _NEXT)
    assert f"({container.IMAGE}) → " in said
    assert "hyperd runs on 2 of 2 nodes." in said
    assert images(bed) == {_NEXT}
    kept = document(bed.plane.kubectl("get", "configmap/hyperd", "-n", SYSTEM_NAMESPACE, "-o", "json"))
    assert kept["data"] == {bundle.SETTINGS_KEY: _SETTINGS}
    daemons = ("pods", "-n", SYSTEM_NAMESPACE, "-l", "app.kubernetes.io/name=hyperd")
    bed.plane.kubectl("delete", *daemons, "--grace-period=0", "--force")
    bed.plane.kubectl("rollout", "status", "daemonset/hyperd", "-n", SYSTEM_NAMESPACE, "--timeout=120s")
    told = (node.folder / "log" / "session.log").read_text().splitlines()
    until(lambda: count(node, address) > before, 30)
    until(lambda: (node.folder / "log" / "session.log").read_text().splitlines()[len(told) :], 30)
    node.end_program("session")
    assert count(node, address, "before") == 0, "it has booted anew"
    assert get(bed, "vm/web", "{.status.phase}") == "Running"


def test_nothing_is_left_of_it_after_an_uninstall(hv: Hv, web: tuple[Node, str]) -> None:
    bed = hv.bed
    assert "namespace default: 1 virtualdisk, 1 virtualmachine" in hv("uninstall", "--yes", rc=1)
    assert get(bed, "vm/web", "{.status.phase}") == "Running"
    said = hv("uninstall", "--delete-machines", "--yes")
    assert "Nothing of hyperd is left in the cluster." in said
    assert in_cluster(bed) == []
    for node in hv.nodes:
        assert on(node) == []
        # The pool's own mark stays with its folder.
        volumes = node.folder / "var/lib/hyperd/volumes"
        assert {path.name for path in volumes.rglob("*") if not path.is_dir()} <= {".hyperd-pool"}
    assert "There is no hyperd in this cluster" in hv("uninstall")
