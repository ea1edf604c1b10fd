"""The leader's part: one Pod for a machine that is to run, and the machine bound to where it is."""

from __future__ import annotations

from typing import Any

import pytest

from hyperd.controllers.ownership import disk_node
from hyperd.controllers.pod.loss import Sight
from hyperd.resources.all import POD, VIRTUAL_DISK, VIRTUAL_MACHINE, VIRTUAL_MACHINE_CLASS
from hyperd.resources.values import names
from tests.parts import Part, part
from tests.unit.controllers.pod.cluster import WEB, Cluster
from tests.unit.controllers.pod.machines import class_, machine


def disk(name: str, node: str = "") -> Part:
    annotations = {names.SELECTED_NODE_ANNOTATION: node} if node else {}
    return {
        "metadata": {"namespace": "shop", "name": name, "uid": name, "generation": 1, "annotations": annotations},
        "spec": {},
    }


def new_machine(**more: Any) -> Part:
    found = machine(virtualMachineClassName="c", runPolicy="AlwaysOn", **more)
    found["metadata"]["finalizers"] = [VIRTUAL_MACHINE.finalizer]
    return found


@pytest.fixture
async def cluster() -> Cluster:
    made = Cluster()
    made.put(VIRTUAL_MACHINE_CLASS, {**class_(), "status": {"phase": "Ready"}})
    made.put(VIRTUAL_MACHINE, new_machine())
    return made


def told(cluster: Cluster) -> tuple[str, str, str]:
    status = cluster.machine["status"]
    running = next(one for one in status["conditions"] if one["type"] == "Running")
    return status["phase"], running["reason"], running["message"]


async def scheduled(cluster: Cluster, node: str = "metal") -> Cluster:
    await cluster.look()
    cluster.schedule(node)
    await cluster.look()
    return cluster


async def test_a_pod_is_made_and_the_machine_bound_to_where_it_is(cluster: Cluster) -> None:
    await cluster.look()
    assert told(cluster)[:2] == ("Pending", "PodNotStarted")
    assert "nodeName" not in cluster.machine["status"]
    cluster.schedule("metal")
    await cluster.look()
    assert cluster.machine["status"]["nodeName"] == "metal"
    name = cluster.pod["metadata"]["name"]
    assert cluster.machine["status"]["virtualMachinePods"] == [{"name": name, "active": True}]
    version = cluster.machine["metadata"]["resourceVersion"]
    await cluster.look()
    assert cluster.machine["metadata"]["resourceVersion"] == version, "nothing is written twice"


async def test_killed_after_the_pod_was_made_it_makes_no_second(cluster: Cluster) -> None:
    cluster.hidden = True
    await cluster.look()
    first = cluster.pod["metadata"]["uid"]
    assert await cluster.look() is not None, "it looks again: the informer is behind"
    cluster.hidden = False
    cluster.show()
    await cluster.look()
    assert cluster.pod["metadata"]["uid"] == first


async def test_disks_that_are_nowhere_go_where_the_pod_is(cluster: Cluster) -> None:
    cluster.put(VIRTUAL_DISK, disk("root"))
    cluster.set_spec(blockDeviceRefs=[{"kind": "VirtualDisk", "name": "root"}])
    await scheduled(cluster)
    assert disk_node(part(cluster.objects[VIRTUAL_DISK, "shop", "root"])) == "metal"
    first = cluster.pod["metadata"]["uid"]
    await cluster.look()
    assert cluster.pod["metadata"]["uid"] == first, "that they are there by now makes no other Pod"


async def test_a_pod_is_asked_for_where_the_disks_are(cluster: Cluster) -> None:
    cluster.put(VIRTUAL_DISK, disk("root", "other"))
    cluster.set_spec(blockDeviceRefs=[{"kind": "VirtualDisk", "name": "root"}])
    await cluster.look()
    assert cluster.pod["metadata"]["annotations"][names.POD_PINNED_ANNOTATION] == "other"


async def test_disks_on_two_nodes_are_told(cluster: Cluster) -> None:
    for name, node in (("one", "a"), ("two", "b")):
        cluster.put(VIRTUAL_DISK, disk(name, node))
    cluster.set_spec(blockDeviceRefs=[{"kind": "VirtualDisk", "name": name} for name in ("one", "two")])
    await cluster.look()
    assert cluster.pod is None
    assert "on different nodes" in told(cluster)[2]


async def test_a_quota_is_told_as_such(cluster: Cluster) -> None:
    cluster.refusal = 'pods "virt-launcher-web" is forbidden: exceeded quota: little, requested: pods=1'
    assert await cluster.look() is not None
    assert told(cluster) == ("Pending", "QuotaExceeded", f"The Pod cannot be made: {cluster.refusal}")


async def test_another_refusal_is_told_too(cluster: Cluster) -> None:
    cluster.refusal = 'violates PodSecurity "restricted:latest"'
    assert await cluster.look() is not None
    assert told(cluster)[1:] == ("PodNotStarted", f"The Pod cannot be made: {cluster.refusal}")


@pytest.mark.parametrize("phase", ["Starting", "Running", "Stopping", "Pause", "Migrating", "Degraded"])
async def test_no_pod_is_made_nor_another_node_taken_while_there_may_be_a_guest(
    cluster: Cluster, phase: str
) -> None:
    await scheduled(cluster)
    cluster.set_machine(phase=phase)
    cluster.end_pod()
    await cluster.look()
    assert cluster.pod is None
    cluster.set_machine(phase="Pending")
    await cluster.look()
    cluster.set_machine(phase=phase)
    cluster.schedule("elsewhere")
    await cluster.look()
    assert cluster.machine["status"]["nodeName"] == "metal"
    cluster.set_machine(phase="Pending")
    await cluster.look()
    assert cluster.machine["status"]["nodeName"] == "elsewhere"


async def test_a_pod_that_was_made_by_an_earlier_version_stays_on_a_silent_node_too(cluster: Cluster) -> None:
    """Kubernetes had put an end to what it says of silent nodes, and the guest would end by it."""
    await scheduled(cluster)
    cluster.set_machine(phase="Running")
    stays = cluster.pod["spec"]["tolerations"]
    given = [{**one, "tolerationSeconds": 300} for one in stays]
    own = {"key": "for", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9}
    cluster.put(POD, {**cluster.pod, "spec": {**cluster.pod["spec"], "tolerations": [own, *given]}})
    await cluster.look()
    assert cluster.pod["spec"]["tolerations"] == [own, *stays]
    version = cluster.pod["metadata"]["resourceVersion"]
    await cluster.look()
    assert cluster.pod["metadata"]["resourceVersion"] == version


async def test_what_its_machine_says_of_silent_nodes_stands(cluster: Cluster) -> None:
    said = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 60}
    cluster.set_spec(tolerations=[said])
    await scheduled(cluster)
    cluster.set_machine(phase="Running")
    await cluster.look()
    assert said in cluster.pod["spec"]["tolerations"]


async def test_a_copy_that_lags_makes_no_pod(cluster: Cluster) -> None:
    cluster.hidden = True
    cluster.set_machine(phase="Running", nodeName="metal")
    assert await cluster.look() is not None
    assert cluster.pod is None


async def test_a_machine_that_is_off_has_no_pod(cluster: Cluster) -> None:
    await scheduled(cluster)
    cluster.set_machine(phase="Stopped")
    await cluster.look()
    assert cluster.pod["metadata"]["deletionTimestamp"]
    assert "virtualMachinePods" not in cluster.machine["status"]


async def test_one_that_never_ran_rests_without_a_node(cluster: Cluster) -> None:
    cluster.set_spec(runPolicy="Manual")
    await cluster.look()
    assert cluster.pod is None
    assert told(cluster) == ("Stopped", "NotRunning", "")


async def test_a_pod_that_is_outdated_is_made_anew_while_no_guest_runs(cluster: Cluster) -> None:
    await scheduled(cluster)
    cluster.set_machine(phase="Running")
    cluster.set_spec(cpu={"cores": 4})
    await cluster.look()
    assert "deletionTimestamp" not in cluster.pod["metadata"]
    cluster.set_machine(phase="Pending")
    await cluster.look()
    assert cluster.pod["metadata"]["deletionTimestamp"]
    cluster.end_pod()
    await cluster.look()
    assert cluster.pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "4"


def unheard(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, *nodes: str, renewed: bool = True) -> None:
    """Of these nodes nothing is heard, of the others all the while."""
    monkeypatch.setattr(cluster.losses, "silent", lambda: list(nodes))
    monkeypatch.setattr(cluster.losses, "sight", lambda node: Sight(node, node not in nodes, renewed=renewed))


def apart_from(pod: Part) -> list[str]:
    """The nodes that the scheduler is told not to take."""
    affinity = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    fields = [field for term in affinity["nodeSelectorTerms"] for field in term.get("matchFields", ())]
    return [name for field in fields if field["operator"] == "NotIn" for name in field["values"]]


async def test_no_guest_begins_on_a_node_that_is_not_heard_of(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    unheard(cluster, monkeypatch, "wood", "stone")
    await cluster.look()
    assert apart_from(cluster.pod) == ["wood", "stone"]
    # Whoever has just begun to lead has not heard of a node that is back.
    unheard(cluster, monkeypatch, renewed=False)
    await cluster.look()
    assert "deletionTimestamp" not in cluster.pod["metadata"]
    unheard(cluster, monkeypatch, "stone")
    await cluster.look()
    assert cluster.pod["metadata"]["deletionTimestamp"]
    cluster.end_pod()
    await cluster.look()
    assert apart_from(cluster.pod) == ["stone"]
    unheard(cluster, monkeypatch, "stone", "metal")
    cluster.schedule("metal")
    await cluster.look()
    assert cluster.pod["metadata"]["deletionTimestamp"]
    assert "nodeName" not in cluster.machine["status"]


async def test_a_machine_whose_disks_are_on_a_silent_node_waits_for_that(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.put(VIRTUAL_DISK, disk("root", "metal"))
    cluster.set_spec(blockDeviceRefs=[{"kind": "VirtualDisk", "name": "root"}])
    unheard(cluster, monkeypatch, "metal")
    await cluster.look()
    assert cluster.pod["metadata"]["annotations"][names.POD_PINNED_ANNOTATION] == "metal"
    await cluster.look()
    assert told(cluster)[2].startswith("The disks are on node metal alone, which is not heard of")


async def test_one_that_was_bound_to_a_node_just_before_that_fell_silent_says_so(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.put(VIRTUAL_DISK, disk("root"))
    cluster.set_spec(blockDeviceRefs=[{"kind": "VirtualDisk", "name": "root"}])
    await scheduled(cluster)
    unheard(cluster, monkeypatch, "metal")
    await cluster.look()
    assert "deletionTimestamp" not in cluster.pod["metadata"], "its guest may begin there"
    assert told(cluster)[:2] == ("Pending", "PodNotStarted")
    assert told(cluster)[2].startswith("The disks are on node metal alone, which is not heard of")


async def test_a_pod_that_has_ended_is_removed(cluster: Cluster) -> None:
    await scheduled(cluster)
    cluster.put(POD, {**cluster.pod, "status": {"phase": "Failed", "message": "The node was low on memory."}})
    await cluster.look()
    assert cluster.pod["metadata"]["deletionTimestamp"]
    assert told(cluster)[2].endswith("has ended: The node was low on memory.")


async def test_labels_and_annotations_follow_and_leave_with_the_machines(cluster: Cluster) -> None:
    await scheduled(cluster)
    pod = cluster.pod
    others = {**pod["metadata"]["labels"], "of": "another"}
    cluster.put(POD, {**pod, "metadata": {**pod["metadata"], "labels": others}})
    cluster.put(
        VIRTUAL_MACHINE,
        {
            **cluster.machine,
            "metadata": {**cluster.machine["metadata"], "labels": {"app": "web"}, "annotations": {"note": "x"}},
        },
    )
    await cluster.look()
    assert cluster.pod["metadata"]["labels"] == {**others, "app": "web"}
    assert cluster.pod["metadata"]["annotations"]["note"] == "x"
    cluster.put(
        VIRTUAL_MACHINE,
        {**cluster.machine, "metadata": {**cluster.machine["metadata"], "labels": {}, "annotations": {}}},
    )
    await cluster.look()
    assert cluster.pod["metadata"]["labels"] == others
    assert "note" not in cluster.pod["metadata"]["annotations"]


async def test_somebody_elses_pod_of_that_name_is_named_and_left_alone(cluster: Cluster) -> None:
    await cluster.look()
    pod = cluster.pod
    labels = {**pod["metadata"]["labels"], names.VM_UID_LABEL: "another"}
    cluster.put(POD, {**pod, "metadata": {**pod["metadata"], "labels": labels}})
    await cluster.look()
    assert "is not the machine's, but has its Pod's name: delete it." in told(cluster)[2]
    assert "deletionTimestamp" not in cluster.pod["metadata"]


async def test_the_machines_node_has_the_last_word_on_what_it_lacks(cluster: Cluster) -> None:
    await scheduled(cluster)
    lacking = {"type": "Running", "status": "False", "reason": "NotRunning", "message": "The disk is not Ready."}
    cluster.set_machine(conditions=[lacking])
    cluster.end_pod()
    await cluster.look()
    assert told(cluster)[1:] == ("NotRunning", "The disk is not Ready.")


async def test_a_machine_that_has_no_node_is_let_go_once_its_pod_is(cluster: Cluster) -> None:
    await cluster.look()
    going = {**cluster.machine["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
    cluster.put(VIRTUAL_MACHINE, {**cluster.machine, "metadata": going})
    await cluster.look()
    assert cluster.pod["metadata"]["deletionTimestamp"]
    assert (VIRTUAL_MACHINE, *WEB) in cluster.objects
    cluster.end_pod()
    await cluster.look()
    assert (VIRTUAL_MACHINE, *WEB) not in cluster.objects
