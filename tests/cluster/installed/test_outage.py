"""While no hyperd answers, nothing unjudged gets in, what it does not judge goes on, and all of it heals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from hyperd.resources.schema.kind import Object
from tests.cluster.controlplane.plane import PlaneError
from tests.cluster.installed.conftest import NAMESPACE, Installed, eventually
from tests.cluster.installed.test_admission import disk, secret
from tests.unit.admission.world import make

GROUP = "/apis/subresources.virtualization.deckhouse.io/v1alpha2"
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture
def outage(installed: Installed, editor: Path) -> Iterator[None]:
    """hyperd stops after a disk was made, and is started again."""
    installed.kubectl(editor, "create", "-f", "-", stdin=yaml.safe_dump(disk()))
    installed.server.stop()
    try:
        yield
    finally:
        if installed.server.process is None:
            installed.server.start(installed.account_kubeconfig())


def test_writes_wait_for_their_judge_and_nothing_else_does(
    installed: Installed, editor: Path, outage: None
) -> None:
    def create(obj: Object, *, rc: int = 0) -> str:
        return installed.kubectl(editor, "create", "-f", "-", stdin=yaml.safe_dump(obj), rc=rc)

    another = make("VirtualDisk", "other", namespace=NAMESPACE, spec={"persistentVolumeClaim": {"size": "1Gi"}})
    assert "failed calling webhook" in create(another, rc=1)
    # Secrets are the whole cluster's; of ours every kind that users make has rules.
    create(secret("cloud-init"))
    kinds = ("secret/provisioning", "vd/root")
    said = installed.kubectl(editor, "delete", "--wait=false", "-n", NAMESPACE, *kinds)
    assert said.count("deleted") == len(kinds), "a deletion is nobody's to judge; finalizers hold the disk"

    installed.server.start(installed.account_kubeconfig())
    create(another)
    eventually(lambda: "virtualmachines/console" in _raw(installed, GROUP), 60)


def _raw(installed: Installed, path: str) -> str:
    try:
        return installed.plane.kubectl("get", "--raw", path)
    except PlaneError:
        return ""


def test_a_restarted_api_server_finds_hyperd_again(installed: Installed, editor: Path) -> None:
    installed.plane.stop_server()
    installed.plane.start_server()

    def judged() -> bool:
        try:
            wrong = disk(None)
            said = installed.kubectl(editor, "create", "-f", "-", stdin=yaml.safe_dump(wrong), rc=1)
        except PlaneError:
            return False
        return "a blank disk needs a size" in said

    eventually(judged, 60)
    eventually(lambda: "virtualmachines/console" in _raw(installed, GROUP), 60)
