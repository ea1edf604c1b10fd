"""``manifests/`` applied to a control plane as they are, and led to a hyperd on this machine's loopback.

Nothing forwards Services here, so after ``kubectl apply -k`` the Service is made to lead to a loopback port;
whatever refers to it keeps its name and only takes that port.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from hyperd.api.serving.registration import API_SERVICE_OBJECT
from hyperd.controllers.bootstrap import RECORD
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.names import SYSTEM_NAMESPACE
from tests.cluster.controlplane.plane import Cluster, PlaneError, document

MANIFESTS = Path(__file__).parents[2] / "manifests"
_CONVERTED = "crd/virtualmachineclasses.virtualization.deckhouse.io"
LEFT = "vm,vmop,vd,vi,vmip,vmipl,cvi,virtualmachineclasses.v1alpha2.virtualization.deckhouse.io"


def install(cluster: Cluster, port: int) -> str:
    """Apply the manifests; the API server will look for hyperd on loopback's ``port``. What kubectl said."""
    output = cluster.kubectl("apply", "-k", str(MANIFESTS))
    replace = [{"op": "replace", "path": "/spec", "value": {"type": "ExternalName", "externalName": "localhost"}}]
    _patch(cluster, "service/hyperd-api", replace, "-n", SYSTEM_NAMESPACE)
    _patch(cluster, f"apiservice/{API_SERVICE_OBJECT}", [_port("/spec/service/port", port)])
    _patch(cluster, _CONVERTED, [_port("/spec/conversion/webhook/clientConfig/service/port", port)])
    for kind in ("mutatingwebhookconfiguration", "validatingwebhookconfiguration"):
        found = document(cluster.kubectl("get", kind, "hyperd", "-o", "json"))
        paths = [f"/webhooks/{index}/clientConfig/service/port" for index in range(len(found["webhooks"]))]
        _patch(cluster, f"{kind}/hyperd", [_port(path, port) for path in paths])
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
    return output


def uninstall(cluster: Cluster) -> None:
    """Leave nothing behind that other users of this control plane would meet; the kinds stay."""
    names = (
        "mutatingwebhookconfiguration/hyperd", "validatingwebhookconfiguration/hyperd",
        "validatingadmissionpolicybinding/hyperd-status", "validatingadmissionpolicy/hyperd-status",
        "storageclass/local",
    )  # fmt: skip
    cluster.kubectl("delete", "--ignore-not-found", *names, f"apiservice/{API_SERVICE_OBJECT}")
    cluster.kubectl("delete", "--ignore-not-found", f"configmap/{RECORD}", "-n", SYSTEM_NAMESPACE)
    nobody_converts = {"spec": {"conversion": {"strategy": "None", "webhook": None}}}
    cluster.kubectl("patch", _CONVERTED, "--type=merge", "-p", json.dumps(nobody_converts))
    found = document(cluster.kubectl("get", LEFT, "-A", "-o", "json"))
    for obj in found["items"]:
        meta = obj["metadata"]
        where = ["-n", meta["namespace"]] if "namespace" in meta else []
        group, version = obj["apiVersion"].split("/")
        # A class in another version would be hyperd's to convert.
        target = f"{obj['kind'].lower()}.{version}.{group}/{meta['name']}"
        with suppress(PlaneError):
            cluster.kubectl("patch", target, "--type=merge", "-p", '{"metadata":{"finalizers":null}}', *where)
            cluster.kubectl("delete", "--ignore-not-found", "--wait=false", target, *where)


def account_kubeconfig(cluster: Cluster, path: Path, *, duration: str = "1h") -> Path:
    """hyperd's own account, as its Pods have it, in ``path``: what it may do is what the manifests say."""
    token = cluster.kubectl("create", "token", "hyperd", "-n", SYSTEM_NAMESPACE, f"--duration={duration}").strip()
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config))
    return path


def _port(path: str, port: int) -> Object:
    return {"op": "replace", "path": path, "value": port}


def _patch(cluster: Cluster, target: str, patch: Sequence[Any], *more: str) -> None:
    cluster.kubectl("patch", target, "--type=json", "-p", json.dumps(patch), *more)
