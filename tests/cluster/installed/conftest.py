"""The manifests applied to a real API server as they are, and a hyperd for it to ask.

Nothing forwards Services on this machine, so after ``kubectl apply -k`` the Service is made to lead to a loopback
port; whatever refers to it keeps its name and only takes that port.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from hyperd.api.registration import API_SERVICE_OBJECT
from hyperd.resources.kind import Object
from hyperd.store.kubernetes import KubernetesStore
from tests.cluster.controlplane.plane import ControlPlane, PlaneError, document, free_port
from tests.cluster.installed.server import settings_in

NAMESPACE = "installed"
MANIFESTS = Path(__file__).parents[3] / "manifests"
LEFT = "vm,vmop,vd,vi,vmip,cvi,virtualmachineclasses.v1alpha2.virtualization.deckhouse.io"


@dataclass
class Server:
    """A hyperd process that serves the cluster, as the one of ``node``."""

    folder: Path
    node: str
    host: str
    port: int
    process: subprocess.Popen[str] | None = None

    def start(self, kubeconfig: Path) -> None:
        """Start the process; returns when the API server trusts it."""
        self.console_dir.mkdir(mode=0o711, exist_ok=True)
        argv = ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "tests.cluster.installed.server"]
        argv += [str(self.folder), str(kubeconfig), self.node, self.host, str(self.port)]
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "registered\n":
            raise AssertionError(self.log())

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    @property
    def console_dir(self) -> Path:
        return settings_in(self.folder, self.node, self.host, self.port).console_dir


@dataclass
class Installed:
    """The cluster with hyperd installed, and the hyperd process that serves it."""

    plane: ControlPlane
    server: Server
    output: str
    """What ``kubectl apply -k`` said."""

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def folder(self) -> Path:
        return self.server.folder

    def account_kubeconfig(self) -> Path:
        """hyperd's own account, as its Pods have it: what it may do is what the manifests say."""
        token = self.plane.kubectl("create", "token", "hyperd", "-n", "hyperd-system", "--duration=1h").strip()
        config = yaml.safe_load(self.plane.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        path = self.folder / "account.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))
        return path

    def person(self, name: str, *roles: str) -> Path:
        """A kubeconfig for somebody who has these ClusterRoles everywhere."""
        group = "rbac.authorization.k8s.io"
        bindings = [
            {
                "apiVersion": f"{group}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": f"{name}:{role}"},
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": group, "kind": "User", "name": name}],
            }
            for role in roles
        ]
        self.plane.apply(*bindings)
        return self.plane.client_kubeconfig(name)

    def may(self, user: str, verb: str, what: str) -> bool:
        """Whether RBAC lets ``user`` do so to ``RESOURCE.GROUP[/SUBRESOURCE]`` in the tests' namespace."""
        qualified, _, subresource = what.partition("/")
        resource, _, group = qualified.partition(".")
        attributes = {"verb": verb, "group": group, "resource": resource, "subresource": subresource}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": {**attributes, "namespace": NAMESPACE}},
        }
        said = self.plane.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review))
        return bool(document(said)["status"]["allowed"])

    def kubectl(self, kubeconfig: Path, *args: str, stdin: str = "", rc: int = 0) -> str:
        """kubectl as somebody else."""
        return self.plane.kubectl(*args, "--kubeconfig", str(kubeconfig), stdin=stdin, rc=rc)


@pytest.fixture(scope="package")
def installed(control_plane: ControlPlane) -> Iterator[Installed]:
    plane, folder = control_plane, Path(tempfile.mkdtemp(prefix="hvi"))
    output = plane.kubectl("apply", "-k", str(MANIFESTS))
    made = Installed(plane, Server(folder, "alpha", "127.0.0.1", free_port()), output)
    try:
        _lead_to(plane, made.port)
        plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
        plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        plane.ensure_controllers()
        made.server.start(made.account_kubeconfig())
        plane.kubectl("wait", f"apiservice/{API_SERVICE_OBJECT}", "--for=condition=Available", "--timeout=60s")
        yield made
    finally:
        _uninstall(plane)
        made.server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def editor(installed: Installed) -> Path:
    kubeconfig = installed.person("edith", "hyperd:cluster-editor", "edit")
    eventually(lambda: installed.may("edith", "create", "secrets"))
    return kubeconfig


@pytest.fixture
async def admin_store(installed: Installed) -> AsyncIterator[KubernetesStore]:
    store = KubernetesStore(installed.plane.kubeconfig)
    await store.start()
    yield store
    await store.close()


@pytest.fixture
async def store(editor: Path) -> AsyncIterator[KubernetesStore]:
    """As a user who may edit everything, and is none of hyperd's own."""
    store = KubernetesStore(editor)
    await store.start()
    yield store
    await store.close()


def eventually(holds: Callable[[], bool], seconds: float = 15) -> None:
    """Wait for what API servers do behind the scenes, which they tell nobody about."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.2)


def _lead_to(plane: ControlPlane, port: int) -> None:
    replace = [{"op": "replace", "path": "/spec", "value": {"type": "ExternalName", "externalName": "localhost"}}]
    _patch(plane, "service/hyperd-api", replace, "-n", "hyperd-system")
    _patch(plane, f"apiservice/{API_SERVICE_OBJECT}", [_port("/spec/service/port", port)])
    crd = "crd/virtualmachineclasses.virtualization.deckhouse.io"
    _patch(plane, crd, [_port("/spec/conversion/webhook/clientConfig/service/port", port)])
    for kind in ("mutatingwebhookconfiguration", "validatingwebhookconfiguration"):
        found = document(plane.kubectl("get", kind, "hyperd", "-o", "json"))
        paths = [f"/webhooks/{index}/clientConfig/service/port" for index in range(len(found["webhooks"]))]
        _patch(plane, f"{kind}/hyperd", [_port(path, port) for path in paths])


def _port(path: str, port: int) -> Object:
    return {"op": "replace", "path": path, "value": port}


def _patch(plane: ControlPlane, target: str, patch: Sequence[Any], *more: str) -> None:
    plane.kubectl("patch", target, "--type=json", "-p", json.dumps(patch), *more)


def _uninstall(plane: ControlPlane) -> None:
    """Leave nothing behind that other tests of this control plane would meet; the kinds stay."""
    names = ("mutatingwebhookconfiguration/hyperd", "validatingwebhookconfiguration/hyperd", "storageclass/local")
    plane.kubectl("delete", "--ignore-not-found", *names, f"apiservice/{API_SERVICE_OBJECT}")
    plane.kubectl("delete", "--ignore-not-found", "configmap/hyperd-bootstrap", "-n", "kube-system")
    found = document(plane.kubectl("get", LEFT, "-A", "-o", "json"))
    for obj in found["items"]:
        meta = obj["metadata"]
        where = ["-n", meta["namespace"]] if "namespace" in meta else []
        group, version = obj["apiVersion"].split("/")
        # A class in another version would be hyperd's to convert.
        target = f"{obj['kind'].lower()}.{version}.{group}/{meta['name']}"
        plane.kubectl("patch", target, "--type=merge", "-p", '{"metadata":{"finalizers":null}}', *where)
        with suppress(PlaneError):
            plane.kubectl("delete", "--ignore-not-found", "--wait=false", target, *where)
