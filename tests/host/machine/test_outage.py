"""A cluster's API server goes away and comes back: guests do not notice, and the daemon makes up for it."""

from __future__ import annotations

import pytest

from hyperd.client import home
from tests.cluster.controlplane.plane import ControlPlane
from tests.host.clustered import ClusterHyperd
from tests.host.machine.conftest import on_kubernetes
from tests.host.machine.test_lifecycle import make, name, qemu_pid
from tests.host.node import Node, wait_until
from tests.host.running import Console, operation

__all__ = ["name"]

pytestmark = [pytest.mark.root, pytest.mark.cluster]


@on_kubernetes
def test_an_outage_harms_no_guest_and_no_session_and_is_made_up_for(
    hyperd: ClusterHyperd, node: Node, control_plane: ControlPlane, name: str
) -> None:
    vm = make(hyperd, name)
    hyperd.wait_console(vm, "login:")
    pid = qemu_pid(node, vm, hyperd)
    try:
        with Console(hyperd, name, through=home.local(str(hyperd.socket))) as console:
            console.log_in()
            control_plane.kill_server()
            hyperd.client.close()
            assert "42" in console.run("echo $((40 + 2))")
        # A daemon that starts meanwhile waits, and answers for itself.
        hyperd.kill()
        hyperd.start(ready=False)
        wait_until(hyperd.answers, timeout=30, what="the daemon's own answer")
        assert "hyperd_leader 0" in hyperd.local_text("/metrics")
        assert qemu_pid(node, vm, hyperd) == pid
    finally:
        control_plane.start_server()
    wait_until(hyperd.leads, timeout=60, what="the daemon's work")
    hyperd.wait_phase("vm", name, "Running")
    assert qemu_pid(node, vm, hyperd) == pid
    op = hyperd.create(operation("Stop", name, force=True))
    hyperd.wait_phase("vmop", op["metadata"]["name"], "Completed")
    assert hyperd.get("vm", name)["status"]["phase"] == "Stopped"
