"""The manifests applied to a real API server as they are, and a hyperd for it to ask."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hyperd.api.serving.registration import API_SERVICE_OBJECT
from hyperd.store.kubernetes.store import KubernetesStore
from tests.cluster.controlplane.plane import ControlPlane, document, free_port
from tests.cluster.installation import account_kubeconfig, install, uninstall
from tests.cluster.installed.server import settings_in

NAMESPACE = "installed"


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
        """hyperd's own account, as its Pods have it."""
        return account_kubeconfig(self.plane, self.folder / "account.kubeconfig")

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
    port = free_port()
    made = Installed(plane, Server(folder, "alpha", "127.0.0.1", port), install(plane, port))
    try:
        plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        plane.ensure_controllers()
        made.server.start(made.account_kubeconfig())
        plane.kubectl("wait", f"apiservice/{API_SERVICE_OBJECT}", "--for=condition=Available", "--timeout=60s")
        yield made
    finally:
        uninstall(plane)
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
