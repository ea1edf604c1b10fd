"""Each field of a status that is read by who acts on it, and why it may be.

A status can be forged by whoever could write it once, so nothing in one leads to what its object does not own. A
field that is read anew stands in no row here and fails, until its row says where the trust comes from.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import hyperd

_FOLDER = Path(hyperd.__file__).parent
_READERS = ("controllers", "runtime", "admission", "api/serving/peers.py")

SHOWN = "shown to people, or compared with what is to be shown; nothing is done by it"
OWN = (
    "tells how far the object's own work is; a wrong one delays or repeats that work on what is the object's alone"
)

TRUST = {
    "phase": OWN,
    "observedGeneration": OWN,
    "stats": OWN,
    "retry": OWN,
    "operation": OWN,
    "phaseTimer": OWN,
    "startTimer": OWN,
    "retentionTimer": OWN,
    "stageTimer": OWN,
    "source": "of a snapshot: what is taken is the disk that is called so in its namespace, if it has that uid; "
    "the rest is what a disk made of it in the same namespace asks for",
    "virtualDiskSnapshotNames": "of its own namespace, where each of them could be used as well",
    "consistent": SHOWN,
    "volumeSnapshotName": "only whether it is there, for a condition: a snapshot is found by its object's uid",
    "wasRunning": "whether the machine that the operation stopped is started again",
    "imageUploadURLs": "ends in a secret that opens no more than the upload of the object itself",
    "resources": SHOWN,
    "capacity": "shown; and of a pool's disk that names no size, what its template's size is compared with: "
    "growing it is the disk's controller's, which asks the volume. Of a claim the cluster's storage writes it",
    "creating": "of a pool, which its controller writes: names of machines that are made only where they are free",
    "freeDisks": "of a pool, which its controller writes: how long disks are free that the pool itself owns",
    "size": "shown; and what a disk of an image claims first, of a quota or of the cluster's storage: it "
    "claims what is wanting once the registry's own description of the image is read",
    "progress": SHOWN,
    "downloadSpeed": SHOWN,
    "cdrom": "warns; what a disk is made of is read from the registry's own description of the image",
    "restartAwaitingChanges": SHOWN,
    "availableNodes": SHOWN,
    "target": "kept beside what is derived; of several volumes of the disk's own uid it says which is meant",
    "migrationState": "only that the disk has moved once, and so where its snapshots may be looked for, too",
    "registryURL": "only whether it is another registry's, which is refused; image.reference_of derives "
    "the rest from kind, namespace, name and uid",
    "address": "the lease named for it must name the address object, by name and uid",
    "virtualMachineName": "keeps an address from a second machine of its namespace; the lease decides",
    "virtualMachineIPAddressName": "holds an address of the machine's own namespace while the guest has it",
    "networks": "holds hardware addresses of the machine's own namespace while the guest has them",
    "blockDeviceRefs": "holds disks of the machine's own namespace, and images, from deletion",
    "storageClassName": "what an update is compared with, and where the disk's volume is: another one is copied, "
    "and a copy is removed where it is sure that there is the other",
    "virtualMachinePods": "which of its Pods has its guest; what is found by that name must be the machine's own "
    "by label and owner",
    "nodeName": "written by the leader once, compare-and-set; a cluster's policy lets nobody else, and the daemon "
    "that a session is handed to looks for the guest itself",
    "holder": "written by the node that it names, or by the leader once that is proven dead; one that is below "
    "its domain's epoch permits nothing there, and one that is above it gives no node a machine that is not bound "
    "to it",
    "addresses": "of a Node, which only nodes and administrators write; the peer must show the daemons' CA, and "
    "what is sent there of machines' addresses is of machines that are bound to it",
    "ipAddress": "leads to the machine's node only where the lease of that address is its namespace's",
    "conditions": "of this very node, which compares what it says with what it is to say; and that something "
    "waits for a quota, which is only looked at again sooner",
    "message": SHOWN,
    "reason": SHOWN,
    "containerStatuses": SHOWN,
    "podIP": "of a Pod, which kubelets write; a policy lets nobody but hyperd make a machine's, and what is sent "
    "there is the machine's own address",
    "podIPs": "likewise; of others' Pods it is whom a NetworkPolicy means by their labels, as the cluster's own "
    "network takes it, too",
    "loadBalancer": "of a Service, which only the cluster's own write: at these addresses it is judged whom it "
    "leads to",
    "ingress": "likewise",
    "currentHealthy": "of a machine's disruption budget: too high a one only keeps evictions away for longer",
    "allocatable": "of a Node, which only nodes and administrators write",
    "cpuFeatures": "of a class, which only administrators write",
    "enabled": "of a class, which only administrators write",
}


def _is_status(node: ast.expr) -> bool:
    text = ast.unparse(node)
    return text == "status" or text.endswith("['status']") or ".get('status')" in text


def _fields(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        key: ast.expr | None = None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "get" and node.args and _is_status(node.func.value):
                key = node.args[0]
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and _is_status(node.value):
            key = node.slice
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value


def _files() -> Iterator[Path]:
    for name in _READERS:
        path = _FOLDER / name
        yield from [path] if path.is_file() else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("path", [*_files()], ids=lambda path: str(path.relative_to(_FOLDER)))
def test_what_is_read_of_a_status_may_be_believed(path: Path) -> None:
    assert set(_fields(ast.parse(path.read_text()))) - set(TRUST) == set()


def test_no_row_is_left_over() -> None:
    read = {field for path in _files() for field in _fields(ast.parse(path.read_text()))}
    assert set(TRUST) - read == set()


METADATA = {
    "SELECTED_NODE_ANNOTATION": "anybody may wish for a node when a disk is made, as for a claim in Kubernetes; "
    "admission keeps it afterwards, of a claim for all but hyperd, and a node makes volumes only of its own "
    "disks' uids",
    "DEFAULT_CLASS_ANNOTATION": "of a class, which only administrators write; admission takes one default",
    "DEFAULT_STORAGE_CLASS_ANNOTATION": "of a StorageClass, which only administrators write",
    "STORAGE_CLASS_VOLUME_MODE_ANNOTATION": "of a StorageClass, which only administrators write; it is only shown",
    "LAZY_ANNOTATION": "of a class, which only administrators write; a disk's own can only say no, for that disk",
    "VD_UID_LABEL": "of a claim, whose owner the disk must be as well; its volume is of the disk's own namespace",
    "CLAIM_MADE_ANNOTATION": "of the disk's own claim: whoever can write it can have a Pod that writes into the "
    "same volume; what is there is read as raw bytes",
    "KVM_ENABLED_LABEL": "of a Node, which only nodes and administrators write",
    "CPU_MODEL_LABEL_PREFIX": "of a Node, which only nodes and administrators write",
    "CPU_FEATURE_LABEL_PREFIX": "of a Node, which only nodes and administrators write",
    "TAKEN_ADDRESSES_ANNOTATION": "of Leases of the system's namespace, which hyperd writes",
    "LEASE_WORD_ANNOTATION": "of a node's own Lease in the system's namespace, which hyperd writes; another one "
    "makes the sweep wait, and removes nothing",
    "LEASE_PROMISE_ANNOTATION": "of a node's own Lease in the system's namespace, which hyperd writes; a false "
    "one concerns that node's own guests",
    "FENCING_ANNOTATION": "of the machine: whoever may change it may as well stop its guest",
    "NODE_LEASE_LABEL": "of Leases in the system's namespace, which hyperd writes",
    "VMIP_UID_LABEL": "of address leases, which only administrators write; it can only take a lease away from an "
    "address object, as the names must agree too",
    "VMMAC_UID_LABEL": "likewise of leases of hardware addresses",
    "VMOP_RESTORE_ANNOTATION": "names an operation by uid, which then takes the object for one that it has put "
    "back: whoever can write the one can write the other",
    "VM_UID_LABEL": "of a Pod, which a policy lets nobody but hyperd give one; on others it is for clients",
    "VM_ATTACHED_LABEL": "of a Pod, beside VM_UID_LABEL: the machine of that uid must own it, and it must have "
    "the claim",
    "VM_POD_NAME_LABEL": "of a Pod, beside VM_UID_LABEL: the machine of that name must have that uid and own it",
    "SERVICE_LABEL": "of an EndpointSlice, as kube-proxy takes it: whoever can write one can lead the Service "
    "there",
    "CONSOLE_LOG_ANNOTATION": "of the machine, or of a class: whoever can write a machine's may read its console",
    "LAUNCHER_LABEL": "of a Pod, written for clients; by what it says nothing is done",
    "POD_EVICTED_ANNOTATION": "whoever can write it can evict the Pod; its guest is moved, and nothing else",
    "QEMU_VERSION_LABEL": "of a Node, which only nodes and administrators write",
    "QEMU_DIGEST_LABEL": "of a Node, which only nodes and administrators write",
    "VMOP_WORKLOAD_UPDATE_ANNOTATION": "written for clients; by what it says nothing is done",
    "VMOP_WORKLOAD_UPDATE_IMAGE_ANNOTATION": "of an operation, on which only the system writes it",
    "VMOP_WORKLOAD_UPDATE_PLACEMENT_ANNOTATION": "likewise",
    "VMOP_UNSCHEDULABLE_SECONDS_ANNOTATION": "of the operation: whoever makes it may as well take it back",
    "VMOP_EVACUATION_ANNOTATION": "written for clients; by what it says nothing is done",
    "POD_CARRIED_ANNOTATION": "only labels and annotations of the same Pod are taken away by it",
    "POD_MADE_OF_ANNOTATION": "another one has the same Pod made anew while no guest runs",
    "POD_PLACED_BY_ANNOTATION": "another one has the guest moved if its node does not fit its machine's own rules",
    "POD_PINNED_ANNOTATION": "another one has the same Pod made anew while no guest runs",
    "POD_AVOIDED_ANNOTATION": "another one has the same Pod made anew while no guest runs",
    "POOL_LABEL": "names a pool to look at, and nothing else",
    "POOL_UID_LABEL": "a machine's is the system's to write, and the pool must be its controlling owner; a disk's "
    "must be the pool or such a machine",
    "POOL_DISK_TEMPLATE_LABEL": "likewise: whoever can write it and the owner can delete the disk as well",
    "POOL_TEMPLATE_HASH_LABEL": "of a machine, which only the system writes; it is counted",
    "POOL_PATCHED_HASH_ANNOTATION": "of a machine, which only the system writes; another one has the template "
    "written again",
    "POOL_FREE_SINCE_ANNOTATION": "shown; how long a disk is free is in the pool's status",
    "POOL_LEAVING_ANNOTATION": "whoever can write it can lower the pool's number; it reaches the pool's own "
    "machines alone",
}
"""Each label and annotation that controllers and rules meet, and why it may be believed."""


def test_labels_and_annotations_that_are_met_may_be_believed() -> None:
    met = set()
    for path in _files():
        met |= set(re.findall(r"\b([A-Z][A-Z_]*_(?:ANNOTATION|LABEL|LABEL_PREFIX))\b", path.read_text()))
    assert met == set(METADATA)
