"""Disks of classes that bind at once: a Pod of their own brings their claims to a node, as long as that takes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hyperd.controllers.disk.controller import DiskController
from hyperd.controllers.ownership import NodeOwner, disk_node
from hyperd.controllers.pod import filling
from hyperd.resources.all import POD, STORAGE_CLASS, VIRTUAL_DISK, VIRTUAL_MACHINE
from hyperd.resources.values import names
from hyperd.runtime.controller import Key
from tests.parts import Part, part
from tests.unit.controllers.pod.cluster import Cluster
from tests.unit.controllers.pod.machines import machine
from tests.unit.controllers.pod.test_claims import DATA, cluster, disk, ready, storage

__all__ = ["cluster"]
POD_NAME = "virt-filler-d-1"


@pytest.fixture
async def eager(cluster: Cluster) -> Cluster:
    cluster.put(STORAGE_CLASS, {**storage(), "volumeBindingMode": "Immediate"})
    return cluster


async def look(cluster: Cluster, times: int = 1) -> None:
    for _ in range(times):
        await cluster.claiming.reconcile(DATA)


def filler(cluster: Cluster) -> Part | None:
    return cluster.objects.get((POD, "shop", POD_NAME))


def schedule(cluster: Cluster, node: str, phase: str = "Running") -> None:
    pod = part(filler(cluster))
    cluster.put(POD, {**pod, "spec": {**pod["spec"], "nodeName": node}, "status": {"phase": phase}})


def tell(cluster: Cluster, phase: str) -> None:
    obj = part(cluster.objects[VIRTUAL_DISK, *DATA])
    cluster.put(VIRTUAL_DISK, {**obj, "status": {**obj["status"], "phase": phase}})


async def test_it_is_made_for_a_disk_that_nobody_uses_and_goes_once_the_disk_is_there(eager: Cluster) -> None:
    await look(eager)
    assert filler(eager) is None, "there is no claim before"
    eager.hidden = True
    await look(eager, 2)
    eager.hidden = False
    eager.show()
    pod = part(filler(eager))
    assert filling.is_of(pod, part(eager.objects[VIRTUAL_DISK, *DATA]))
    assert pod["metadata"]["labels"] == {names.VM_UID_LABEL: "", names.VD_UID_LABEL: "d-1"}
    spec = pod["spec"]
    assert spec["volumes"][1:] == [{"name": "disk-d-1", "persistentVolumeClaim": {"claimName": "d8v-vd-d-1"}}]
    assert spec["securityContext"]["runAsNonRoot"]
    assert ready(eager)[:2] == ("Pending", "ProvisioningNotStarted")
    await look(eager)
    assert ready(eager)[2] == f"Pod {POD_NAME} cannot be scheduled: the scheduler has not looked at it yet."
    schedule(eager, "metal")
    await look(eager)
    assert disk_node(part(eager.objects[VIRTUAL_DISK, *DATA])) == "metal"
    tell(eager, "Provisioning")
    await look(eager, 2)
    assert "deletionTimestamp" not in part(filler(eager))["metadata"]
    tell(eager, "Ready")
    await look(eager)
    assert part(filler(eager))["metadata"]["deletionTimestamp"]


async def test_one_that_was_evicted_is_made_anew_and_the_disk_follows(eager: Cluster) -> None:
    await look(eager, 2)
    schedule(eager, "metal")
    await look(eager)
    tell(eager, "Provisioning")
    schedule(eager, "metal", "Failed")
    await look(eager)
    assert part(filler(eager))["metadata"]["deletionTimestamp"]
    eager.objects.pop((POD, "shop", POD_NAME))
    eager.show()
    await look(eager)
    schedule(eager, "wood")
    await look(eager)
    assert disk_node(part(eager.objects[VIRTUAL_DISK, *DATA])) == "wood"


async def test_the_node_that_a_disk_has_left_makes_it_no_more(eager: Cluster) -> None:
    await look(eager, 2)
    schedule(eager, "metal")
    await look(eager)
    known, ended = [part(eager.objects[VIRTUAL_DISK, *DATA])], list[str]()

    async def keep_only(key: Key, uid: str) -> None:
        ended.append(uid)

    node = DiskController.__new__(DiskController)
    node._context = part(SimpleNamespace(ownership=NodeOwner("wood", lambda: False)))
    node._room = part(SimpleNamespace(may_be=lambda key: False))
    node._disks = part(SimpleNamespace(get=lambda *key: known[0]))
    node._operations = part(SimpleNamespace(keep_only=keep_only))
    assert await node.reconcile(DATA) is None
    assert ended == [""]


async def test_it_goes_to_none_but_nodes_with_a_hyperd(eager: Cluster) -> None:
    eager.served = []
    await look(eager, 2)
    assert filler(eager) is None
    assert ready(eager)[2] == "No node is served."
    eager.served = ["metal"]
    await look(eager)
    required = part(filler(eager))["spec"]["affinity"]["nodeAffinity"]
    (term,) = required["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["metal"]}]}
    eager.served = ["metal", "wood"]
    await look(eager)
    assert part(filler(eager))["metadata"]["deletionTimestamp"], "no node has taken it, and now there is another"


async def test_where_a_machines_pod_has_the_claim_there_is_none(eager: Cluster) -> None:
    refs = [{"kind": "VirtualDisk", "name": "data"}]
    used = machine(virtualMachineClassName="c", runPolicy="AlwaysOn", blockDeviceRefs=refs)
    await look(eager)
    eager.put(VIRTUAL_MACHINE, used)
    await eager.look()
    assert eager.pod
    await look(eager, 2)
    assert filler(eager) is None
    eager.schedule("metal")
    await eager.look()
    assert disk_node(part(eager.objects[VIRTUAL_DISK, *DATA])) == "metal"


async def test_a_machine_waits_while_its_disk_is_filled_on_another_node(eager: Cluster) -> None:
    await look(eager, 2)
    schedule(eager, "metal")
    await look(eager)
    tell(eager, "Provisioning")
    refs = [{"kind": "VirtualDisk", "name": "data"}]
    eager.put(VIRTUAL_MACHINE, machine(virtualMachineClassName="c", runPolicy="AlwaysOn", blockDeviceRefs=refs))
    await eager.look()
    (own,) = (obj for (kind, _, name), obj in eager.objects.items() if kind is POD and name != POD_NAME)
    eager.put(POD, {**own, "spec": {**own["spec"], "nodeName": "wood"}, "status": {"phase": "Running"}})
    await eager.look()
    running = next(one for one in eager.machine["status"]["conditions"] if one["type"] == "Running")
    assert running["message"] == 'VirtualDisk "data" is being filled on node metal.'
    await look(eager)
    assert "deletionTimestamp" not in part(filler(eager))["metadata"]
    tell(eager, "Ready")
    await look(eager)
    eager.objects.pop((POD, "shop", POD_NAME))
    eager.show()
    await eager.look()
    assert disk_node(part(eager.objects[VIRTUAL_DISK, *DATA])) == "wood"


async def test_what_the_quota_does_not_let_be_is_told(eager: Cluster) -> None:
    await look(eager)
    eager.refusal = 'pods "virt-filler-d-1" is forbidden: exceeded quota: small'
    await look(eager)
    phase, reason, message = ready(eager)
    assert (phase, reason) == ("Pending", "QuotaExceeded")
    assert message == f"The Pod that fills the claim cannot be made: {eager.refusal}"
    eager.refusal = ""
    await look(eager)
    assert filler(eager) is not None


async def test_a_failed_disk_and_one_that_waits_for_its_image_have_none(eager: Cluster) -> None:
    ref = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "linux"}}
    eager.put(VIRTUAL_DISK, disk(dataSource=ref))
    await look(eager, 2)
    assert filler(eager) is None
    assert ready(eager)[2] == 'VirtualImage "linux" does not exist.'
    failed = {**disk(), "status": {"phase": "Failed"}}
    failed["metadata"]["annotations"] = {names.SELECTED_NODE_ANNOTATION: "metal"}
    eager.put(VIRTUAL_DISK, failed)
    await look(eager, 2)
    assert filler(eager) is None


async def test_anothers_pod_of_that_name_is_not_the_disks(eager: Cluster) -> None:
    await look(eager)
    other = {"metadata": {"namespace": "shop", "name": POD_NAME, "uid": "x"}, "spec": {"nodeName": "evil"}}
    eager.put(POD, other)
    await look(eager)
    assert not disk_node(part(eager.objects[VIRTUAL_DISK, *DATA]))
    assert ready(eager)[2] == f"Pod {POD_NAME} is not the disk's, but has the name of its Pod: delete it."
