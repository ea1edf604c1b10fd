"""A guest that may not be where it is any more is moved, once, where there is a node for it; no other is."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from hyperd import clock
from hyperd.controllers.context import Context
from hyperd.controllers.pod import reading
from hyperd.controllers.pod.straying import PlacementUpdates
from hyperd.controllers.pod.targets import Targets
from hyperd.resources.all import NODE, POD, VIRTUAL_MACHINE, VIRTUAL_MACHINE_CLASS, VIRTUAL_MACHINE_OPERATION
from hyperd.resources.values import names
from hyperd.store.interface import Item
from tests.parts import Part
from tests.unit.controllers.pod.cluster import WEB, Cluster
from tests.unit.controllers.pod.machines import class_
from tests.unit.controllers.pod.test_controller import new_machine, scheduled
from tests.unit.controllers.pod.test_evacuating import operations

MIGRATABLE = {"type": "Migratable", "status": "True", "reason": "VirtualMachineMigratable"}
THERE = {"zone": "there"}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def node(
    name: str,
    *,
    ready: str = "True",
    taints: tuple[Part, ...] = (),
    cordoned: bool = False,
    more: Part | None = None,
    **labels: str,
) -> Part:
    told = {names.KVM_ENABLED_LABEL: "true", names.QEMU_DIGEST_LABEL: "q", "host": name, **labels, **(more or {})}
    status = {"conditions": [{"type": "Ready", "status": ready}]}
    spec = {"unschedulable": cordoned, "taints": list(taints)}
    return {"metadata": {"name": name, "labels": told}, "spec": spec, "status": status}


class Updates(Cluster):
    """A guest runs on metal; wood is the other node."""

    def __init__(self) -> None:
        super().__init__()
        given = cast(Context, self.context)
        self.updates, self.targets = PlacementUpdates(given), Targets(given)
        self.put(VIRTUAL_MACHINE_CLASS, {**class_(), "status": {"phase": "Ready"}})
        self.put(NODE, node("metal", zone="here"))
        self.put(NODE, node("wood", zone="there"))

    async def step(self) -> Any:
        return await self.updates.reconcile(WEB)

    def ended(self, phase: str, *, ago: float = 0.0) -> None:
        op = operations(self)[-1]
        self.put(VIRTUAL_MACHINE_OPERATION, {**op, "status": {"phase": phase, "retentionTimer": clock.timer(ago)}})

    def where(self) -> tuple[str, str]:
        reason, why = self.targets.lacking(self.machine)
        return self.targets.strays(self.machine), reason if why else ""


@pytest.fixture
async def updates() -> Updates:
    made = Updates()
    made.put(VIRTUAL_MACHINE, new_machine())
    await scheduled(made)
    made.set_machine(phase="Running", holder={"epoch": 1, "node": "metal"}, conditions=[MIGRATABLE])
    return made


def far_from(label: str, **term: Any) -> Part:
    one = {"labelSelector": {"matchLabels": {"app": label}}, "topologyKey": "host", **term}
    return {"virtualMachineAndPodAntiAffinity": {REQUIRED: [one]}}


def near_to(label: str, **term: Any) -> Part:
    return {"virtualMachineAndPodAffinity": {REQUIRED: [*far_from(label, **term).popitem()[1][REQUIRED]]}}


def beside(cluster: Cluster, on: str, *, namespace: str = "shop", **labels: str) -> None:
    """A Pod of another machine."""
    meta = {"namespace": namespace, "name": f"p-{on}", "uid": f"p-{on}", "labels": labels}
    cluster.put(POD, {"metadata": meta, "spec": {"nodeName": on}})


async def test_it_is_moved_once_as_the_reference_has_it(updates: Updates) -> None:
    updates.set_spec(nodeSelector=THERE)
    await updates.step()
    await updates.step()
    (op,) = operations(updates)
    assert op["metadata"]["name"].startswith("nodeplacement-update-")
    assert op["spec"] == {"type": "Evict", "virtualMachineName": "web"}
    rules = op["metadata"]["annotations"]["virtualization.deckhouse.io/workload-update-node-placement-sum"]
    assert rules != reading.placed_by(updates.pod)
    assert op["metadata"]["annotations"]["virtualization.deckhouse.io/workload-update"] == "true"
    updates.ended("Completed")
    await updates.step()
    assert len(operations(updates)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"nodeSelector": {"zone": "here"}},
        {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["here"]}]}]}}}},
        {"tolerations": [{"key": "any", "operator": "Exists"}]},
    ],
)  # fmt: skip
async def test_one_that_may_stay_stays_and_its_pod_says_so(updates: Updates, change: Part) -> None:
    before = reading.placed_by(updates.pod)
    updates.set_spec(**change)
    await updates.step()
    assert operations(updates) == []
    assert reading.placed_by(updates.pod) != before
    version = updates.pod["metadata"]["resourceVersion"]
    # From then on the nodes' labels are nobody's reason, as the scheduler has it.
    updates.put(NODE, node("metal", zone="elsewhere"))
    await updates.step()
    assert operations(updates) == []
    assert updates.pod["metadata"]["resourceVersion"] == version


async def test_what_changes_of_a_class_counts_as_well(updates: Updates) -> None:
    updates.put(VIRTUAL_MACHINE_CLASS, class_(nodeSelector={"matchLabels": THERE}))
    await updates.step()
    assert len(operations(updates)) == 1


async def test_what_changes_of_the_node_alone_moves_nobody(updates: Updates) -> None:
    updates.put(NODE, node("metal", taints=({"key": "a", "effect": "NoSchedule"},)))
    await updates.step()
    assert operations(updates) == []


async def test_who_takes_the_change_back_is_where_he_was(updates: Updates) -> None:
    """That it was moved stands in its new Pod's rules, so it goes back as well."""
    updates.set_spec(nodeSelector=THERE)
    await updates.step()
    updates.ended("Completed")
    meta = updates.pod["metadata"]
    rules = operations(updates)[0]["metadata"]["annotations"][names.VMOP_WORKLOAD_UPDATE_PLACEMENT_ANNOTATION]
    meta = {**meta, "annotations": {**meta["annotations"], names.POD_PLACED_BY_ANNOTATION: rules}}
    updates.put(POD, {**updates.pod, "metadata": meta, "spec": {**updates.pod["spec"], "nodeName": "wood"}})
    updates.set_machine(nodeName="wood")
    updates.set_spec(nodeSelector={"zone": "here"})
    await updates.step()
    assert len(operations(updates)) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"conditions": [{**MIGRATABLE, "status": "False"}]},
        {"phase": "Migrating"},
        {"phase": "Stopping"},
    ],
)
async def test_one_that_cannot_go_is_not_asked_to(updates: Updates, change: Part) -> None:
    updates.set_machine(**change)
    updates.set_spec(nodeSelector=THERE)
    await updates.step()
    assert operations(updates) == []


async def test_without_a_node_nothing_is_tried(updates: Updates) -> None:
    updates.set_spec(nodeSelector={"zone": "moon"})
    await updates.step()
    assert operations(updates) == []
    assert updates.where() == ("does not have the labels of the machine's nodeSelector: zone=moon",
                               "VirtualMachineNoMigrationTarget")  # fmt: skip


async def test_what_fails_is_tried_thrice_and_then_told_once(updates: Updates) -> None:
    updates.set_spec(nodeSelector=THERE)
    for wait in (10.0, 20.0):
        await updates.step()
        updates.ended("Failed", ago=wait - 1)
        again = await updates.step()
        assert 0 < again.requeue_after <= 1.1
        for op in operations(updates):
            status = {"phase": "Failed", "retentionTimer": clock.timer(1000.0)}
            updates.put(VIRTUAL_MACHINE_OPERATION, {**op, "status": status})
    await updates.step()
    updates.ended("Failed", ago=5000.0)
    assert await updates.step() is None
    assert await updates.step() is None
    assert len(operations(updates)) == 3
    told = "Live migration for the workload update failed 3 times, giving up; the VirtualMachine may require a "
    assert updates.told == [("WorkloadUpdateFailed", f"{told}restart to apply the update.")]
    updates.set_spec(nodeSelector={"host": "wood"})
    await updates.step()
    assert len(operations(updates)) == 4, "another change is tried anew"


@pytest.mark.parametrize(
    ("other", "lacks"),
    [
        (node("wood"), ""),
        (node("wood", ready="Unknown"), "VirtualMachineWaitingForMigrationTarget"),
        (node("wood", cordoned=True), "VirtualMachineWaitingForMigrationTarget"),
        (node("wood", more={names.QEMU_DIGEST_LABEL: ""}), "VirtualMachineWaitingForMigrationTarget"),
        (node("wood", taints=({"key": "a", "effect": "NoExecute"},)), "VirtualMachineNoMigrationTarget"),
        (node("wood", more={names.KVM_ENABLED_LABEL: "false"}), "VirtualMachineNoMigrationTarget"),
    ],
)
async def test_whether_there_is_a_node_to_go_to(updates: Updates, other: Part, lacks: str) -> None:
    updates.put(NODE, other)
    assert updates.where() == ("", lacks)


async def test_one_that_is_bound_to_its_node_has_none_to_go_to(updates: Updates) -> None:
    updates.set_spec(nodeSelector={"host": "metal"})
    assert updates.where() == ("", "VirtualMachineNoMigrationTarget")


@pytest.mark.parametrize(
    ("affinity", "on", "strays", "lacks"),
    [
        (far_from("db"), "metal", True, False),
        (far_from("db"), "wood", False, True),
        (far_from("other"), "metal", False, False),
        (far_from("db", topologyKey="none"), "metal", False, False),
        (far_from("db", namespaces=["elsewhere"]), "metal", False, False),
        (near_to("db"), "wood", True, False),
        (near_to("db"), "metal", False, True),
        (near_to("nobody"), "metal", False, False),
        (near_to("db", matchLabelKeys=["tier"]), "wood", False, False),
        (far_from("db", mismatchLabelKeys=["tier"]), "metal", True, False),
    ],
)
async def test_machines_beside_it_count(
    updates: Updates, affinity: Part, on: str, strays: bool, lacks: bool
) -> None:
    beside(updates, on, app="db")
    meta = {**updates.machine["metadata"], "labels": {"tier": "front", "app": "db"}}
    updates.put(VIRTUAL_MACHINE, {**updates.machine, "metadata": meta})
    updates.set_spec(affinity=affinity)
    found = updates.where()
    assert (bool(found[0]), bool(found[1])) == (strays, lacks)


@pytest.mark.parametrize("affinity", [far_from("else"), near_to("peer")])
async def test_all_nodes_and_pods_are_read_once_for_many_machines(
    updates: Updates, affinity: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look at a guest asks that, on the loop by which its node's lease is renewed."""
    updates.hidden = True
    for number in range(10):
        updates.put(NODE, node(f"n{number}", cordoned=True))
        for each in range(5):
            beside(updates, f"n{number}", namespace=f"shop-{each}", app="db")
    beside(updates, "wood", app="peer")
    updates.hidden = False
    updates.set_spec(affinity=affinity)
    await asyncio.sleep(0)
    read, first = 0, Item.object

    def object_(self: Item) -> Any:
        nonlocal read
        read += 1
        return first(self)

    monkeypatch.setattr(Item, "object", object_)
    for _ in range(5):
        updates.where()
    assert read < 12 + 52 + 5 * (12 + 8)
