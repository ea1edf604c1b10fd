"""kubectl and hv against a real API server: objects, power and consoles, with nothing but its kubeconfig."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml

from tests.cluster.controlplane.plane import ControlPlane
from tests.host.clustered import ClusterHyperd
from tests.host.machine.conftest import on_kubernetes
from tests.host.machine.test_lifecycle import name
from tests.host.running import Console, disk, machine, operation

__all__ = ["name"]

pytestmark = [pytest.mark.root, pytest.mark.cluster]
SESSIONS = "/apis/subresources.virtualization.deckhouse.io/v1alpha2/namespaces/default/virtualmachines"


def hv(plane: ControlPlane, *arguments: str, stdin: str = "") -> str:
    argv = [sys.executable, "-m", "hyperd.cli.main", *arguments, "--kubeconfig", str(plane.kubeconfig)]
    env = {key: value for key, value in os.environ.items() if key not in ("HYPERD_SOCKET", "KUBECONFIG")}
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=90, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


@on_kubernetes
def test_kubectl_and_hv_make_see_stop_start_and_enter_a_machine(
    hyperd: ClusterHyperd, control_plane: ControlPlane, name: str
) -> None:
    plane = control_plane
    plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([disk(name, image="guest"), machine(name, name)]))
    plane.kubectl("wait", f"vm/{name}", "--for=jsonpath={.status.phase}=Running", "--timeout=60s")
    row = plane.kubectl("get", "vm", name, "-o", "wide", "--no-headers").split()
    assert row[:2] == [name, "Running"]
    assert "node" in row
    assert f"vm/{name}" in hv(plane, "get", "vm,vd")
    assert f"vd/{name}" in hv(plane, "get", "vm,vd")

    with Console(hyperd, name):
        probe = json.loads(plane.kubectl("get", "--raw", f"{SESSIONS}/{name}/console?probe=true"))
        assert (probe["kind"], probe["holder"]) == ("VirtualMachineSession", "admin")
    hyperd.wait_console(hyperd.get("vm", name), "login:")
    assert "login:" in hv(plane, "log", name)

    stop = yaml.safe_dump(operation("Stop", name, force=True))
    made = plane.kubectl("create", "-f", "-", "-o", "name", stdin=stop).strip().splitlines()[-1]
    plane.kubectl("wait", made, "--for=jsonpath={.status.phase}=Completed", "--timeout=60s")
    plane.kubectl("wait", f"vm/{name}", "--for=jsonpath={.status.phase}=Stopped", "--timeout=60s")
    hv(plane, "start", name, "--wait")
    assert hyperd.get("vm", name)["status"]["phase"] == "Running"
    larger = machine(name, name, memory={"size": "160Mi"})
    hv(plane, "apply", "-f", "-", stdin=yaml.safe_dump(larger))
    hyperd.wait("vm", name, lambda vm: vm["status"].get("restartAwaitingChanges"))
    hv(plane, "delete", "vm", name)
    assert hyperd.find("vm", name) is None
