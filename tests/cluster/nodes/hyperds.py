"""hyperd on the nodes of the tests' cluster, with the rights that the manifests give it, and machines as Pods."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from hyperd.launcher.build import LAUNCHER, build
from hyperd.resources.values.names import API_SERVICE, GROUP, SYSTEM_NAMESPACE
from tests.cluster.controlplane.plane import document
from tests.cluster.installation import account_kubeconfig
from tests.cluster.nodes import images
from tests.cluster.nodes.bed import Bed
from tests.cluster.nodes.node import Node
from tests.guest.builder import image

IMAGE = "localhost/hyperd-launcher:1"
GUEST_URL = "http://127.0.0.1:8099/guest.qcow2"
"""The tests' guest, as each node serves it to itself."""
_MANIFESTS = Path(__file__).parents[3] / "manifests"
_PORT = 6481


class Hyperds:
    """One on each of ``nodes``."""

    def __init__(self, bed: Bed, nodes: tuple[Node, ...]) -> None:
        self.bed = bed
        self.nodes = nodes
        self._folder = bed.folder / "hyperd"
        self._account = self._folder / "kubeconfig"
        self.node_lease_seconds = 40.0
        """Of daemons that are begun from now on."""

    def start(self) -> None:
        """Install what is no Pod of the manifests, and start every daemon."""
        plane = self.bed.plane
        programs, served = self._folder / "programs", self._folder / "served"
        served.mkdir(parents=True)
        build(programs)
        (served / "guest.qcow2").symlink_to(copied(image(), served))
        archive = self._folder / "launcher.tar"
        path = "usr/lib/hyperd/launcher"
        images.write(archive, IMAGE, (f"/{path}",), {path: programs / LAUNCHER})
        plane.kubectl("apply", "-k", str(_MANIFESTS))
        plane.kubectl("delete", "daemonset/hyperd", "-n", SYSTEM_NAMESPACE)
        self._register()
        nobody_converts = '{"spec": {"conversion": {"strategy": "None", "webhook": null}}}'
        classes = "crd/virtualmachineclasses.virtualization.deckhouse.io"
        plane.kubectl("patch", classes, "--type=merge", "-p", nobody_converts)
        account_kubeconfig(plane, self._account)
        self._account.write_text(self._account.read_text().replace(plane.url, plane.nodes_url))
        for node in self.nodes:
            self.settle(node)

    def settle(self, node: Node) -> None:
        """Give a node all that it needs, and its daemon."""
        node.import_image(self._folder / "launcher.tar")
        node.begin("images", sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory",
            str(self._folder / "served"), "8099")  # fmt: skip
        self.begin(node)

    def leave(self, node: Node) -> None:
        """End what was begun there, and let no machine come: its hyperd counts as heard of for a while."""
        node.end_program("hyperd")
        node.end_program("images")
        labels = document(self.bed.plane.kubectl("get", f"node/{node.name}", "-o", "json"))["metadata"]["labels"]
        if ours := [f"{label}-" for label in labels if f"{GROUP}/" in label]:
            self.bed.plane.kubectl("label", f"node/{node.name}", *ours)

    def _register(self) -> None:
        """Of the webhooks only that of evictions: the others must be answered, also while tests kill daemons."""
        plane, where = self.bed.plane, "validatingwebhookconfiguration/hyperd"
        plane.kubectl("delete", "mutatingwebhookconfiguration/hyperd")
        found = document(plane.kubectl("get", where, "-o", "json"))
        found["webhooks"] = [hook for hook in found["webhooks"] if hook["name"].startswith("evictions.")]
        plane.kubectl("replace", "-f", "-", stdin=json.dumps(found))
        service = ("-n", SYSTEM_NAMESPACE, "service", API_SERVICE)
        plane.kubectl("patch", *service, "--type=merge", "-p", '{"spec": {"selector": null}}')
        # The daemons are no Pods, so the Service finds them by this alone.
        addresses = [{"ip": node.address} for node in self.nodes]
        subset = {"addresses": addresses, "ports": [{"name": "https", "port": _PORT}]}
        meta = {"name": API_SERVICE, "namespace": SYSTEM_NAMESPACE}
        plane.apply({"apiVersion": "v1", "kind": "Endpoints", "metadata": meta, "subsets": [subset]})

    def begin(self, node: Node, crash_at: str = "", **settings: object) -> None:
        """Start the node's daemon, which kills itself at ``crash_at`` if that is given.

        ``settings`` are its section's that is called ``kubernetes``.
        """
        argv = ["env", f"HYPERD_CRASH_AT={crash_at}", sys.executable, "-m", "hyperd.daemon"]
        for key, value in {
            "home": "kubernetes",
            "node_name": node.name,
            "kubernetes.kubeconfig": self._account,
            "kubernetes.pods": True,
            "kubernetes.launcher_image": IMAGE,
            "kubernetes.programs_dir": self._folder / "programs",
            "kubernetes.allow_emulation": True,
            "kubernetes.lease_seconds": 10.0,
            "kubernetes.node_lease_seconds": self.node_lease_seconds,
            "api.port": 0,
            "aggregation.port": _PORT,
            "hypervisor.reserved_memory_bytes": 0,
            "imports.allowed": '["127.0.0.0/8"]',
            "storage.reserve_bytes": 0,
            "log.format": "text",
            **{f"kubernetes.{name}": value for name, value in settings.items()},
        }.items():
            argv += ["--set", f"{key}={value}"]
        node.begin("hyperd", *argv)

    def await_crash(self, node: Node) -> None:
        """Wait until the node's daemon has killed itself."""
        node.await_end("hyperd")

    def kill(self, node: Node) -> None:
        """End the node's daemon without a chance to say goodbye."""
        node.end_program("hyperd", signal.SIGKILL)

    def log(self, node: Node) -> str:
        """What the node's daemon has said."""
        return (node.folder / "log" / "hyperd.log").read_text()

    def stop(self) -> None:
        """End the daemons; guests go on, and end with their nodes."""
        for node in self.nodes:
            self.leave(node)


def copied(source: Path, folder: Path) -> Path:
    """The file where nodes see it: their /var is their own."""
    target = folder / source.name
    target.write_bytes(source.read_bytes())
    return target
