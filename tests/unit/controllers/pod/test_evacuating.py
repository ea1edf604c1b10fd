"""A guest whose Pod was asked to go is moved, again and again until it has gone, or nobody wants that any more."""

from __future__ import annotations

from typing import Any

import pytest

from hyperd import clock
from hyperd.controllers.pod.manifest import pod_name
from hyperd.resources.all import (
    POD,
    POD_DISRUPTION_BUDGET,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_CLASS,
    VIRTUAL_MACHINE_OPERATION,
)
from hyperd.resources.values import names
from tests.parts import Part
from tests.unit.controllers.pod.cluster import Cluster
from tests.unit.controllers.pod.machines import class_
from tests.unit.controllers.pod.test_controller import new_machine, scheduled

MARK = {names.POD_EVICTED_ANNOTATION: "true"}


@pytest.fixture
async def cluster() -> Cluster:
    """A guest runs in its Pod, which was asked to go."""
    made = Cluster()
    made.put(VIRTUAL_MACHINE_CLASS, {**class_(), "status": {"phase": "Ready"}})
    made.put(VIRTUAL_MACHINE, new_machine())
    await scheduled(made)
    made.set_machine(phase="Running", holder={"epoch": 1, "node": "metal"})
    mark(made)
    return made


def mark(cluster: Cluster) -> None:
    meta = cluster.pod["metadata"]
    cluster.put(POD, {**cluster.pod, "metadata": {**meta, "annotations": {**meta["annotations"], **MARK}}})


def is_marked(cluster: Cluster) -> bool:
    return names.POD_EVICTED_ANNOTATION in cluster.pod["metadata"]["annotations"]


def operations(cluster: Cluster) -> list[Part]:
    found = (obj for (kind, _, _), obj in cluster.objects.items() if kind is VIRTUAL_MACHINE_OPERATION)
    return sorted(found, key=lambda op: op["metadata"]["name"])


def budget(cluster: Cluster) -> Part:
    return next((obj for (kind, _, _), obj in cluster.objects.items() if kind is POD_DISRUPTION_BUDGET), None)


def ended(cluster: Cluster, phase: str, *, ago: float) -> None:
    op = operations(cluster)[-1]
    status = {"phase": phase, "retentionTimer": clock.timer(ago)}
    cluster.put(VIRTUAL_MACHINE_OPERATION, {**op, "status": status})


def delete(cluster: Cluster, op: Part, **status: Any) -> None:
    meta = {**op["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
    cluster.put(VIRTUAL_MACHINE_OPERATION, {**op, "metadata": meta, "status": {**op.get("status", {}), **status}})


def required(cluster: Cluster) -> list[tuple[str, str]]:
    conditions = cluster.machine["status"]["conditions"]
    return [(one["status"], one["message"]) for one in conditions if one["type"] == "EvictionRequired"]


async def test_it_is_asked_for_once_and_told_of(cluster: Cluster) -> None:
    await cluster.look()
    await cluster.look()
    (op,) = operations(cluster)
    assert op["spec"] == {"type": "Evict", "virtualMachineName": "web"}
    assert op["metadata"]["name"].startswith("evacuation-")
    assert op["metadata"]["annotations"] == {names.VMOP_EVACUATION_ANNOTATION: "true"}
    assert op["metadata"]["finalizers"] == [names.VMOP_PROTECTION_BY_EVACUATION]
    assert required(cluster) == [("True", "VirtualMachine should be evicted from current node or restarted.")]
    assert cluster.told == [("Evicted", "Evict initiated with VirtualMachineOperation")]


async def test_what_fails_is_tried_again_later_each_time(cluster: Cluster) -> None:
    for failures, wait in ((1, 2.0), (2, 4.0), (3, 8.0)):
        await cluster.look()
        assert len(operations(cluster)) == failures
        ended(cluster, "Failed", ago=wait - 1)
        result = await cluster.look()
        assert result is not None
        assert 0 < (result.requeue_after or 0) <= 1.1
        assert len(operations(cluster)) == failures
        ended(cluster, "Failed", ago=100)
    await cluster.look()
    assert len(operations(cluster)) == 4
    assert all(not op["metadata"]["finalizers"] for op in operations(cluster)[:3]), "what is over holds nobody up"


async def test_it_is_tried_again_also_where_another_node_has_timed_the_failure(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cluster.look()
    timer = {**clock.timer(), "boot": "of another node"}
    status = {"phase": "Failed", "retentionTimer": timer}
    cluster.put(VIRTUAL_MACHINE_OPERATION, {**operations(cluster)[0], "status": status})
    assert await cluster.look() is not None
    assert len(operations(cluster)) == 1
    later = clock.elapsed() + 3.0
    monkeypatch.setattr(clock, "elapsed", lambda: later)
    await cluster.look()
    assert len(operations(cluster)) == 2


async def test_it_is_no_rival_of_a_migration_that_goes_on(cluster: Cluster) -> None:
    rival = {
        "metadata": {"namespace": "shop", "name": "mine", "uid": "op-1"},
        "spec": {"type": "Migrate", "virtualMachineName": "web"},
        "status": {"phase": "InProgress"},
    }
    cluster.put(VIRTUAL_MACHINE_OPERATION, rival)
    await cluster.look()
    assert [op["metadata"]["name"] for op in operations(cluster)] == ["mine"]
    assert required(cluster)


@pytest.mark.parametrize("phase", ["Starting", "Degraded", "Pause"])
async def test_a_guest_that_cannot_go_yet_is_not_asked_to(cluster: Cluster, phase: str) -> None:
    cluster.set_machine(phase=phase)
    await cluster.look()
    assert operations(cluster) == []
    assert required(cluster)


async def test_who_deletes_the_operation_takes_the_eviction_back(cluster: Cluster) -> None:
    await cluster.look()
    delete(cluster, operations(cluster)[0], phase="InProgress")
    await cluster.look()
    assert not is_marked(cluster)
    assert operations(cluster)[0]["metadata"]["finalizers"] == []
    cluster.objects.pop((VIRTUAL_MACHINE_OPERATION, "shop", operations(cluster)[0]["metadata"]["name"]))
    cluster.show()
    await cluster.look()
    assert operations(cluster) == []
    assert required(cluster) == []


async def test_a_finished_one_that_is_deleted_takes_nothing_back(cluster: Cluster) -> None:
    await cluster.look()
    ended(cluster, "Failed", ago=0)
    delete(cluster, operations(cluster)[0])
    await cluster.look()
    assert is_marked(cluster)
    assert operations(cluster)[0]["metadata"]["finalizers"] == []


async def test_no_operation_outlives_its_machine_by_the_finalizer(cluster: Cluster) -> None:
    await cluster.look()
    cluster.objects.pop((VIRTUAL_MACHINE, "shop", "web"))
    cluster.show()
    await cluster.look()
    assert operations(cluster)[0]["metadata"]["finalizers"] == []


async def test_the_condition_ends_with_the_pod_that_was_asked(cluster: Cluster) -> None:
    await cluster.look()
    op = operations(cluster)[0]
    second = pod_name(cluster.machine, operation=op["metadata"]["uid"])
    ended(cluster, "Completed", ago=0)
    meta = {**cluster.pod["metadata"], "name": second, "annotations": {}, "uid": "p-2"}
    cluster.put(POD, {**cluster.pod, "metadata": meta})
    both = [{"name": second, "active": True}]
    cluster.set_machine(nodeName="other", holder={"epoch": 2, "node": "other"}, virtualMachinePods=both)
    await cluster.look()
    assert required(cluster) == []
    assert len(operations(cluster)) == 1


async def test_a_pod_that_was_asked_to_go_does_so_once_its_guest_is_off(cluster: Cluster) -> None:
    cluster.set_machine(phase="Pending")
    await cluster.look()
    assert cluster.pod["metadata"].get("deletionTimestamp")
    assert operations(cluster) == []


async def test_evictions_leave_the_pod_and_both_while_the_guest_is_between_two(cluster: Cluster) -> None:
    uid = cluster.machine["metadata"]["uid"]
    assert budget(cluster)["spec"] == {"minAvailable": 1, "selector": {"matchLabels": {names.VM_UID_LABEL: uid}}}
    await cluster.look()
    cluster.put(VIRTUAL_MACHINE_OPERATION, {**operations(cluster)[0], "status": {"phase": "InProgress"}})
    await cluster.look()
    assert budget(cluster)["spec"]["minAvailable"] == 2
    ended(cluster, "Failed", ago=0)
    await cluster.look()
    await cluster.look()
    second = [obj for (kind, _, _), obj in cluster.objects.items() if kind is POD][-1]
    assert second["metadata"].get("deletionTimestamp")
    cluster.objects.pop((POD, "shop", second["metadata"]["name"]))
    # Kubernetes counts it still: with one to be kept the guest's own could be evicted.
    for healthy, kept in ((2, 2), (1, 1)):
        cluster.put(POD_DISRUPTION_BUDGET, {**budget(cluster), "status": {"currentHealthy": healthy}})
        await cluster.look()
        assert budget(cluster)["spec"]["minAvailable"] == kept


async def test_a_machine_that_rests_has_no_budget(cluster: Cluster) -> None:
    cluster.set_machine(phase="Stopped")
    cluster.put(
        VIRTUAL_MACHINE, {**cluster.machine, "spec": {**cluster.machine["spec"], "runPolicy": "AlwaysOff"}}
    )
    await cluster.look()
    assert budget(cluster) is None or budget(cluster)["metadata"].get("deletionTimestamp")


async def test_a_budget_of_somebody_elses_is_left_alone(cluster: Cluster) -> None:
    found = budget(cluster)
    theirs = {**found, "metadata": {**found["metadata"], "ownerReferences": []}, "spec": {"minAvailable": 0}}
    cluster.put(POD_DISRUPTION_BUDGET, theirs)
    await cluster.look()
    assert budget(cluster)["spec"] == {"minAvailable": 0}


async def test_a_name_that_somebody_else_gave_stands_in_no_ones_way(cluster: Cluster) -> None:
    """Names of others' count as little as they can: 9…9 is followed by what nobody can be called."""
    await cluster.look()
    mine = operations(cluster)[0]
    cluster.objects.pop((VIRTUAL_MACHINE_OPERATION, "shop", mine["metadata"]["name"]))
    long = mine["metadata"]["name"].removesuffix("1") + "9" * 230
    theirs = {**mine, "metadata": {**mine["metadata"], "name": long, "uid": "theirs", "finalizers": []}}
    cluster.put(
        VIRTUAL_MACHINE_OPERATION, {**theirs, "status": {"phase": "Failed", "retentionTimer": clock.timer(99)}}
    )
    await cluster.look()
    assert mine["metadata"]["name"] in [op["metadata"]["name"] for op in operations(cluster)]
