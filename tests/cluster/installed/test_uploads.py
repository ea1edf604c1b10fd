"""Uploads through the API server's aggregation layer, to the daemon that imports, whichever of them is asked."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE, VIRTUAL_DISK, VIRTUAL_IMAGE
from hyperd.store.kubernetes.store import KubernetesStore
from tests.cluster.installed.conftest import NAMESPACE, Installed, eventually
from tests.cluster.installed.test_daemon import phase, remove, until
from tests.unit.registry.world import qcow2_bytes

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
HOST = "127.0.0.3"


@pytest.fixture(scope="module")
def importing(installed: Installed) -> Iterator[Path]:
    """The log of a daemon on a node of its own, to which no Service leads."""
    folder = Path(tempfile.mkdtemp(prefix="hvu"))
    installed.plane.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "metal"}})
    conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]
    status = {"status": {"addresses": [{"type": "InternalIP", "address": HOST}], "conditions": conditions}}
    args = ("patch", "node/metal", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    installed.plane.kubectl(*args)
    argv = ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "tests.testdriver"]
    for key, value in {
        "instance": "uploads",
        "node_name": "metal",
        "home": "kubernetes",
        "kubernetes.kubeconfig": installed.account_kubeconfig(),
        "state_dir": folder / "s",
        "run_dir": folder / "r",
        "log_dir": folder / "l",
        "api.port": 0,
        "aggregation.host": HOST,
        "aggregation.port": installed.port,
        "hypervisor.uri": "test:///default",
        "kubernetes.allow_emulation": True,
        "storage.reserve_bytes": 0,
        "log.format": "text",
    }.items():
        argv += ["--set", f"{key}={value}"]
    with (folder / "log").open("w") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output)
    try:
        yield folder / "log"
    finally:
        process.terminate()
        process.wait(30)
        installed.plane.kubectl("delete", "node/metal")
        shutil.rmtree(folder, ignore_errors=True)


async def hv(kubeconfig: Path, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hyperd.cli.main", *arguments, "--kubeconfig", str(kubeconfig), "-n", NAMESPACE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 120)
    return process.returncode or 0, out.decode()


async def test_it_reaches_the_daemon_that_imports(
    installed: Installed, importing: Path, admin_store: KubernetesStore, tmp_path: Path
) -> None:
    image = tmp_path / "a.qcow2"
    image.write_bytes(await qcow2_bytes(tmp_path, data=3 << 20))
    person = installed.person("ursula", "hyperd:cluster-editor")
    wanted = "clustervirtualimages.subresources.virtualization.deckhouse.io/upload"
    await asyncio.to_thread(eventually, lambda: installed.may("ursula", "get", wanted))
    for target, kind in (
        ("vi/sent", VIRTUAL_IMAGE),
        ("cvi/sent", CLUSTER_VIRTUAL_IMAGE),
        ("vd/sent", VIRTUAL_DISK),
    ):
        code, said = await hv(person, "upload", str(image), target)
        assert (code, "is Ready" in said) == (0, True), said
        namespace = NAMESPACE if kind.namespaced else ""
        found = (await admin_store.get(kind, namespace, "sent")).object()
        assert "imageUploadURLs" not in found["status"]
        await until(admin_store, kind, "sent", phase("Ready"))
    for kind in (VIRTUAL_IMAGE, VIRTUAL_DISK):
        await remove(admin_store, kind, "sent")
    await admin_store.delete(CLUSTER_VIRTUAL_IMAGE, "", "sent")


async def test_who_may_only_look_is_told_so_and_sees_no_address(
    installed: Installed, importing: Path, admin_store: KubernetesStore, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(bytes(9000))
    viewer = installed.person("vera", "hyperd:viewer")
    await asyncio.to_thread(eventually, lambda: installed.may("vera", "get", VIRTUAL_IMAGE.qualified_resource))
    spec = {"storage": "ContainerRegistry", "dataSource": {"type": "Upload"}}
    body = {"apiVersion": VIRTUAL_IMAGE.api_version, "kind": "VirtualImage", "metadata": {"name": "shut"}}
    await admin_store.create(VIRTUAL_IMAGE, NAMESPACE, {**body, "spec": spec})
    await until(admin_store, VIRTUAL_IMAGE, "shut", phase("WaitForUserUpload"))
    code, said = await hv(viewer, "upload", str(tmp_path / "a"), "vi/shut")
    assert (code, "cannot get resource" in said) == (1, True), said
    found = (await admin_store.get(VIRTUAL_IMAGE, NAMESPACE, "shut")).object()
    assert "imageUploadURLs" not in found["status"], "an API server shows it to whoever may look"
    await remove(admin_store, VIRTUAL_IMAGE, "shut")
