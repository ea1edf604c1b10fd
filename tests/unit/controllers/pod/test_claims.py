"""Disks of others' StorageClasses: each has its claim, which the machine's Pod has before the disk has a node."""

from __future__ import annotations

import pytest

from hyperd.controllers.claims import first_claim
from hyperd.controllers.ownership import disk_node
from hyperd.controllers.pod import claims
from hyperd.controllers.pod.volumes import NodeClaims
from hyperd.errors import TemporaryError
from hyperd.resources.all import (
    PERSISTENT_VOLUME_CLAIM,
    STORAGE_CLASS,
    VIRTUAL_DISK,
    VIRTUAL_IMAGE,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_CLASS,
)
from hyperd.resources.schema.kind import Object
from hyperd.resources.values import names
from hyperd.runtime.controller import Key
from tests.parts import Part, part
from tests.unit.controllers.pod.cluster import Cluster
from tests.unit.controllers.pod.machines import class_, machine

DATA = Key("shop", "data")
GIB = 1 << 30


def storage(name: str = "site", **annotations: str) -> Part:
    marks = {
        f"virtualdisk.virtualization.deckhouse.io/{key.replace('_', '-')}": at for key, at in annotations.items()
    }
    return {"metadata": {"name": name, "annotations": marks}, "provisioner": "kubernetes.io/no-provisioner",
        "reclaimPolicy": "Retain", "volumeBindingMode": "WaitForFirstConsumer"}  # fmt: skip


def disk(class_name: str = "site", size: str | None = "1Gi", **spec: object) -> Part:
    claim = {"storageClassName": class_name, **({"size": size} if size else {})}
    return {
        "apiVersion": VIRTUAL_DISK.api_version,
        "kind": VIRTUAL_DISK.kind,
        "metadata": {"namespace": "shop", "name": "data", "uid": "d-1", "generation": 1, "annotations": {}},
        "spec": {"persistentVolumeClaim": claim, **spec},
    }


@pytest.fixture
async def cluster() -> Cluster:
    made = Cluster()
    made.put(VIRTUAL_MACHINE_CLASS, {**class_(), "status": {"phase": "Ready"}})
    made.put(STORAGE_CLASS, storage())
    made.put(VIRTUAL_DISK, disk())
    return made


def ready(cluster: Cluster) -> tuple[str, str, str]:
    status = cluster.objects[VIRTUAL_DISK, *DATA]["status"]
    found = next(one for one in status["conditions"] if one["type"] == "Ready")
    return status["phase"], found["reason"], found["message"]


def claim(cluster: Cluster) -> Object:
    return cluster.objects[PERSISTENT_VOLUME_CLAIM, "shop", "d8v-vd-d-1"]


async def test_a_disk_of_anothers_class_has_a_claim_which_is_its_own(cluster: Cluster) -> None:
    await cluster.claiming.reconcile(DATA)
    found, obj = claim(cluster), cluster.objects[VIRTUAL_DISK, *DATA]
    assert found["metadata"]["name"] == first_claim(obj)
    assert claims.is_of(found, obj)
    assert found["spec"] == {
        "storageClassName": "site",
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": "1084Mi"}},
    }
    assert ready(cluster) == (
        "WaitForFirstConsumer",
        "WaitingForFirstConsumer",
        "The volume is made once a virtual machine uses the disk.",
    )
    assert obj["status"]["storageClassName"] == "site"
    version = obj["metadata"]["resourceVersion"]
    await cluster.claiming.reconcile(DATA)
    assert cluster.objects[VIRTUAL_DISK, *DATA]["metadata"]["resourceVersion"] == version


def test_a_volume_has_room_for_its_file_system_and_a_disk_that_is_written_to_its_end() -> None:
    for size in (1 << 20, GIB, 100 * GIB):
        assert claims.asked(size) * (1 - 0.055) >= size > claims.asked(size) * (1 - 0.055) - (2 << 20)


async def test_the_reference_s_annotations_of_the_class_decide(cluster: Cluster) -> None:
    cluster.put(STORAGE_CLASS, storage(access_mode="ReadWriteMany"))
    await cluster.claiming.reconcile(DATA)
    assert claim(cluster)["spec"]["accessModes"] == ["ReadWriteMany"]


async def test_a_device_is_asked_for_as_large_as_the_disk_and_is_one_in_the_pod(cluster: Cluster) -> None:
    cluster.put(STORAGE_CLASS, storage(volume_mode="Block"))
    await cluster.claiming.reconcile(DATA)
    spec = claim(cluster)["spec"]
    assert (spec["volumeMode"], spec["resources"]["requests"]["storage"]) == ("Block", "1Gi")
    refs = [{"kind": "VirtualDisk", "name": "data"}]
    cluster.put(VIRTUAL_MACHINE, machine(virtualMachineClassName="c", runPolicy="AlwaysOn", blockDeviceRefs=refs))
    await cluster.look()
    container = cluster.pod["spec"]["containers"][0]
    assert container["volumeDevices"] == [{"name": "disk-d-1", "devicePath": "/volumes/d-1"}]
    assert len(container["volumeMounts"]) == 1


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ({"volume_mode": "Tape"}, "asks for volumes of the mode Tape"),
        ({"access_mode": "ReadOnlyMany"}, "asks for the access mode ReadOnlyMany"),
    ],
)
async def test_what_a_class_asks_for_in_vain_makes_no_claim(
    cluster: Cluster, annotations: dict[str, str], said: str
) -> None:
    cluster.put(STORAGE_CLASS, storage(**annotations))
    assert not cluster.claiming.takes(part(disk()))
    await cluster.claiming.reconcile(DATA)
    assert (PERSISTENT_VOLUME_CLAIM, "shop", "d8v-vd-d-1") not in cluster.objects
    seen = part(disk() | {"status": {}})
    cluster.claiming._rules.of(seen)
    assert said in seen["status"]["conditions"][0]["message"]


async def test_a_disk_of_our_own_class_has_none(cluster: Cluster) -> None:
    cluster.put(
        STORAGE_CLASS, {**storage("local"), "provisioner": "hyperd.local/directory", "reclaimPolicy": "Delete"}
    )
    cluster.put(VIRTUAL_DISK, disk("local"))
    await cluster.claiming.reconcile(DATA)
    assert (PERSISTENT_VOLUME_CLAIM, "shop", "d8v-vd-d-1") not in cluster.objects


async def test_a_disk_without_a_size_asks_for_that_of_its_image(cluster: Cluster) -> None:
    source = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "system"}}
    cluster.put(VIRTUAL_DISK, disk(size=None, dataSource=source))
    await cluster.claiming.reconcile(DATA)
    assert ready(cluster) == ("Pending", "DatasourceIsNotFound", 'VirtualImage "system" does not exist.')
    image = {
        "kind": VIRTUAL_IMAGE.kind,
        "metadata": {"namespace": "shop", "name": "system", "uid": "i-1"},
        "spec": {"storage": "PersistentVolumeClaim", "dataSource": {"type": "HTTP"}},
        "status": {"phase": "Ready", "size": {"unpackedBytes": str(GIB)}},
    }
    cluster.put(VIRTUAL_IMAGE, image)
    await cluster.claiming.reconcile(DATA)
    assert claims.requested(claim(cluster)) == claims.asked(GIB)


async def test_what_is_imported_into_a_claim_names_its_size(cluster: Cluster) -> None:
    cluster.put(VIRTUAL_DISK, disk(size=None, dataSource={"type": "HTTP", "http": {"url": "http://x/y"}}))
    await cluster.claiming.reconcile(DATA)
    assert ready(cluster)[0] == "Pending"
    assert "set spec.persistentVolumeClaim.size" in ready(cluster)[2]


async def test_a_quota_is_told_as_such(cluster: Cluster) -> None:
    cluster.refusal = "persistentvolumeclaims is forbidden: exceeded quota: little"
    await cluster.claiming.reconcile(DATA)
    assert ready(cluster)[:2] == ("Pending", "QuotaExceeded")


async def test_somebody_elses_claim_of_that_name_is_named_and_left_alone(cluster: Cluster) -> None:
    cluster.put(PERSISTENT_VOLUME_CLAIM, {"metadata": {"namespace": "shop", "name": "d8v-vd-d-1", "uid": "x"}})
    await cluster.claiming.reconcile(DATA)
    assert "PersistentVolumeClaim d8v-vd-d-1 is not the disk's" in ready(cluster)[2]


async def test_a_claim_that_was_lost_is_not_made_anew(cluster: Cluster) -> None:
    cluster.put(VIRTUAL_DISK, {**disk(), "status": {"phase": "Ready", "storageClassName": "site"}})
    await cluster.claiming.reconcile(DATA)
    assert (PERSISTENT_VOLUME_CLAIM, "shop", "d8v-vd-d-1") not in cluster.objects


async def test_a_machines_pod_has_its_claims_and_waits_for_them(cluster: Cluster) -> None:
    refs = [{"kind": "VirtualDisk", "name": "data"}]
    used = machine(virtualMachineClassName="c", runPolicy="AlwaysOn", blockDeviceRefs=refs)
    used["metadata"]["finalizers"] = [VIRTUAL_MACHINE.finalizer]
    cluster.put(VIRTUAL_MACHINE, used)
    await cluster.look()
    assert not cluster.pod
    running = next(one for one in cluster.machine["status"]["conditions"] if one["type"] == "Running")
    assert running["message"] == 'VirtualDisk "data" has no PersistentVolumeClaim yet.'
    await cluster.claiming.reconcile(DATA)
    await cluster.look()
    spec = cluster.pod["spec"]
    assert spec["volumes"][1:] == [{"name": "disk-d-1", "persistentVolumeClaim": {"claimName": "d8v-vd-d-1"}}]
    mounted = {"name": "disk-d-1", "mountPath": "/volumes/d-1", "readOnly": True}
    assert spec["containers"][0]["volumeMounts"][1:] == [mounted]
    cluster.schedule("metal")
    await cluster.look()
    assert disk_node(part(cluster.objects[VIRTUAL_DISK, *DATA])) == "metal"


async def test_a_claim_goes_with_the_pod_unless_another_guest_has_it(cluster: Cluster) -> None:
    await cluster.claiming.reconcile(DATA)
    obj = cluster.objects[VIRTUAL_DISK, *DATA]
    cluster.put(
        VIRTUAL_DISK,
        {**obj, "metadata": {**obj["metadata"], "annotations": {names.SELECTED_NODE_ANNOTATION: "old"}}},
    )
    refs = [{"kind": "VirtualDisk", "name": "data"}]
    used = machine(virtualMachineClassName="c", runPolicy="AlwaysOn", blockDeviceRefs=refs)
    cluster.put(VIRTUAL_MACHINE, used)
    other = {
        **used,
        "metadata": {**used["metadata"], "name": "db", "uid": "other"},
        "status": {"phase": "Running", "nodeName": "old"},
    }
    cluster.put(VIRTUAL_MACHINE, other)
    await cluster.look()
    assert "affinity" not in cluster.pod["spec"], "the scheduler knows where the claim may be"
    cluster.schedule("metal")
    await cluster.look()
    running = next(one for one in cluster.machine["status"]["conditions"] if one["type"] == "Running")
    assert running["message"] == 'VirtualDisk "data" is in use by virtual machine "db", on node old.'
    assert disk_node(part(cluster.objects[VIRTUAL_DISK, *DATA])) == "old"
    cluster.put(VIRTUAL_MACHINE, {**other, "status": {"phase": "Stopped"}})
    await cluster.look()
    assert disk_node(part(cluster.objects[VIRTUAL_DISK, *DATA])) == "metal"


async def test_a_node_knows_the_claims_of_its_own_disks_alone(cluster: Cluster) -> None:
    await cluster.claiming.reconcile(DATA)
    node = NodeClaims(part(cluster.context), lambda machine, claim: None, lambda disk: None)
    assert node.get("d-1") is None
    bound = cluster.objects[VIRTUAL_DISK, *DATA]
    bound["metadata"]["annotations"][names.SELECTED_NODE_ANNOTATION] = "another"
    cluster.put(VIRTUAL_DISK, bound)
    assert node.get("d-1") is None
    cluster.context.coming.add("d-1")  # of a guest that is on its way here
    assert node.get("d-1") is not None
    await node.delete("d-1")
    assert "deletionTimestamp" not in claim(cluster)["metadata"], "it is the other node's"
    cluster.context.coming.clear()
    bound["metadata"]["annotations"][names.SELECTED_NODE_ANNOTATION] = "leader"
    cluster.put(VIRTUAL_DISK, bound)
    found = node.get("d-1")
    assert found is not None
    assert (found.name, found.capacity, found.made) == ("d8v-vd-d-1", 0, 0)
    with pytest.raises(TemporaryError, match="No Pod on node leader has the claim d8v-vd-d-1 now"):
        async with node.place("d-1"):
            pass
    await node.note("d-1", GIB)
    again = NodeClaims(part(cluster.context), lambda machine, claim: None, lambda disk: None)
    for known in (node.get("d-1"), again.get("d-1")):
        assert known is not None
        assert known.made == GIB
    assert list(node.kept()) == ["d-1"]
    await node.delete("d-1")
    assert claim(cluster)["metadata"]["deletionTimestamp"]
    cluster.put(PERSISTENT_VOLUME_CLAIM, {**claim(cluster), "status": {"phase": "Lost"}})
    assert node.get("d-1") is None


@pytest.mark.parametrize("said", ["9" * 5000, "-1", "1e3", "", "²"])
def test_what_others_write_into_a_claim_is_no_disk(said: str) -> None:
    """Who may change claims may not keep a node from knowing its disks."""
    annotations = {names.CLAIM_MADE_ANNOTATION: said}
    assert claims.made({"metadata": {"name": "c", "annotations": annotations}}) == 0


def test_a_disk_is_not_larger_than_its_volume_whatever_its_claim_says() -> None:
    annotations = {names.CLAIM_MADE_ANNOTATION: str(1 << 50)}
    status = {"capacity": {"storage": "1Gi"}}
    assert claims.made({"metadata": {"name": "c", "annotations": annotations}, "status": status}) == GIB
