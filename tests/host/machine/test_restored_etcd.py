"""A cluster's etcd is put back to an earlier state under running guests: neither they nor what is theirs goes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hyperd.client import home, paths
from hyperd.client.sync import Client
from hyperd.resources.all import KINDS
from hyperd.resources.crd import crd
from hyperd.resources.values.names import GROUP, SYSTEM_NAMESPACE
from tests.cluster.controlplane.plane import ControlPlane
from tests.host.clustered import ClusterHyperd, Road
from tests.host.inventory import files, repositories, routes, taps
from tests.host.node import Node, wait_until
from tests.host.running import ImageServer, disk, image, machine

pytestmark = [pytest.mark.root, pytest.mark.cluster, pytest.mark.timeout(480)]
Object = dict[str, Any]

_AGAIN_SECONDS = 120
"""A watch whose server was away is tried again within 36 seconds; then a guest begins, on a busy host."""


@pytest.fixture
def own_plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """A control plane that may be put back; ``control_plane`` is asked for because it is built already."""
    plane = ControlPlane(durable=True)
    try:
        plane.start()
        definitions = [crd(kind) for kind in KINDS if kind.group == GROUP]
        for definition in definitions:
            definition["spec"].pop("conversion", None)
        plane.apply(*definitions)
        plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}})
        yield plane
    finally:
        plane.stop()


def gc(daemon: ClusterHyperd, query: str = "") -> str:
    """What the node's upkeep answers, asked at the daemon's own socket, as there is no aggregated API here."""
    client = Client(home.local(str(daemon.socket)), timeout=60)
    try:
        answer = client.call("POST", f"{paths.SUBRESOURCES}/nodes/alpha/collectgarbage{query}")
        return json.dumps(answer)
    finally:
        client.close()


def held(daemon: ClusterHyperd) -> tuple[object, ...]:
    """All that the host has of users: guests with their processes, volumes, links, routes, images."""
    pid_files = [f"/run/libvirt/qemu/{daemon.instance}-{uid}.pid" for uid in sorted(daemon.domains())]
    pids = [daemon.node.exec(["cat", path]).stdout for path in pid_files]
    volumes = files(daemon.state_dir / "volumes")
    return pids, volumes, sorted(taps(daemon)), sorted(routes(daemon)), repositories(daemon)


def make(daemon: ClusterHyperd, name: str) -> Object:
    daemon.create(disk(name, image="guest"))
    daemon.create(machine(name, name, terminationGracePeriodSeconds=0))
    return daemon.wait_phase("vm", name, "Running", timeout=_AGAIN_SECONDS)


def put_back(plane: ControlPlane, saved: Path, *, beyond: int) -> None:
    """etcd's data is the saved one again, its revision raised ``beyond`` what was seen before anybody looks."""
    plane.stop_server()
    plane.stop_etcd()
    shutil.rmtree(plane.folder / "etcd")
    shutil.copytree(saved, plane.folder / "etcd")
    plane.start_etcd()
    if beyond:
        plane.raise_revision(beyond)
    plane.start_server()


@pytest.mark.parametrize("bumped", [False, True])
def test_nothing_of_a_user_goes_with_a_snapshot(
    node: Node, own_plane: ControlPlane, images: ImageServer, tmp_path: Path, bumped: bool
) -> None:
    node.ensure_libvirtd()
    road = Road(node, own_plane.port, into_node=False)
    try:
        with ClusterHyperd(node, own_plane, own_plane.kubeconfig, settings={"node_name": "alpha"}) as daemon:
            _restore_under(daemon, own_plane, images, tmp_path / "saved", bumped=bumped)
    finally:
        road.close()
        node.remove_domains()


def _restore_under(
    daemon: ClusterHyperd, plane: ControlPlane, images: ImageServer, saved: Path, *, bumped: bool
) -> None:
    daemon.create(image("guest", f"{images.url}/guest.qcow2"))
    make(daemon, "old")
    plane.stop_server()
    plane.stop_etcd()
    shutil.copytree(plane.folder / "etcd", saved)
    plane.start()
    daemon.client.close()  # its connection ended with the API server
    daemon.create(image("late", f"{images.url}/guest.qcow2"))
    daemon.wait_phase("vi", "late", "Ready")
    new = make(daemon, "new")
    plane.raise_revision(plane.revision + 2000)  # more than the control plane writes when it starts
    daemon.create(disk("last", size="1Mi"))
    last = int(daemon.wait_phase("vd", "last", "Ready")["metadata"]["resourceVersion"])
    wait_until(lambda: noted_version(daemon) >= last, timeout=60, what="its note")
    before = held(daemon)
    put_back(plane, saved, beyond=noted_version(daemon) + 1000 if bumped else 0)
    daemon.client.close()
    wait_until(lambda: daemon.find("vm", "new") is None, timeout=60, what="the earlier state")
    wait_until(
        lambda: new["metadata"]["uid"] in gc(daemon), timeout=_AGAIN_SECONDS, what="the absent machine's name"
    )
    # By its version at the next look, and where that was raised by the Lease at the next renewal.
    wait_until(lambda: "it was restored" in gc(daemon), timeout=_AGAIN_SECONDS, what="word of the restore")
    assert held(daemon) == before
    gc(daemon, "?accept=true")
    assert held(daemon) == before
    # Another machine does not get the address of the guest that the store forgot.
    other = make(daemon, "other")
    assert other["status"]["ipAddress"] != new["status"]["ipAddress"]
    gc(daemon, f"?empty={new['metadata']['uid']}")
    wait_until(lambda: new["metadata"]["uid"] not in daemon.domains(), timeout=60, what="the guest's end")
    assert set(daemon.domains()) == {daemon.get("vm", name)["metadata"]["uid"] for name in ("old", "other")}
    assert set(before[1]) <= set(files(daemon.state_dir / "volumes"))  # type: ignore[call-overload]


def noted_version(daemon: ClusterHyperd) -> int:
    """How far the node has noted that it saw the store."""
    path = daemon.state_dir / "seen.json"
    return int(json.loads(path.read_text())["resourceVersion"]) if path.exists() else 0
