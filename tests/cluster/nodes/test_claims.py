"""Disks that are claims of the cluster's own storage: local volumes, to which the scheduler leads machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hyperd.crashpoints import CrashPoint
from tests.cluster.controlplane.plane import document
from tests.cluster.nodes.bed import Bed
from tests.cluster.nodes.hyperds import GUEST_URL, Hyperds
from tests.cluster.nodes.machines import (
    BOOT_SECONDS,
    START_SECONDS,
    answers,
    get,
    make,
    make_machine,
    pod_of,
    until,
)
from tests.cluster.nodes.node import Node
from tests.contract.volumes import loops

pytestmark = [pytest.mark.cluster, pytest.mark.nodes, pytest.mark.slow, pytest.mark.timeout(400)]

_FOLDER = "/var/lib/site"
_MIB = 1 << 20
_MADE = "virtualization.deckhouse.io/disk-bytes"
_ATTACHERS = r"{.items[?(@.metadata.labels.virtualization\.deckhouse\.io/attached-to)].spec.nodeName}"
_SHOWN = ("sh", "-c", "grep -c /var/lib/hyperd/claims/ /proc/mounts || true")


@pytest.fixture(scope="module")
def node(hyperds: Hyperds) -> Iterator[Node]:
    """The only one that has volumes of the class ``site``."""
    bed, here = hyperds.bed, hyperds.nodes[1]
    meta = {"name": "site"}
    bed.plane.apply({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": meta,
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"})  # fmt: skip
    for name in ("one", "two", "three"):
        here.run("mkdir", "-p", f"{_FOLDER}/{name}")
        bed.plane.apply(local_volume(name, here))
    yield here
    bed.plane.kubectl("delete", "pv/one", "pv/two", "pv/three", "sc/site", "--wait=false")


def local_volume(name: str, node: Node) -> dict[str, Any]:
    there = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]}]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "400Mi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "site",
            "local": {"path": f"{_FOLDER}/{name}"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [there]}},
        },
    }


def claim_of(bed: Bed, disk: str) -> dict[str, Any]:
    name = f"d8v-vd-{get(bed, f'vd/{disk}', '{.metadata.uid}')}"
    return dict(document(bed.plane.kubectl("get", f"pvc/{name}", "-o", "json")))


def test_a_disk_waits_as_a_claim_for_its_first_machine(bed: Bed, node: Node) -> None:
    claim = {"storageClassName": "site", "size": "256Mi"}
    source = {"type": "HTTP", "http": {"url": GUEST_URL}}
    make(bed, "VirtualDisk", "system", persistentVolumeClaim=claim, dataSource=source)
    make(bed, "VirtualDisk", "data", persistentVolumeClaim={**claim, "size": "64Mi"})
    phases = "{.items[*].status.phase}"
    until(lambda: get(bed, "vd", phases) == "WaitForFirstConsumer WaitForFirstConsumer", 30)
    assert get(bed, "pvc", phases) == "Pending Pending"
    assert claim_of(bed, "data")["spec"]["resources"]["requests"]["storage"] == "68Mi"


def test_its_machine_runs_where_the_volumes_are_though_hyperd_is_killed_while_it_fills_them(
    hyperds: Hyperds, node: Node
) -> None:
    bed = hyperds.bed
    hyperds.kill(node)
    hyperds.begin(node, crash_at=CrashPoint.DISK_AFTER_FILE)
    make_machine(
        bed, "site", blockDeviceRefs=[{"kind": "VirtualDisk", "name": name} for name in ("system", "data")]
    )
    hyperds.await_crash(node)
    assert not all(_MADE in claim_of(bed, disk)["metadata"].get("annotations", {}) for disk in ("system", "data"))
    hyperds.begin(node)
    until(lambda: get(bed, "vm/site", "{.status.phase}") == "Running", START_SECONDS)
    assert pod_of(bed, "site")["spec"]["nodeName"] == node.name
    address = get(bed, "vm/site", "{.status.ipAddress}")
    until(lambda: answers(node, address), BOOT_SECONDS)
    for disk in ("system", "data"):
        claim = claim_of(bed, disk)
        assert claim["status"]["phase"] == "Bound"
        assert get(bed, f"vd/{disk}", "{.status.phase} {.status.target.persistentVolumeClaimName}") == (
            f"Ready {claim['metadata']['name']}"
        )
        uid, folder = claim["metadata"]["ownerReferences"][0]["uid"], f"{_FOLDER}/{claim['spec']['volumeName']}"
        assert node.run("ls", "-A", folder).split() == [f"{uid}.img"]
        shown = node.run("stat", "-c", "%i %s", f"/var/lib/hyperd/claims/{uid}.img").split()
        assert shown == node.run("stat", "-c", "%i %s", f"{folder}/{uid}.img").split()
        assert int(shown[1]) == int(claim["metadata"]["annotations"][_MADE])
    opened = node.run("sh", "-c", "ls -l /proc/$(pgrep -x qemu-system-x86)/fd")
    for disk in ("system", "data"):
        assert f"/{get(bed, f'vd/{disk}', '{.metadata.uid}')}.img" in opened


def test_a_claim_comes_to_a_guest_that_runs_and_leaves_it(bed: Bed, hyperds: Hyperds, node: Node) -> None:
    make(bed, "VirtualDisk", "late", persistentVolumeClaim={"storageClassName": "site", "size": "64Mi"})
    ref = {"kind": "VirtualDisk", "name": "late"}
    make(bed, "VirtualMachineBlockDeviceAttachment", "late", blockDeviceRef=ref, virtualMachineName="site")
    until(lambda: get(bed, "vmbda/late", "{.status.phase}") == "Attached", START_SECONDS)
    uid, begun = get(bed, "vd/late", "{.metadata.uid}"), get(bed, "vm/site", "{.status.stats.lastStartTime}")
    assert get(bed, "pods", _ATTACHERS) == node.name
    folder = f"{_FOLDER}/{claim_of(bed, 'late')['spec']['volumeName']}"
    assert f"/{uid}.img" in node.run("sh", "-c", "ls -l /proc/$(pgrep -x qemu-system-x86)/fd")
    assert node.run("ls", folder).split() == [f"{uid}.img"]
    hyperds.kill(node)
    hyperds.begin(node)
    bed.plane.kubectl("delete", "vmbda/late", "--timeout=60s")
    until(lambda: not get(bed, "pods", _ATTACHERS), 30)
    assert uid not in node.run("sh", "-c", "ls /var/lib/hyperd/claims; cat /proc/mounts")
    # By its spec, as whoever has no attachments does it.
    refs = [{"kind": "VirtualDisk", "name": name} for name in ("system", "data", "late")]
    patch(bed, "vm/site", {"spec": {"blockDeviceRefs": refs}})
    shown = '{.status.blockDeviceRefs[?(@.name=="late")].attached} {.status.stats.lastStartTime}'
    until(lambda: get(bed, "vm/site", shown) == f"true {begun}", 60)
    assert get(bed, "pods", _ATTACHERS) == node.name
    patch(bed, "vm/site", {"spec": {"blockDeviceRefs": refs[:2]}})
    until(lambda: not get(bed, "pods", _ATTACHERS), 60)
    assert get(bed, "vm/site", shown) == begun
    bed.plane.kubectl("delete", "vd/late", "--timeout=60s")


def patch(bed: Bed, what: str, change: dict[str, Any]) -> None:
    bed.plane.kubectl("patch", what, "--type=merge", "-p", json.dumps(change))


def test_nobody_else_says_what_is_in_a_disks_claim(bed: Bed, node: Node) -> None:
    name = f"pvc/{claim_of(bed, 'data')['metadata']['name']}"
    said = "it alone says what is in them"
    assert said in bed.plane.kubectl("annotate", name, f"{_MADE}-", rc=1)
    assert said in bed.plane.kubectl("label", name, "virtualization.deckhouse.io/virtual-disk-uid-", rc=1)
    bed.plane.kubectl("annotate", name, "other=x")


def test_a_machine_that_is_off_holds_no_volume_and_its_disks_stay(bed: Bed, node: Node) -> None:
    make(bed, "VirtualMachineOperation", "site-stop", type="Stop", virtualMachineName="site")
    until(lambda: get(bed, "vm/site", "{.status.phase}") == "Stopped", 60)
    until(lambda: not pod_of(bed, "site"), 30)
    assert node.run(*_SHOWN).strip() == "0"
    assert node.run("ls", "/var/lib/hyperd/claims").split() == []
    assert get(bed, "vd/data", '{.status.conditions[?(@.type=="Ready")].status}') == "True"


def test_a_claim_goes_with_its_disk(bed: Bed, hyperds: Hyperds, node: Node) -> None:
    bed.plane.kubectl("delete", "vm/site", "vd/system", "vd/data", "--timeout=60s")
    until(lambda: not document(bed.plane.kubectl("get", "pvc", "-o", "json"))["items"], 30)
    until(lambda: get(bed, "pv", "{.items[*].status.phase}") == "Released Released Released", 30)


def test_a_volume_that_every_node_reaches_lets_its_machine_go_on_elsewhere(bed: Bed, hyperds: Hyperds) -> None:
    """Of one that no node has for itself: the scheduler is free, and the disk goes with the machine's Pod."""
    folder = bed.folder / "everywhere"
    folder.mkdir()
    mode = "virtualdisk.virtualization.deckhouse.io/access-mode"
    meta = {"name": "everywhere", "annotations": {mode: "ReadWriteMany"}}
    bed.plane.apply({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": meta,
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"})  # fmt: skip
    volume = {"capacity": {"storage": "16Mi"}, "accessModes": ["ReadWriteMany"], "storageClassName": "everywhere",
        "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": str(folder)}}  # fmt: skip
    bed.plane.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "all"}, "spec": volume})
    make(bed, "VirtualDisk", "roams", persistentVolumeClaim={"storageClassName": "everywhere", "size": "8Mi"})
    make_machine(bed, "roams", terminationGracePeriodSeconds=1)
    until(lambda: get(bed, "vm/roams", "{.status.phase}") == "Running", START_SECONDS)
    first = get(bed, "vm/roams", "{.status.nodeName}")
    (file,) = folder.iterdir()
    disk = file.stat()
    begun = get(bed, "vm/roams", "{.status.stats.lastStartTime}")
    make(bed, "VirtualMachineOperation", "roams-live", type="Migrate", virtualMachineName="roams")
    until(lambda: get(bed, "vmop/roams-live", "{.status.phase}") in ("Completed", "Failed"), 120)
    assert get(bed, "vmop/roams-live", "{.status.phase}") == "Completed", get(bed, "vmop/roams-live", "{.status}")
    assert get(bed, "vm/roams", "{.status.nodeName}") != first
    assert get(bed, "vm/roams", "{.status.stats.lastStartTime}") == begun
    (left,) = (node for node in hyperds.nodes if node.name == first)
    until(lambda: left.run(*_SHOWN).strip() == "0", 30)
    first = get(bed, "vm/roams", "{.status.nodeName}")
    make(bed, "VirtualMachineOperation", "roams-stop", type="Stop", force=True, virtualMachineName="roams")
    until(lambda: get(bed, "vm/roams", "{.status.phase}") == "Stopped" and not pod_of(bed, "roams"), 60)
    bed.plane.kubectl("cordon", first)
    try:
        make(bed, "VirtualMachineOperation", "roams-start", type="Start", virtualMachineName="roams")
        until(lambda: get(bed, "vm/roams", "{.status.phase}") == "Running", START_SECONDS)
    finally:
        bed.plane.kubectl("uncordon", first)
    second = get(bed, "vm/roams", "{.status.nodeName}")
    assert {first, second} == {node.name for node in hyperds.nodes}
    assert get(bed, "vd/roams", "{.metadata.annotations}").count(second) == 1
    assert file.stat().st_ino == disk.st_ino
    for node in hyperds.nodes:
        assert node.run(*_SHOWN).strip() == str(int(node.name == second))
    bed.plane.kubectl("delete", "vm/roams", "vd/roams", "--timeout=60s")
    bed.plane.kubectl("delete", "pv/all", "sc/everywhere", "--wait=false")


def test_a_disk_of_a_class_that_binds_at_once_is_filled_though_nobody_uses_it(bed: Bed, hyperds: Hyperds) -> None:
    folder, meta = bed.folder / "eager", {"name": "eager"}
    folder.mkdir()
    bed.plane.apply({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": meta,
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "Immediate"})  # fmt: skip
    claim, source = {"storageClassName": "eager", "size": "256Mi"}, {"type": "HTTP", "http": {"url": GUEST_URL}}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": "default"},
        "spec": {"hard": {"eager.storageclass.storage.k8s.io/requests.storage": "1Mi"}}}  # fmt: skip
    bed.plane.apply(quota)
    until(lambda: get(bed, "resourcequota/none", "{.status.used}"), 20)
    make(bed, "VirtualDisk", "eager", persistentVolumeClaim=claim, dataSource=source)
    path = '{.status.phase} {.status.conditions[?(@.type=="Ready")].reason}'
    until(lambda: get(bed, "vd/eager", path) == "Pending QuotaExceeded", 20)
    bed.plane.kubectl("delete", "resourcequota/none")
    volume = {"capacity": {"storage": "400Mi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "eager",
        "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": str(folder)}}  # fmt: skip
    bed.plane.apply(
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "eager"}, "spec": volume}
    )
    until(lambda: get(bed, "vd/eager", "{.status.phase}") == "Ready", START_SECONDS)
    (file,) = folder.iterdir()
    assert file.name == f"{get(bed, 'vd/eager', '{.metadata.uid}')}.img"
    assert file.stat().st_size == 256 << 20
    until(lambda: not document(bed.plane.kubectl("get", "pods", "-o", "json"))["items"], 30)
    bed.plane.kubectl("delete", "vd/eager", "--timeout=60s")
    bed.plane.kubectl("delete", "pv/eager", "sc/eager", "--wait=false")


def test_a_device_is_filled_as_a_folder_is(bed: Bed, hyperds: Hyperds) -> None:
    here, mode = hyperds.nodes[0], "virtualdisk.virtualization.deckhouse.io/volume-mode"
    # What is made now the node's own /dev may lack.
    every = "for n in $(seq 0 31); do [ -b /dev/loop$n ] || mknod /dev/loop$n b 7 $n; done"
    with loops.disk(bed.folder / "device", 12 * _MIB) as device:
        here.run("sh", "-c", every)
        device.write_bytes(b"anybody's" * 1000)
        meta = {"name": "devices", "annotations": {mode: "Block"}}
        bed.plane.apply({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": meta,
            "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "Immediate"})  # fmt: skip
        volume = local_volume("device", here)
        volume["spec"] |= {"storageClassName": "devices", "volumeMode": "Block", "local": {"path": str(device)}}
        bed.plane.apply(volume)
        make(bed, "VirtualDisk", "device", persistentVolumeClaim={"storageClassName": "devices", "size": "8Mi"})
        until(lambda: get(bed, "vd/device", "{.status.phase}") == "Ready", 60)
        assert device.read_bytes() == bytes(12 * _MIB)
        assert claim_of(bed, "device")["metadata"]["annotations"][_MADE] == str(12 * _MIB)
        until(lambda: not document(bed.plane.kubectl("get", "pods", "-o", "json"))["items"], 30)
        bed.plane.kubectl("delete", "vd/device", "--timeout=60s")
        bed.plane.kubectl("delete", "pv/device", "sc/devices", "--wait=false")


def test_hyperds_own_rights_reach_no_other_claims(bed: Bed, hyperds: Hyperds) -> None:
    """Who has taken a daemon's credential cannot have, or remove, anybody's data."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    meta = {"name": "other", "namespace": "default"}
    other = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}
    account = "--as=system:serviceaccount:hyperd-system:hyperd"
    said = "has to do with no claims but those of its disks"
    assert said in bed.plane.kubectl("create", "-f", "-", account, stdin=json.dumps(other), rc=1)
    disk = {"apiVersion": "virtualization.deckhouse.io/v1alpha2", "kind": "VirtualDisk", "name": "x", "uid": "x"}
    looks = {"labels": {"virtualization.deckhouse.io/virtual-disk-uid": "x"}, "ownerReferences": [disk]}
    for taken in ({"volumeName": "any"}, {"dataSource": {"kind": "PersistentVolumeClaim", "name": "other"}}):
        copy = {**other, "metadata": {**meta, **looks, "name": "d8v-vd-x"}, "spec": {**spec, **taken}}
        refused = bed.plane.kubectl("create", "-f", "-", account, stdin=json.dumps(copy), rc=1)
        assert "makes no claims of what is somebody's already" in refused
    forged = {**other, "metadata": {**meta, **looks, "name": "d8v-vd-x"}}
    refused = bed.plane.kubectl("create", "-f", "-", stdin=json.dumps(forged), rc=1)
    assert "the claims of disks are made by hyperd alone" in refused
    bed.plane.apply(other)
    assert said in bed.plane.kubectl("delete", "pvc/other", account, "--wait=false", rc=1)
    bed.plane.kubectl("delete", "pvc/other")
