"""What others have set is named by ``hv upgrade``, on a real API server, and overridden at a word only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hyperd.cli.cluster import bundle, install
from hyperd.cli.cluster.applying import apply
from hyperd.client.kubeconfig import load
from hyperd.client.sync import Client
from hyperd.errors import Conflict
from tests.cluster.installed.conftest import Installed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

_LABEL = "app.kubernetes.io/name"
_POLICY = ("validatingadmissionpolicybinding", "hyperd-nodes")


@pytest.fixture
def client(installed: Installed) -> Iterator[Client]:
    made = Client(load([str(installed.plane.kubeconfig)]).home())
    installed.plane.kubectl("label", *_POLICY, f"{_LABEL}=mine", "--overwrite")
    yield made
    made.close()
    installed.plane.kubectl("label", *_POLICY, f"{_LABEL}=hyperd", "--overwrite")


def test_what_somebody_else_has_set_is_named_and_kept(installed: Installed, client: Client) -> None:
    objects = [
        obj
        for obj in bundle.load("hyperd")
        if (obj["kind"].lower(), obj["metadata"]["name"]) == _POLICY or obj["kind"] == "ClusterRole"
    ]
    with pytest.raises(Conflict) as caught:
        install._refuse_overriding(client, objects)
    named, word = caught.value.message.splitlines()[1:]
    assert named.startswith("- validatingadmissionpolicybinding/hyperd-nodes .metadata.labels.")
    assert named.endswith(": set by kubectl-label")
    assert "--force-conflicts" in word
    (policy,) = (obj for obj in objects if obj["kind"] != "ClusterRole")
    with pytest.raises(Conflict, match="kubectl-label"):
        apply(client, policy)
    shown = ("get", *_POLICY, "-o", f"jsonpath={{.metadata.labels.{_LABEL.replace('.', chr(92) + '.')}}}")
    assert installed.plane.kubectl(*shown) == "mine"
    assert apply(client, policy, force=True) == "changed"
    assert installed.plane.kubectl(*shown) == "hyperd"
    # What is hv's own by now is nobody else's.
    install._refuse_overriding(client, objects)
