"""A guest that is to go to another node has a second Pod there, until one of both has it for good."""

from __future__ import annotations

from typing import Any

import pytest

from hyperd.controllers.migration.parts import waits
from hyperd.controllers.pod.manifest import current_pod_name, find_pod, pod_name
from hyperd.errors import TemporaryError
from hyperd.resources.all import NODE, POD, VIRTUAL_MACHINE, VIRTUAL_MACHINE_CLASS, VIRTUAL_MACHINE_OPERATION
from hyperd.resources.values.conditions import find_condition
from hyperd.resources.values.names import (
    POD_MADE_OF_ANNOTATION,
    QEMU_DIGEST_LABEL,
    QEMU_VERSION_LABEL,
    VMOP_WORKLOAD_UPDATE_IMAGE_ANNOTATION,
)
from hyperd.runtime.controller import Result
from hyperd.store.interface import Item
from tests.parts import Part
from tests.unit.controllers.pod.cluster import Cluster
from tests.unit.controllers.pod.machines import class_
from tests.unit.controllers.pod.test_controller import new_machine, scheduled

OPERATION = "9b1c54f0-2f7d-4c1e-8f52-0c6a3e1d2b4f"


def operation(phase: str = "InProgress", **spec: Any) -> Part:
    return {
        "metadata": {"namespace": "shop", "name": "away", "uid": OPERATION},
        "spec": {"type": "Migrate", "virtualMachineName": "web", **spec},
        "status": {"phase": phase},
    }


@pytest.fixture
async def cluster() -> Cluster:
    made = Cluster()
    made.put(VIRTUAL_MACHINE_CLASS, {**class_(), "status": {"phase": "Ready"}})
    made.put(VIRTUAL_MACHINE, new_machine())
    await scheduled(made)
    made.set_machine(phase="Running", holder={"epoch": 1, "node": "metal"})
    await made.look()
    return made


def pods(cluster: Cluster) -> dict[str, Part]:
    return {name: pod for (kind, _, name), pod in cluster.objects.items() if kind is POD}


def names(cluster: Cluster) -> tuple[str, str]:
    return pod_name(cluster.machine), pod_name(cluster.machine, operation=OPERATION)


def leaves(pod: Part) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


async def test_the_second_one_is_asked_for_elsewhere_and_counts_as_made_of_the_same(cluster: Cluster) -> None:
    cluster.put(VIRTUAL_MACHINE_OPERATION, operation(migrate={"nodeSelector": {"zone": "b"}}))
    await cluster.look()
    first, second = names(cluster)
    assert set(pods(cluster)) == {first, second}
    spec = pods(cluster)[second]["spec"]
    assert spec["nodeSelector"]["zone"] == "b"
    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    apart = {"key": "metadata.name", "operator": "NotIn", "values": ["metal"]}
    assert [term["matchFields"] for term in terms["nodeSelectorTerms"]] == [[apart]]
    made_of = {pod["metadata"]["annotations"][POD_MADE_OF_ANNOTATION] for pod in pods(cluster).values()}
    assert len(made_of) == 1
    await cluster.look()
    assert cluster.machine["status"]["virtualMachinePods"] == [
        {"name": first, "active": True},
        {"name": second, "active": False},
    ]
    assert current_pod_name(cluster.machine) == first


async def test_it_goes_with_its_operation_unless_the_guest_is_on_its_way(cluster: Cluster) -> None:
    cluster.put(VIRTUAL_MACHINE_OPERATION, operation())
    await cluster.look()
    first, second = names(cluster)
    holder = {"epoch": 1, "node": "metal", "to": "other", "operation": OPERATION}
    cluster.set_machine(phase="Migrating", holder=holder)
    cluster.put(VIRTUAL_MACHINE_OPERATION, operation("Superseded"))
    await cluster.look()
    assert not leaves(pods(cluster)[second])
    cluster.set_machine(phase="Running", holder={"epoch": 1, "node": "metal"})
    await cluster.look()
    assert leaves(pods(cluster)[second])
    assert not leaves(pods(cluster)[first])


async def test_the_one_that_the_guest_left_goes(cluster: Cluster) -> None:
    cluster.put(VIRTUAL_MACHINE_OPERATION, operation())
    await cluster.look()
    first, second = names(cluster)
    both = [{"name": second, "active": True}, {"name": first, "active": False}]
    cluster.set_machine(nodeName="other", holder={"epoch": 2, "node": "other"}, virtualMachinePods=both)
    await cluster.look()
    assert leaves(pods(cluster)[first])
    assert not leaves(pods(cluster)[second])
    assert current_pod_name(cluster.machine) == second


async def test_no_pod_goes_by_what_is_seen_of_a_machine_that_is_another_by_now(cluster: Cluster) -> None:
    """The operation is seen to have ended, and where the guest is by now is not."""
    cluster.put(VIRTUAL_MACHINE_OPERATION, operation())
    await cluster.look()
    first, second = names(cluster)
    cluster.hidden = True
    both = [{"name": second, "active": True}, {"name": first, "active": False}]
    cluster.set_machine(nodeName="other", holder={"epoch": 2, "node": "other"}, virtualMachinePods=both)
    done = operation("Completed")
    done["metadata"]["resourceVersion"] = "1000"
    cluster.informer(VIRTUAL_MACHINE_OPERATION)._put(("shop", "away"), Item.of(done))
    with pytest.raises(TemporaryError):
        await cluster.look()
    assert not leaves(pods(cluster)[second])
    assert find_pod(cluster.informer(POD), cluster.machine) is not None


def migrating(cluster: Cluster) -> tuple[str, str, str]:
    found = find_condition(cluster.machine, "Migrating")
    return (found["status"], found["reason"], found["message"]) if found else ("", "", "")


@pytest.mark.parametrize(
    "refusal",
    [
        'pods "virt-launcher-web" is forbidden: exceeded quota: little, requested: pods=1',
        'pods "virt-launcher-web" is forbidden: maximum memory usage per Container is 1Mi, but limit is 1Gi',
        'pods "virt-launcher-web" is forbidden: violates PodSecurity "restricted:latest"',
        'pods "virt-launcher-web" is forbidden: no PriorityClass with name high was found',
        'admission webhook "theirs" denied the request: not on a Tuesday',
    ],
)
async def test_one_that_is_refused_is_told_of_and_made_once_it_is_not(cluster: Cluster, refusal: str) -> None:
    cluster.put(VIRTUAL_MACHINE_OPERATION, operation())
    cluster.refusal = refusal
    assert await cluster.look() == Result(10.0)
    told = f"The Pod that the guest goes to cannot be made: {refusal}"
    assert migrating(cluster) == ("False", "Pending", told)
    stage = waits(cluster.machine, None)
    assert stage is not None
    assert stage.message == told
    assert stage.reason == ("QuotaExceeded" if "exceeded quota" in refusal else "TargetScheduling")
    cluster.refusal = ""
    await cluster.look()
    assert set(pods(cluster)) == set(names(cluster))
    assert migrating(cluster) == ("", "", "")


async def test_what_was_told_of_a_refusal_goes_with_the_operation(cluster: Cluster) -> None:
    cluster.put(VIRTUAL_MACHINE_OPERATION, operation())
    cluster.refusal = "exceeded quota: little"
    await cluster.look()
    cluster.put(VIRTUAL_MACHINE_OPERATION, operation("Failed"))
    await cluster.look()
    assert migrating(cluster) == ("", "", "")


async def test_an_update_goes_only_to_nodes_with_that_qemu_or_a_newer_one(cluster: Cluster) -> None:
    for name, digest, version in (("metal", "b", "7.2.0"), ("wood", "b", "7.2.0"), ("new", "c", "8.0.0")):
        labels = {QEMU_DIGEST_LABEL: digest, QEMU_VERSION_LABEL: version}
        cluster.put(NODE, {"metadata": {"name": name, "labels": labels}})
    op = operation()
    op["metadata"]["annotations"] = {VMOP_WORKLOAD_UPDATE_IMAGE_ANNOTATION: "b"}
    cluster.put(VIRTUAL_MACHINE_OPERATION, op)
    await cluster.look()
    spec = pods(cluster)[names(cluster)[1]]["spec"]
    (term,) = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert {"key": QEMU_DIGEST_LABEL, "operator": "In", "values": ["b", "c"]} in term["matchExpressions"]
