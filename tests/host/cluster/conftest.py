"""Two daemons with their objects in one API server, and the kinds that they need there."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from hyperd.controllers.node.heartbeat import lease_name
from hyperd.controllers.placement.placing import SERVED_SECONDS
from hyperd.resources.all import KINDS
from hyperd.resources.crd import crd
from hyperd.resources.values.names import GROUP, SYSTEM_NAMESPACE
from tests.cluster.controlplane.plane import ControlPlane
from tests.host.clustered import ClusterHyperd, Road, empty
from tests.host.node import Node
from tests.host.running import condition


@pytest.fixture(scope="package")
def plane(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with the kinds and no webhooks, which would be one daemon's to answer."""
    definitions = [crd(kind) for kind in KINDS if kind.group == GROUP]
    for definition in definitions:
        definition["spec"].pop("conversion", None)
    control_plane.apply(*definitions)
    control_plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}})
    control_plane.ensure_controllers()
    return control_plane


@pytest.fixture(scope="package")
def road(node: Node, plane: ControlPlane) -> Iterator[Road]:
    """The API server's port, in the node too."""
    made = Road(node, plane.port, into_node=False)
    yield made
    made.close()


Pair = tuple[ClusterHyperd, ClusterHyperd]


@pytest.fixture
def pair(node: Node, plane: ControlPlane, road: Road) -> Iterator[Pair]:
    """Two daemons, on the nodes alpha and beta; what they made is removed afterwards."""
    node.ensure_libvirtd()
    empty(plane)
    daemons = [
        ClusterHyperd(
            node,
            plane,
            plane.kubeconfig,
            settings={"node_name": name, "network.virtual_machine_cidrs": "[]", "aggregation.port": 0},
        )
        for name in ("alpha", "beta")
    ]
    try:
        for daemon in daemons:
            daemon.start()
        for name in ("alpha", "beta"):
            daemons[0].wait("lease", lease_name(name), bool, namespace=SYSTEM_NAMESPACE)
            daemons[0].wait("node", name, lambda node: condition(node, "Ready").get("status") == "True")
        time.sleep(SERVED_SECONDS)  # for so long the leader remembers which nodes are served
        yield daemons[0], daemons[1]
    finally:
        empty(plane)
        for daemon in daemons:
            daemon.__exit__()
        node.remove_domains()
