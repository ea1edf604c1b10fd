"""The control plane of ``./dev cluster``: a person's to try, kept in a folder, there until SIGTERM.

    python -m tests.cluster.tryout FOLDER PORT HYPERD_PORT

``FOLDER/kubeconfig`` is the administrator's, ``FOLDER/account.kubeconfig`` is hyperd's own account.
``FOLDER/ready`` is there while both can be used and the manifests are installed. What of it ends meanwhile is
started again, so that a person may see what an outage does.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from hyperd.resources.values.names import SYSTEM_NAMESPACE
from tests.cluster.controlplane.build import BuildError
from tests.cluster.controlplane.plane import ControlPlane, PlaneError
from tests.cluster.installation import account_kubeconfig, install

_REGISTRAR = "hyperd-registers-nodes"
_AUTHORITY = r"jsonpath={.data.requestheader-client-ca-file}"
_TOKEN_LIFE = "8760h"


def main() -> int:
    folder, port, hyperd_port = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ready = folder / "ready"
    ready.unlink(missing_ok=True)
    # Blocked, none of them is lost before it is waited for.
    awaited = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    plane = ControlPlane(folder, port=port)
    try:
        plane.start()
        install(plane, hyperd_port)
        _let_register_nodes(plane)
        plane.ensure_controllers()
        _await_front_proxy(plane)
        account_kubeconfig(plane, folder / "account.kubeconfig", duration=_TOKEN_LIFE)
        ready.touch()
        while signal.sigwait(awaited) == signal.SIGCHLD:
            ready.unlink()
            plane.revive()
            ready.touch()
    except (PlaneError, BuildError) as err:
        print(err, file=sys.stderr)
        return 1
    finally:
        ready.unlink(missing_ok=True)
        plane.stop()
    return 0


def _await_front_proxy(plane: ControlPlane) -> None:
    """The API server publishes its new front proxy's CA some moments after it is ready."""
    authority = plane.front_proxy.certificate.read_text().strip()
    deadline = time.monotonic() + 30
    while authority not in plane.kubectl(
        "get", "configmap/extension-apiserver-authentication", "-n", "kube-system", "-o", _AUTHORITY
    ):
        if time.monotonic() > deadline:
            raise PlaneError("The API server does not publish the CA of its front proxy.")
        time.sleep(0.2)


def _let_register_nodes(plane: ControlPlane) -> None:
    """There is no kubelet here, so hyperd makes the Node itself, which the manifests do not let it."""
    plane.kubectl("delete", "--ignore-not-found", "validatingadmissionpolicybinding/hyperd-nodes")
    group = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch", "update"]},
    ]
    plane.apply(
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": _REGISTRAR}, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": _REGISTRAR},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": _REGISTRAR},
            "subjects": [{"kind": "ServiceAccount", "name": "hyperd", "namespace": SYSTEM_NAMESPACE}],
        },
    )


if __name__ == "__main__":
    sys.exit(main())
