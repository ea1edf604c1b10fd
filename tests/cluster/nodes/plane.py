"""The control plane of a cluster with nodes: in a network of its own, with a scheduler and all controllers."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.controlplane.build import binary
from tests.cluster.controlplane.plane import ControlPlane, end
from tests.cluster.nodes import addresses
from tests.cluster.nodes.namespaces import Room

_CHECKOUT = Path(__file__).parents[3]


class NodesPlane(ControlPlane):
    """Listens on the nodes' bridge; the machine reaches it on the same port of its own loopback.

    Whatever asks Services is led to their endpoints by the API server itself, which has no kube-proxy beside it.
    """

    def __init__(self, folder: Path, room: Room, *, port: int = 0) -> None:
        self._room = room
        self._listening = socket.create_server(("127.0.0.1", port))
        self._relay: subprocess.Popen[bytes] | None = None
        self._scheduler: subprocess.Popen[bytes] | None = None
        super().__init__(folder, port=self._listening.getsockname()[1])
        self.kubelet_client = self.authority.client("kubelet-client", organization="system:masters")
        self.proxy = self.authority.client("system:kube-proxy")

    @property
    def nodes_url(self) -> str:
        """As nodes and Pods reach the API server."""
        return f"https://{addresses.GATEWAY}:{self.port}"

    def start(self) -> None:
        self._start_relay()
        super().start()
        self.ensure_controllers()
        account = self.client_kubeconfig("system:kube-scheduler")
        arguments = [f"--kubeconfig={account}", "--leader-elect=false", "--bind-address=127.0.0.1"]
        self._scheduler = self._spawn(str(binary("kube-scheduler")), arguments)

    def stop(self) -> None:
        # What it knows goes with it, so nobody waits for goodbyes.
        for process in (self._scheduler, self._controllers, self._server, self._etcd, self._relay):
            if process is not None:
                process.kill()
        end(self._scheduler)
        super().stop()
        end(self._relay)
        self._listening.close()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have the API server answer nobody while the block runs: requests hang."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._server.send_signal(signal.SIGCONT)

    def _start_relay(self) -> None:
        descriptor = self._listening.fileno()
        relay = [sys.executable, "-m", "tests.cluster.relay", f"fd:{descriptor}", f"tcp:{self.port}"]
        argv = ["setpriv", "--pdeathsig", "KILL", "--", *self._entering(), *relay]
        with (self.folder / "relay.log").open("ab") as log:
            self._relay = subprocess.Popen(
                argv, cwd=_CHECKOUT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[descriptor]
            )

    def _entering(self) -> list[str]:
        return self._room.entering("--net")

    def _names(self) -> tuple[str, ...]:
        return (*super()._names(), addresses.GATEWAY, addresses.KUBERNETES)

    def _server_arguments(self) -> list[str]:
        # The last of two flags counts.
        return [
            *super()._server_arguments(),
            "--bind-address=0.0.0.0", f"--advertise-address={addresses.GATEWAY}",
            f"--service-cluster-ip-range={addresses.SERVICES}", "--endpoint-reconciler-type=lease",
            "--enable-aggregator-routing=true", "--enable-admission-plugins=NodeRestriction",
            f"--kubelet-certificate-authority={self.authority.certificate}",
            f"--kubelet-client-certificate={self.kubelet_client.certificate}",
            f"--kubelet-client-key={self.kubelet_client.key}", "--kubelet-preferred-address-types=InternalIP",
        ]  # fmt: skip

    def _controllers_arguments(self) -> list[str]:
        account = self.client_kubeconfig("system:kube-controller-manager")
        return [
            f"--kubeconfig={account}", "--bind-address=127.0.0.1", "--secure-port=0", "--leader-elect=false",
            "--use-service-account-credentials", f"--service-account-private-key-file={self._accounts.key}",
            f"--root-ca-file={self.authority.certificate}", "--kube-api-qps=200", "--kube-api-burst=400",
            "--node-monitor-grace-period=24s", "--node-monitor-period=2s",
        ]  # fmt: skip
