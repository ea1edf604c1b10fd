"""``kubectl apply -k manifests/`` makes hyperd a part of the cluster."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from hyperd.errors import Forbidden
from hyperd.install.manifests import FOLDER, kustomized
from hyperd.resources.all import KINDS
from hyperd.resources.kinds.virtual_machine_snapshot import SNAPSHOT_SECRET_TYPE
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.names import CLOUD_INIT_SECRET_TYPE, SYSPREP_SECRET_TYPE, VMOP_RESTORE_ANNOTATION
from hyperd.store.interface import PatchType, Write
from hyperd.store.kubernetes.store import KubernetesStore
from tests.cluster.controlplane.plane import document
from tests.cluster.installation import MANIFESTS
from tests.cluster.installed.conftest import NAMESPACE, Installed, eventually
from tests.unit.admission.world import kind_of
from tests.unit.resources.samples import examples

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

OWNER = {"apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "0c4e4a3e-8a3c-4b8f-9d8e-1f7d9a6f3a11"}


def test_all_of_it_is_applied_at_once(installed: Installed) -> None:
    # Of kinds that another test of the run applied server-side, kubectl says that it will keep notes from now on.
    lines = [line for line in installed.output.splitlines() if "last-applied-configuration" not in line]
    assert len(lines) >= len(kustomized())
    assert all(line.endswith((" created", " configured", " serverside-applied", " unchanged")) for line in lines)
    assert MANIFESTS == FOLDER
    daemons = document(installed.plane.kubectl("get", "ds", "-n", "hyperd-system", "hyperd", "-o", "json"))
    assert daemons["spec"]["template"]["spec"]["serviceAccountName"] == "hyperd"


def test_the_api_server_learns_the_ca_from_hyperd(installed: Installed) -> None:
    plane = installed.plane
    secret = document(plane.kubectl("get", "secret", "-n", "hyperd-system", "hyperd-ca", "-o", "json"))
    hooks = document(plane.kubectl("get", "validatingwebhookconfiguration", "hyperd", "-o", "json"))
    told = {hook["clientConfig"]["caBundle"] for hook in hooks["webhooks"]}
    service = document(
        plane.kubectl("get", "apiservice", "v1alpha2.subresources.virtualization.deckhouse.io", "-o", "json")
    )
    assert told == {secret["data"]["tls.crt"]} == {service["spec"]["caBundle"]}
    assert b"BEGIN CERTIFICATE" in base64.b64decode(secret["data"]["tls.crt"])


def test_applying_again_keeps_the_ca(installed: Installed) -> None:
    plane = installed.plane
    before = plane.kubectl("get", "mutatingwebhookconfiguration", "hyperd", "-o", "json")
    bundle = document(before)["webhooks"][0]["clientConfig"]["caBundle"]
    plane.kubectl("apply", "-f", str(MANIFESTS / "webhooks.yaml"), "--dry-run=server")
    again = plane.kubectl("apply", "-f", str(MANIFESTS / "webhooks.yaml"), "--dry-run=server", "-o", "json")
    for item in document(again)["items"]:
        assert {hook["clientConfig"]["caBundle"] for hook in item["webhooks"]} == {bundle}


@pytest.mark.parametrize(
    ("patch", "refusal"),
    [
        ({"metadata": {"labels": {"virtualization.deckhouse.io/kvm-enabled": "true"}}}, ""),
        ({"metadata": {"labels": {"cpu-model.node.virtualization.deckhouse.io/Nehalem": "true"}}}, ""),
        ({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}, "only labels of virtualization"),
        ({"metadata": {"labels": {"kept": None}}}, "only labels of virtualization"),
        ({"metadata": {"labels": {"my-virtualization.deckhouse.io/a": ""}}}, "only labels of virtualization"),
        ({"metadata": {"labels": {"virtualization.deckhouse.io": ""}}}, "only labels of virtualization"),
        ({"metadata": {"annotations": {"a": "b"}}}, "nothing of a node but its labels"),
        ({"metadata": {"finalizers": ["example.org/a"]}}, "nothing of a node but its labels"),
        ({"metadata": {"ownerReferences": [OWNER]}}, "nothing of a node but its labels"),
        ({"spec": {"unschedulable": True}}, "nothing of a node but its labels"),
    ],
    ids=["kvm", "model", "role", "removed", "other-group", "bare", "annotation", "finalizer", "owner", "cordon"],
)
def test_hyperd_labels_nodes_and_no_more(installed: Installed, patch: Object, refusal: str) -> None:
    account = installed.account_kubeconfig()
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "metal", "labels": {"kept": "1"}}}
    installed.plane.apply(node)
    try:
        args = ("patch", "node/metal", "--type=merge", "-p", json.dumps(patch))
        said = installed.kubectl(account, *args, rc=1 if refusal else 0)
        assert refusal in said
    finally:
        installed.plane.kubectl("delete", "node/metal")


@pytest.mark.parametrize(
    ("role", "verb", "what", "allowed"),
    [
        ("view", "list", "virtualmachines.virtualization.deckhouse.io", True),
        ("view", "create", "virtualmachines.virtualization.deckhouse.io", False),
        ("view", "get", "virtualmachines.subresources.virtualization.deckhouse.io/console", False),
        ("edit", "create", "virtualdisks.virtualization.deckhouse.io", True),
        ("edit", "get", "virtualmachines.subresources.virtualization.deckhouse.io/console", True),
        ("edit", "get", "virtualmachineipaddressleases.virtualization.deckhouse.io", False),
        ("admin", "get", "virtualmachineipaddressleases.virtualization.deckhouse.io", True),
        ("admin", "delete", "virtualmachineipaddressleases.virtualization.deckhouse.io", False),
        ("hyperd:viewer", "get", "virtualmachines.subresources.virtualization.deckhouse.io/console", False),
        ("hyperd:privileged-user", "get", "virtualmachines.subresources.virtualization.deckhouse.io/vnc", True),
        ("hyperd:privileged-user", "patch", "virtualmachines.virtualization.deckhouse.io", False),
        ("hyperd:editor", "update", "virtualmachines.subresources.virtualization.deckhouse.io/freeze", True),
        ("hyperd:editor", "create", "virtualmachineclasses.virtualization.deckhouse.io", False),
        ("hyperd:cluster-editor", "create", "virtualmachineclasses.virtualization.deckhouse.io", True),
        ("hyperd:cluster-editor", "update", "virtualmachineipaddressleases.virtualization.deckhouse.io", False),
        ("hyperd:cluster-admin", "update", "virtualmachineipaddressleases.virtualization.deckhouse.io", True),
    ],
)
def test_a_role_allows_what_the_reference_says(
    installed: Installed, role: str, verb: str, what: str, allowed: bool
) -> None:
    user = f"holder-of-{role.replace(':', '-')}"
    installed.person(user, role)
    # All of them may do this; once the API server has heard of the binding, a no is a no.
    eventually(lambda: installed.may(user, "list", "virtualmachines.virtualization.deckhouse.io"))
    assert installed.may(user, verb, what) is allowed


@pytest.mark.parametrize(
    ("type_", "notes", "made", "refusal"),
    [
        (CLOUD_INIT_SECRET_TYPE, {VMOP_RESTORE_ANNOTATION: "uid"}, True, ""),
        (SYSPREP_SECRET_TYPE, {VMOP_RESTORE_ANNOTATION: "uid"}, True, ""),
        (CLOUD_INIT_SECRET_TYPE, {}, True, "hyperd removes no Secrets"),
        (SNAPSHOT_SECRET_TYPE, {VMOP_RESTORE_ANNOTATION: "uid"}, True, "hyperd removes no Secrets"),
        ("Opaque", {VMOP_RESTORE_ANNOTATION: "uid"}, False, "hyperd removes no Secrets"),
    ],
    ids=["its own", "its own for Windows", "a user's", "a snapshot's", "another"],
)
def test_hyperd_makes_secrets_for_machines_and_removes_those_of_copies(
    installed: Installed, type_: str, notes: Object, made: bool, refusal: str
) -> None:
    account = installed.account_kubeconfig()
    meta = {"name": "of-a-copy", "namespace": NAMESPACE, "annotations": notes}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": type_}
    where = ("secret/of-a-copy", "-n", NAMESPACE)
    text = json.dumps(secret)
    try:
        said = installed.kubectl(account, "create", "-f", "-", rc=0 if made else 1, stdin=text)
        assert made or "hyperd makes no Secrets" in said
        if not made:
            installed.plane.apply(secret)
        assert refusal in installed.kubectl(account, "delete", *where, rc=1 if refusal else 0)
    finally:
        installed.plane.kubectl("delete", "--ignore-not-found", *where)


async def test_a_status_is_written_by_hyperd_and_root(installed: Installed) -> None:
    """Not even by who may do everything else: every kind, by its admission policy."""
    almighty = await asyncio.to_thread(installed.person, "ada", "cluster-admin")
    what = "virtualimages.virtualization.deckhouse.io/status"
    await asyncio.to_thread(eventually, lambda: installed.may("ada", "patch", what))
    account = await asyncio.to_thread(installed.account_kubeconfig)
    stores = [KubernetesStore(path) for path in (almighty, account, installed.plane.kubeconfig)]
    for store in stores:
        await store.start()
    ada, hyperd, root = stores
    tried = {obj["kind"]: obj for obj in examples()}
    assert set(tried) == {kind.kind for kind in KINDS if not kind.core}
    # No class is the default here, unless another test of the run made one.
    tried["VirtualMachine"]["spec"] |= {"virtualMachineClassName": "a", "cpu": {"cores": 1, "coreFraction": "5%"}}
    patch: Object = {"status": {"observedGeneration": 7}}
    to_status: dict[str, Any] = {"subresource": "status", "write": Write(dry_run=True)}
    for obj in tried.values():
        kind = kind_of(obj)
        namespace = NAMESPACE if kind.namespaced else ""
        where = {"namespace": namespace} if namespace else {}
        await root.create(kind, namespace, {**obj, "metadata": {"name": "status", **where}})
        try:
            with pytest.raises(Forbidden, match="so hyperd alone writes it"):
                await ada.patch(kind, namespace, "status", PatchType.MERGE, patch, **to_status)
            for store in (hyperd, root):
                await store.patch(kind, namespace, "status", PatchType.MERGE, patch, **to_status)
            labels = {"metadata": {"labels": {"a": "b"}}}
            await ada.patch(kind, namespace, "status", PatchType.MERGE, labels, write=Write(dry_run=True))
        finally:
            free = {"metadata": {"finalizers": None}}
            await root.patch(kind, namespace, "status", PatchType.MERGE, free)
            await root.delete(kind, namespace, "status")
    for store in stores:
        await store.close()
