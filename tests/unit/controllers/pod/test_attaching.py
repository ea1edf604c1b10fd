"""Claims come to a guest that runs by Pods of their own, which stay until it does not have them any more."""

from __future__ import annotations

from typing import Any

import pytest

from hyperd.controllers.ownership import bind_disk, disk_node
from hyperd.controllers.pod import attaching
from hyperd.controllers.pod.claims import Mount
from hyperd.controllers.pod.manifest import pod_name
from hyperd.controllers.pod.volumes import NodeClaims
from hyperd.resources.all import (
    PERSISTENT_VOLUME_CLAIM,
    POD,
    VIRTUAL_DISK,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT,
    VIRTUAL_MACHINE_OPERATION,
)
from hyperd.resources.values import names
from tests.parts import Part, part
from tests.unit.controllers.pod.cluster import Cluster
from tests.unit.controllers.pod.machines import CONF
from tests.unit.controllers.pod.test_claims import DATA, cluster, disk
from tests.unit.controllers.pod.test_controller import new_machine, scheduled

__all__ = ["cluster"]
CLAIM = "d8v-vd-d-1"
REFS = [{"kind": "VirtualDisk", "name": "data"}]


@pytest.fixture
async def guest(cluster: Cluster) -> Cluster:
    """It runs on metal without the disk, which has its claim."""
    cluster.put(VIRTUAL_MACHINE, new_machine())
    await cluster.claiming.reconcile(DATA)
    await scheduled(cluster)
    cluster.set_machine(phase="Running", holder={"epoch": 1, "node": "metal"})
    return cluster


def attach(cluster: Cluster, *, machine: str = "web", name: str = "a", **meta: Any) -> None:
    known = {"namespace": "shop", "name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z", **meta}
    spec = {"blockDeviceRef": REFS[0], "virtualMachineName": machine}
    cluster.put(VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT, {"metadata": known, "spec": spec})


def detach(cluster: Cluster, name: str = "a") -> None:
    del cluster.objects[VIRTUAL_MACHINE_BLOCK_DEVICE_ATTACHMENT, "shop", name]
    cluster.show()


def attacher(cluster: Cluster) -> Part:
    """None where there is none, or it is to go."""
    found = cluster.objects.get((POD, "shop", attaching.pod_name(cluster.machine, CLAIM)))
    return None if found is None or found["metadata"].get("deletionTimestamp") else part(found)


def comes(cluster: Cluster, node: str = "metal") -> None:
    pod = attacher(cluster)
    cluster.put(POD, {**pod, "spec": {**pod["spec"], "nodeName": node}, "status": {"phase": "Running"}})


def shown(cluster: Cluster, *, attached: bool) -> None:
    cluster.set_machine(blockDeviceRefs=[{**REFS[0], "size": "1Gi", "attached": attached}])


def node_of(cluster: Cluster) -> str:
    return disk_node(part(cluster.objects[VIRTUAL_DISK, *DATA]))


@pytest.mark.parametrize("by", ["attachment", "spec"])
async def test_it_is_on_the_guests_node_and_the_disk_is_bound_to_that(guest: Cluster, by: str) -> None:
    attach(guest) if by == "attachment" else guest.set_spec(blockDeviceRefs=REFS)
    await guest.look()
    pod = attacher(guest)
    labels = {
        names.VM_UID_LABEL: "",
        names.VD_UID_LABEL: "d-1",
        names.VM_ATTACHED_LABEL: "6f7d3a52-7c5e-4b3c-9a58-9d6c1a6b7c8d",
    }
    assert pod["metadata"]["labels"] == labels
    assert pod["spec"]["volumes"][1:] == [{"name": "disk-d-1", "persistentVolumeClaim": {"claimName": CLAIM}}]
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert terms["nodeSelectorTerms"][0]["matchFields"][0]["values"] == ["metal"]
    assert node_of(guest) == ""
    comes(guest)
    await guest.look()
    assert node_of(guest) == "metal"
    assert guest.machine["status"]["virtualMachinePods"] == [
        {"name": guest.pod["metadata"]["name"], "active": True}
    ], "it is none of the machine's own"


async def test_it_stays_while_the_guest_has_the_disk_and_goes_after_that(guest: Cluster) -> None:
    attach(guest)
    await guest.look()
    comes(guest)
    shown(guest, attached=True)
    attach(guest, deletionTimestamp="2026-01-02T00:00:00Z", finalizers=["x"])
    await guest.look()
    assert attacher(guest)
    detach(guest)
    await guest.look()
    assert attacher(guest), "its node says that the guest has it"
    shown(guest, attached=False)
    await guest.look()
    assert not attacher(guest)


async def test_nothing_comes_that_another_guest_has(guest: Cluster) -> None:
    other = new_machine(blockDeviceRefs=REFS)
    other["metadata"] |= {"name": "db", "uid": "other"}
    refs = [{**REFS[0], "size": "", "attached": True}]
    guest.put(
        VIRTUAL_MACHINE, {**other, "status": {"phase": "Running", "nodeName": "wood", "blockDeviceRefs": refs}}
    )
    attach(guest)
    await guest.look()
    assert not attacher(guest)


@pytest.mark.parametrize(("where", "bound"), [("clay", "metal"), ("wood", "wood")])
async def test_a_disk_that_may_be_being_given_to_another_guest_stays_where_it_is(
    guest: Cluster, where: str, bound: str
) -> None:
    """One that waits for it too can only get it where it is."""
    other = new_machine(blockDeviceRefs=REFS)
    other["metadata"] |= {"name": "db", "uid": "other"}
    guest.put(VIRTUAL_MACHINE, {**other, "status": {"phase": "Running", "nodeName": where}})
    await bind_disk(part(guest), part(guest.objects[VIRTUAL_DISK, *DATA]), "wood")
    attach(guest)
    await guest.look()
    comes(guest)
    await guest.look()
    assert node_of(guest) == bound


async def test_nothing_comes_of_a_disk_that_is_to_go(guest: Cluster) -> None:
    obj = guest.objects[VIRTUAL_DISK, *DATA]
    meta = {**obj["metadata"], "deletionTimestamp": "2026-01-02T00:00:00Z", "finalizers": ["x"]}
    guest.put(VIRTUAL_DISK, {**obj, "metadata": meta})
    attach(guest)
    await guest.look()
    assert not attacher(guest)


async def test_it_goes_once_the_machines_own_pod_has_the_claim(guest: Cluster) -> None:
    """Else a volume that one node has would keep that Pod from another node."""
    guest.set_spec(blockDeviceRefs=REFS)
    await guest.look()
    comes(guest)
    shown(guest, attached=True)
    guest.end_pod()
    guest.set_machine(phase="Pending", virtualMachinePods=[])
    await guest.look()
    own = next(
        pod for (kind, _, name), pod in guest.objects.items() if kind is POD and name.startswith("virt-launcher")
    )
    assert own["spec"]["volumes"][1:]
    await guest.look()
    assert not attacher(guest)


async def test_it_goes_where_the_guest_has_gone_elsewhere_and_where_it_is_off(guest: Cluster) -> None:
    attach(guest)
    await guest.look()
    comes(guest)
    guest.set_machine(nodeName="wood", blockDeviceRefs=[{**REFS[0], "size": "", "attached": True}])
    await guest.look()
    assert not attacher(guest)
    guest.objects.pop((POD, "shop", attaching.pod_name(guest.machine, CLAIM)))
    guest.show()
    guest.set_machine(nodeName="metal")
    await guest.look()
    assert attacher(guest)
    guest.set_machine(phase="Stopped")
    await guest.look()
    assert not attacher(guest)


async def test_what_the_api_server_refuses_is_told(guest: Cluster) -> None:
    attach(guest)
    guest.refusal = "pods is forbidden: exceeded quota: few"
    assert await guest.look() is not None
    said = f"The Pod that brings the claim {CLAIM} cannot be made: {guest.refusal}"
    assert guest.told == [("BlockDeviceHotPlugFailed", said)]


async def test_the_pod_to_which_a_guest_goes_has_what_attachments_have_brought(guest: Cluster) -> None:
    attach(guest)
    await guest.look()
    comes(guest)
    move = {
        "metadata": {"namespace": "shop", "name": "go", "uid": "op-1"},
        "spec": {"type": "Migrate", "virtualMachineName": "web"},
        "status": {"phase": "InProgress"},
    }
    guest.put(VIRTUAL_MACHINE_OPERATION, move)
    await guest.look()
    second = (POD, "shop", pod_name(guest.machine, operation="op-1"))
    assert not guest.objects[second]["spec"]["volumes"][1:], "another guest may have it still"
    guest.objects.pop(second)
    guest.show()
    shown(guest, attached=True)
    await guest.look()
    assert guest.objects[second]["spec"]["volumes"][1:] == attacher(guest)["spec"]["volumes"][1:]


async def test_a_node_says_what_a_claim_waits_for(guest: Cluster) -> None:
    shown(guest, attached=False)
    said, context = ["Pod virt-attacher cannot be scheduled: no."], part(guest.context)
    context.node_name = "metal"
    claims = NodeClaims(context, lambda *_: None, lambda _: None, lambda *_: said[0])
    assert claims.awaited("d-1") == said[0]
    said[0] = ""
    assert claims.awaited("d-1") == f"PersistentVolumeClaim {CLAIM} comes to node metal by a Pod."
    assert NodeClaims(context, lambda *_: part("it"), lambda _: None).awaited("d-1") == ""
    del guest.objects[PERSISTENT_VOLUME_CLAIM, "shop", CLAIM]
    guest.show()
    assert claims.awaited("d-1") == "", "it is no claim"


def test_it_is_as_dear_as_the_machines_own_pod() -> None:
    mount = Mount("d-1", CLAIM)
    spec = attaching.make_manifest(new_machine(priorityClassName="high"), mount, CONF, "metal")["spec"]
    assert (spec["priorityClassName"], spec["tolerations"]) == ("high", [{"operator": "Exists"}])
    assert "priorityClassName" not in attaching.make_manifest(new_machine(), mount, CONF, "metal")["spec"]


def test_another_disk_is_another_pod() -> None:
    one, two = attaching.pod_name(new_machine(), "a"), attaching.pod_name(new_machine(), "b")
    assert one != two
    assert disk()["metadata"]["uid"] not in one
