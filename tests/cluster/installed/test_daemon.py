"""The daemon itself under the account that the manifests give it: it may do all that it tries to."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hyperd.resources.all import (
    NODE,
    VIRTUAL_DISK,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_CLASS,
    VIRTUAL_MACHINE_OPERATION,
)
from hyperd.resources.schema.kind import Kind, Object
from hyperd.store.interface import EventType, PatchType
from hyperd.store.kubernetes.store import KubernetesStore
from tests.cluster.installed.conftest import NAMESPACE, Installed
from tests.unit.admission.world import make

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture
def log(installed: Installed) -> Iterator[Path]:
    """Of a daemon over libvirt's test driver, which has a node of the cluster for its own."""
    folder = Path(tempfile.mkdtemp(prefix="hvd"))
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "metal"}}
    installed.plane.apply(node)
    argv = ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "tests.testdriver"]
    for key, value in {
        "instance": folder.name.lower().replace("_", "x")[-12:].strip("-"),
        "node_name": "metal",
        "home": "kubernetes",
        "kubernetes.kubeconfig": installed.account_kubeconfig(),
        "state_dir": folder / "s",
        "run_dir": folder / "r",
        "log_dir": folder / "l",
        "api.port": 0,
        "aggregation.port": 0,
        "hypervisor.uri": "test:///default",
        "kubernetes.allow_emulation": True,
        "storage.reserve_bytes": 0,
        "log.format": "text",
    }.items():
        argv += ["--set", f"{key}={value}"]
    path = folder / "log"
    with path.open("w") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output)
    try:
        yield path
    finally:
        process.terminate()
        process.wait(30)
        installed.plane.kubectl("delete", "node/metal")
        shutil.rmtree(folder, ignore_errors=True)


async def until(store: KubernetesStore, kind: Kind, name: str, holds: Callable[[Object], bool]) -> None:
    """Wait, on the watch, until ``holds`` is true of the object."""
    namespace = NAMESPACE if kind.namespaced else None
    async with asyncio.timeout(60), store.watch(kind, namespace) as events:
        async for event in events:
            if event.item.name == name and event.type is not EventType.DELETED and holds(event.item.object()):
                return


async def remove(store: KubernetesStore, kind: Kind, name: str) -> None:
    """Delete, and wait until the daemon has let it go."""
    async with asyncio.timeout(60), store.watch(kind, NAMESPACE) as events:
        await store.delete(kind, NAMESPACE, name)
        async for event in events:
            if event.item.name == name and event.type is EventType.DELETED:
                return


def phase(wanted: str) -> Callable[[Object], bool]:
    return lambda obj: bool((obj.get("status") or {}).get("phase") == wanted)


def obj(kind: Kind, name: str, **spec: object) -> Object:
    return make(kind.kind, name, namespace=NAMESPACE, spec=spec)


async def test_a_machine_lives_and_dies_within_the_rights_of_the_manifests(
    log: Path, admin_store: KubernetesStore
) -> None:
    store = admin_store
    ready = {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}
    await store.patch(NODE, "", "metal", PatchType.MERGE, {"status": ready}, subresource="status")
    await until(store, VIRTUAL_MACHINE_CLASS, "generic", phase("Ready"))
    await store.create(VIRTUAL_DISK, NAMESPACE, obj(VIRTUAL_DISK, "root", persistentVolumeClaim={"size": "1Mi"}))
    machine = obj(
        VIRTUAL_MACHINE,
        "web",
        cpu={"cores": 1},
        memory={"size": "128Mi"},
        blockDeviceRefs=[{"kind": "VirtualDisk", "name": "root"}],
        terminationGracePeriodSeconds=0,
    )
    await store.create(VIRTUAL_MACHINE, NAMESPACE, machine)
    await until(store, VIRTUAL_MACHINE, "web", phase("Running"))
    stop = obj(VIRTUAL_MACHINE_OPERATION, "stop", type="Stop", virtualMachineName="web", force=True)
    await store.create(VIRTUAL_MACHINE_OPERATION, NAMESPACE, stop)
    await until(store, VIRTUAL_MACHINE_OPERATION, "stop", phase("Completed"))
    await remove(store, VIRTUAL_MACHINE, "web")
    await remove(store, VIRTUAL_DISK, "root")
    told = await asyncio.to_thread(log.read_text)
    assert "serves node metal" in told
    assert "orbidden" not in told
    assert " ERROR " not in told, told
