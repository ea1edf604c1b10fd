"""A control plane: etcd, a real kube-apiserver and, when asked for, the controllers that collect what is deleted.

One plane serves a whole test run. It listens on loopback only, keeps its data in a folder of its own, without
fsync unless it shall be durable, and dies with the process that started it.
"""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.controlplane.build import binary
from tests.cluster.controlplane.certificates import Authority, Pair, signing_key

_READY_SECONDS = 60.0
_STOP_SECONDS = 10.0
_SERVICE_CIDR = "10.97.0.0/24"
_SERVICE_ADDRESS = "10.97.0.1"


class PlaneError(Exception):
    """The control plane does not come up, or kubectl says no; the sentence says why."""


class Cluster:
    """Any cluster that a kubeconfig leads to, with administrator's rights."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    def start(self) -> None:
        """Make sure that it answers."""
        self.kubectl("get", "--raw", "/readyz")

    def stop(self) -> None:
        """End what was started for the run."""

    def ensure_controllers(self) -> None:
        """Have a garbage collector and a namespace controller that know every kind applied so far."""

    def kubectl(self, *args: str, stdin: str = "", rc: int = 0) -> str:
        """kubectl's output, both streams. Raises PlaneError when it does not end with ``rc``."""
        argv = [str(binary("kubectl")), "--kubeconfig", str(self.kubeconfig), *args]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=120, check=False)
        output = done.stdout + done.stderr
        if done.returncode != rc:
            raise PlaneError(f"kubectl {' '.join(args)} ended with {done.returncode}:\n{output}")
        return output

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply server-side; definitions of resources are served when this returns."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(objects))
        names = [obj["metadata"]["name"] for obj in objects if obj["kind"] == "CustomResourceDefinition"]
        if names:
            definitions = [f"crd/{name}" for name in names]
            self.kubectl("wait", "--for=condition=Established", "--timeout=30s", *definitions)


class ControlPlane(Cluster):
    """A control plane of our own, in a folder that goes with it."""

    def __init__(self, folder: Path | None = None, *, port: int = 0, durable: bool = False) -> None:
        """A ``folder`` that is given stays, with what etcd holds; ``port`` 0 takes any."""
        self._durable = durable
        self._keeps = folder is not None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="hv-plane-"))
        super().__init__(self.folder / "kubeconfig")
        self.port = port or free_port()
        self._etcd_port = free_port()
        self._make_certificates()
        self._etcd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._controllers: subprocess.Popen[bytes] | None = None
        self._controllers_outdated = False

    def start(self) -> None:
        """Start etcd and the API server; returns when it is ready, some seconds later. Raises PlaneError."""
        self.start_etcd()
        self.start_server()

    def start_etcd(self) -> None:
        """Start etcd alone."""
        self._etcd = self._spawn("etcd", self._etcd_arguments())

    def stop(self) -> None:
        """End all processes and remove the folder, unless it was given. Safe to call at any time."""
        for process in (self._controllers, self._server, self._etcd):
            end(process)
        if not self._keeps:
            shutil.rmtree(self.folder, ignore_errors=True)

    def revive(self) -> None:
        """Start again what ended by itself or was killed. Raises PlaneError."""
        if self._etcd is not None and self._etcd.poll() is not None:
            self._etcd = self._spawn("etcd", self._etcd_arguments())
        if self._server is not None and self._server.poll() is not None:
            self.start_server()
        if self._controllers is not None and self._controllers.poll() is not None:
            self.ensure_controllers()

    def start_server(self) -> None:
        """Start the API server alone, over what etcd holds."""
        self._server = self._spawn(str(binary("kube-apiserver")), self._server_arguments())
        self._wait_ready()

    def stop_server(self) -> None:
        """End the API server; etcd goes on."""
        end(self._server)

    def stop_etcd(self) -> None:
        """End etcd, after the API server: its data folder is whole then."""
        end(self._etcd)

    def raise_revision(self, beyond: int) -> None:
        """Write to etcd until its revision is larger than ``beyond``, as a restore that bumps it would have it."""
        key = base64.b64encode(b"/tests/revision").decode()
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self._etcd_port, timeout=10)
            try:
                while True:
                    connection.request("POST", "/v3/kv/put", json.dumps({"key": key, "value": key}))
                    answer = json.loads(connection.getresponse().read())
                    if int(answer["header"]["revision"]) > beyond:
                        return
            except (OSError, http.client.HTTPException, KeyError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            finally:
                connection.close()

    @property
    def revision(self) -> int:
        """Of etcd."""
        connection = http.client.HTTPConnection("127.0.0.1", self._etcd_port, timeout=10)
        key = base64.b64encode(b"/tests/revision").decode()
        try:
            connection.request("POST", "/v3/kv/range", json.dumps({"key": key}))
            return int(json.loads(connection.getresponse().read())["header"]["revision"])
        finally:
            connection.close()

    def kill_server(self) -> None:
        """End the API server without a chance to say goodbye."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()

    def apply(self, *objects: dict[str, Any]) -> None:
        super().apply(*objects)
        self._controllers_outdated |= any(obj["kind"] == "CustomResourceDefinition" for obj in objects)

    def ensure_controllers(self) -> None:
        # The garbage collector looks for new kinds every 30 seconds only; started anew it knows them at once.
        if self._controllers is not None and self._controllers.poll() is None and not self._controllers_outdated:
            return
        end(self._controllers)
        program = str(binary("kube-controller-manager"))
        self._controllers = self._spawn(program, self._controllers_arguments())
        self._controllers_outdated = False

    def client_kubeconfig(self, name: str, *, organization: str = "") -> Path:
        """A kubeconfig for another user than the administrator."""
        path = self.folder / f"{name.replace(':', '-')}.kubeconfig"
        self._write_kubeconfig(path, self.authority.client(name, organization=organization))
        return path

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the API server and etcd."""
        return tuple(process.pid for process in (self._server, self._etcd) if process is not None)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def _make_certificates(self) -> None:
        self.authority = Authority(self.folder, "ca")
        self.front_proxy = Authority(self.folder, "front-proxy-ca")
        self._serving = self.authority.server("kube-apiserver", names=self._names())
        self._proxying = self.front_proxy.client("front-proxy-client")
        self._accounts = signing_key(self.folder, "service-accounts")
        self.admin = self.authority.client("admin", organization="system:masters")
        self._write_kubeconfig(self.kubeconfig, self.admin)

    def _names(self) -> tuple[str, ...]:
        """What clients may call the API server."""
        return ("localhost", "127.0.0.1", "kubernetes", "kubernetes.default.svc", _SERVICE_ADDRESS)

    def _entering(self) -> list[str]:
        """The start of a command line that runs the rest where this plane's programs run."""
        return []

    def _write_kubeconfig(self, path: Path, pair: Pair) -> None:
        cluster = {"server": self.url, "certificate-authority": str(self.authority.certificate)}
        user = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "plane", "cluster": cluster}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "plane", "context": {"cluster": "plane", "user": "user"}}],
            "current-context": "plane",
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))

    def _etcd_arguments(self) -> list[str]:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{free_port()}"
        return [
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}", "--logger=zap",
            *(() if self._durable else ("--unsafe-no-fsync",)),
        ]  # fmt: skip

    def _server_arguments(self) -> list[str]:
        return [
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}", "--bind-address=127.0.0.1",
            # Otherwise it takes the address of the default route, which not every host has.
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}", f"--cert-dir={self.folder / 'generated'}",
            f"--tls-cert-file={self._serving.certificate}", f"--tls-private-key-file={self._serving.key}",
            f"--client-ca-file={self.authority.certificate}",
            f"--service-account-key-file={self._accounts.certificate}",
            f"--service-account-signing-key-file={self._accounts.key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=Node,RBAC", f"--service-cluster-ip-range={_SERVICE_CIDR}",
            "--allow-privileged=true", "--endpoint-reconciler-type=none",
            f"--requestheader-client-ca-file={self.front_proxy.certificate}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={self._proxying.certificate}",
            f"--proxy-client-key-file={self._proxying.key}",
        ]  # fmt: skip

    def _controllers_arguments(self) -> list[str]:
        return [
            f"--kubeconfig={self.kubeconfig}", "--bind-address=127.0.0.1", "--secure-port=0",
            "--leader-elect=false", "--kube-api-qps=200", "--kube-api-burst=400",
            "--controllers=garbage-collector-controller,namespace-controller,clusterrole-aggregation-controller",
        ]  # fmt: skip

    def _spawn(self, program: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        path = shutil.which(program)
        if path is None:
            raise PlaneError(f"{program} is not installed; run: apt-get install {program}-server")
        # pdeathsig: nothing of the plane outlives a test run that is killed.
        argv = ["setpriv", "--pdeathsig", "KILL", "--", *self._entering(), path, *arguments]
        with self._log(program).open("ab") as log:
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)

    def _log(self, program: str) -> Path:
        return self.folder / f"{Path(program).name}.log"

    def _wait_ready(self) -> None:
        assert self._server is not None
        assert self._etcd is not None
        deadline = time.monotonic() + _READY_SECONDS
        while not self._is_ready():
            for process, program in ((self._server, "kube-apiserver"), (self._etcd, "etcd")):
                if process.poll() is not None or time.monotonic() > deadline:
                    tail = "\n".join(self._log(program).read_text(errors="replace").splitlines()[-15:])
                    raise PlaneError(f"The control plane does not become ready; {program} says:\n{tail}")
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        context.load_cert_chain(self.admin.certificate, self.admin.key)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=5, context=context)
        try:
            for path in ("/readyz", "/api/v1/namespaces/default"):
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    return False
            return True
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end(process: subprocess.Popen[bytes] | None) -> None:
    """End it, with force where it takes long; safe for what never ran or ended."""
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def document(text: str) -> Any:
    """The JSON that kubectl printed, before any warning."""
    return json.JSONDecoder().raw_decode(text)[0]
