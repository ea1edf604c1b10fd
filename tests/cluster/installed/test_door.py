"""The door that ``hv uninstall`` shuts before its last look, on a real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hyperd.cli.cluster import door
from hyperd.client.kubeconfig import load
from hyperd.client.sync import Client
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.names import GROUP
from tests.cluster.controlplane.plane import PlaneError
from tests.cluster.installed.conftest import NAMESPACE, Installed, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

_LABELS = "app.kubernetes.io/part-of=hyperd"


def address(name: str) -> Object:
    return {
        "apiVersion": f"{GROUP}/v1alpha2",
        "kind": "VirtualMachineIPAddress",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"type": "Auto"},
    }


@pytest.fixture
def client(installed: Installed) -> Iterator[Client]:
    made = Client(load([str(installed.plane.kubeconfig)]).home())
    yield made
    door.open_again(made)
    made.close()


def made(installed: Installed, kubeconfig: Path, obj: Object, rc: int = 0) -> str:
    return installed.kubectl(kubeconfig, "create", "-f", "-", "--dry-run=server", stdin=json.dumps(obj), rc=rc)


def test_nobody_makes_what_an_uninstall_would_lose_until_it_is_taken_back(
    installed: Installed, client: Client, editor: Path
) -> None:
    everybody = (installed.plane.kubeconfig, editor, installed.account_kubeconfig())
    for kubeconfig in everybody:
        made(installed, kubeconfig, address("before"))
    door.shut(client)
    for kubeconfig in everybody:
        assert door.MESSAGE in made(installed, kubeconfig, address("meanwhile"), rc=1)
    generated = address("x")
    generated["metadata"] = {"generateName": "x-", "namespace": NAMESPACE}
    assert door.MESSAGE in made(installed, editor, generated, rc=1)
    # What is of others is none of its business.
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "other"}}
    made(installed, installed.plane.kubeconfig, lease)
    # Whoever was killed in the middle does it again.
    kinds = "validatingadmissionpolicy,validatingadmissionpolicybinding"
    installed.plane.kubectl("delete", "validatingadmissionpolicybinding", door.NAME)
    door.shut(client)
    assert door.MESSAGE in made(installed, editor, address("again"), rc=1)
    shown = installed.plane.kubectl("get", kinds, "-l", _LABELS, "-o", "name")
    assert shown.count(door.NAME) == 2
    assert door.open_again(client)
    assert not door.open_again(client)
    assert door.NAME not in installed.plane.kubectl("get", kinds, "-o", "name")

    def is_open() -> bool:
        with suppress(PlaneError):
            return "created" in made(installed, editor, address("after"))
        return False

    eventually(is_open)
