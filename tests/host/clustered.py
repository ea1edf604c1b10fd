"""A real daemon in a private node whose objects are in a real API server outside of it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from hyperd.api.serving.registration import API_SERVICE_OBJECT
from hyperd.client import home, kubeconfig
from hyperd.client.sync import Client
from hyperd.controllers.bootstrap import RECORD
from hyperd.errors import NotFound
from hyperd.resources.values.names import SYSTEM_NAMESPACE
from tests.cluster.controlplane.plane import Cluster, ControlPlane, free_port
from tests.cluster.installation import account_kubeconfig, install, uninstall
from tests.host.node import Node, wait_until
from tests.host.running import Hyperd, resource

_RELAY = [sys.executable, "-m", "tests.cluster.relay"]


class Road:
    """A port of one loopback, the machine's or the node's, that is the same port of the other's too."""

    def __init__(self, node: Node, port: int, *, into_node: bool) -> None:
        """``into_node``: what listens is in the node, and the machine connects; else the other way round."""
        self.port = port
        path = node.dir / f"road-{port}"
        near, far = f"tcp:{port}", f"unix:{path}"
        outside = (near, far) if into_node else (far, near)
        inside = (far, near) if into_node else (near, far)
        self._outside = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *_RELAY, *outside])
        self._inside = node.popen([*_RELAY, *inside])
        wait_until(path.exists, what="the relay's socket")

    def close(self) -> None:
        self._inside.terminate()
        self._inside.reap()
        self._outside.terminate()
        self._outside.wait(10)


CLASSES = "virtualmachineclasses.v1alpha2.virtualization.deckhouse.io"
"""As they are stored: any other version would be hyperd's to convert, which may not be there."""


class ClusterHyperd(Hyperd):
    """One daemon with its objects in ``cluster``; the client speaks to the API server, as kubectl does."""

    def __init__(
        self, node: Node, cluster: Cluster, account: Path, *, settings: Mapping[str, object] | None = None
    ) -> None:
        """``account`` is the kubeconfig of the daemon; the test is the cluster's administrator."""
        super().__init__(
            node,
            settings={
                "home": "kubernetes",
                "kubernetes.kubeconfig": account,
                "kubernetes.register_node": True,
                "kubernetes.allow_emulation": True,
                "kubernetes.lease_seconds": 3.0,
                "aggregation.port": 0,
                **(settings or {}),
            },
        )
        self.cluster = cluster
        self.client = Client(kubeconfig.load([str(cluster.kubeconfig)]).home(""), timeout=30)

    def start(self, *, env: Mapping[str, str] | None = None, ready: bool = True) -> None:
        super().start(env=env, ready=ready)
        if ready:
            self.wait_phase(CLASSES, "generic", "Ready")

    def answers(self) -> bool:
        self.client.close()
        client = Client(home.local(str(self.socket)), timeout=5)
        try:
            client.raw("GET", "/readyz")
        except Exception:  # noqa: BLE001  whatever it is, the answer is no
            return False
        finally:
            client.close()
        return True

    def leads(self) -> bool:
        """Whether the cluster-wide work is this daemon's, as its metrics say."""
        return "\nhyperd_leader 1" in self.local_text("/metrics")

    def domains(self) -> set[str]:
        """uids of the machines that run under this daemon's name."""
        prefix = f"{self.instance}-"
        running = self.node.virsh("list", "--name").split()
        return {name.removeprefix(prefix) for name in running if name.startswith(prefix)}


LEFT = ("vmop", "vm", "vd", "vi", "vmip", "vmipl", CLASSES, "nodes")


def empty(cluster: Cluster) -> None:
    """Remove the objects that daemons keep, whether or not a daemon is there to let them go."""
    client = Client(kubeconfig.load([str(cluster.kubeconfig)]).home(""), timeout=30)
    free = {"metadata": {"finalizers": None}}
    for word in LEFT:
        kind, found = resource(word), []
        with contextlib.suppress(NotFound):
            found = client.list(kind)["items"]
        for obj in found:
            name, namespace = obj["metadata"]["name"], obj["metadata"].get("namespace")
            with contextlib.suppress(NotFound):
                client.patch(kind, namespace, name, free)
                client.delete(kind, namespace, name)
    with contextlib.suppress(NotFound):
        client.delete(resource("configmap"), SYSTEM_NAMESPACE, RECORD)
    client.close()


@contextlib.contextmanager
def installed(
    node: Node, plane: ControlPlane, *, settings: Mapping[str, object] | None = None
) -> Iterator[ClusterHyperd]:
    """A daemon as ``manifests/`` install it: their account, webhooks and aggregated API, and a kubelet's Node.

    What is in ``plane`` stays there.
    """
    port = free_port()
    install(plane, port)
    plane.ensure_controllers()
    name = "node"
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}}
    plane.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    plane.kubectl("patch", f"node/{name}", "--subresource=status", "--type=merge", "-p", json.dumps(ready))
    roads = [Road(node, plane.port, into_node=False), Road(node, port, into_node=True)]
    account = account_kubeconfig(plane, node.dir / "account.kubeconfig")
    own = {
        "node_name": name,
        "kubernetes.register_node": False,
        "aggregation.host": "127.0.0.1",
        "aggregation.port": port,
    }
    try:
        with ClusterHyperd(node, plane, account, settings={**own, **(settings or {})}) as daemon:
            plane.kubectl("wait", f"apiservice/{API_SERVICE_OBJECT}", "--for=condition=Available", "--timeout=60s")
            yield daemon
    finally:
        for road in roads:
            road.close()


@contextlib.contextmanager
def on_cluster(node: Node, plane: ControlPlane) -> Iterator[ClusterHyperd]:
    """``installed`` in a control plane that others use before and after."""
    empty(plane)
    try:
        with installed(node, plane) as daemon:
            yield daemon
    finally:
        uninstall(plane)
        empty(plane)
