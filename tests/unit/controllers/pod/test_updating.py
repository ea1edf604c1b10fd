"""Guests with an earlier QEMU than their node has go where they get one that is no older, one after the other."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from hyperd import clock
from hyperd.controllers.context import Context
from hyperd.controllers.pod.updating import FirmwareUpdates, lead_to
from hyperd.resources.all import NODE, VIRTUAL_MACHINE, VIRTUAL_MACHINE_OPERATION
from hyperd.resources.values import names
from hyperd.runtime.controller import Key, Result
from tests.parts import Part
from tests.unit.controllers.pod.cluster import Cluster
from tests.unit.controllers.pod.machines import machine

OUTDATED = {"type": "FirmwareUpToDate", "status": "False", "reason": "FirmwareOutOfDate"}
MIGRATABLE = {"type": "Migratable", "status": "True", "reason": "VirtualMachineMigratable"}


def node(name: str, digest: str, version: str = "7.2.0", **spec: Any) -> Part:
    labels = {names.QEMU_DIGEST_LABEL: digest, names.QEMU_VERSION_LABEL: version}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


def guest(name: str, *conditions: Part, phase: str = "Running", on: str = "metal", **spec: Any) -> Part:
    found = machine(**{"runPolicy": "AlwaysOn", **spec})
    found["metadata"] |= {"name": name, "uid": f"uid-{name}"}
    return {**found, "status": {"phase": phase, "nodeName": on, "conditions": list(conditions)}}


class Updates:
    def __init__(self) -> None:
        self.cluster = Cluster()
        self.controller = FirmwareUpdates(cast(Context, self.cluster.context))
        self.nodes(node("metal", "new"), node("wood", "new"))
        self.machine("web", OUTDATED, MIGRATABLE)

    def nodes(self, *given: Part) -> None:
        for one in given:
            self.cluster.put(NODE, one)

    def machine(self, name: str, *conditions: Part, **more: Any) -> None:
        self.cluster.put(VIRTUAL_MACHINE, guest(name, *conditions, **more))

    async def look(self, name: str = "web") -> Result | None:
        return await self.controller.reconcile(Key("shop", name))

    @property
    def operations(self) -> list[Part]:
        found = (obj for (kind, _, _), obj in self.cluster.objects.items() if kind is VIRTUAL_MACHINE_OPERATION)
        return sorted(found, key=lambda op: op["metadata"]["name"])

    def ended(self, phase: str, *, ago: float = 0.0) -> None:
        op = next(op for op in self.operations if "status" not in op)
        status = {"phase": phase, "retentionTimer": clock.timer(ago)}
        self.cluster.put(VIRTUAL_MACHINE_OPERATION, {**op, "status": status})


@pytest.fixture
def updates() -> Updates:
    return Updates()


async def test_it_is_asked_for_once_as_the_reference_has_it(updates: Updates) -> None:
    await updates.look()
    await updates.look()
    (op,) = updates.operations
    assert op["metadata"]["name"].startswith("firmware-update-")
    assert op["spec"] == {"type": "Evict", "virtualMachineName": "web"}
    assert op["metadata"]["annotations"] == {
        "virtualization.deckhouse.io/workload-update": "true",
        "virtualization.deckhouse.io/workload-update-image": "new",
    }


async def test_one_machine_after_the_other(updates: Updates) -> None:
    updates.machine("shop", OUTDATED, MIGRATABLE)
    await asyncio.gather(updates.look("web"), updates.look("shop"))
    assert len(updates.operations) == 1
    updates.ended("Completed")
    updates.machine("web", MIGRATABLE, on="wood")
    await updates.look("shop")
    assert [op["spec"]["virtualMachineName"] for op in updates.operations if "status" not in op] == ["shop"]


async def test_one_that_waits_for_a_quota_is_in_nobodys_way(updates: Updates) -> None:
    updates.machine("shop", OUTDATED, MIGRATABLE)
    await updates.look("web")
    updates.ended("Pending")
    await updates.look("shop")
    assert len(updates.operations) == 2


async def test_one_that_was_never_seen_holds_the_others_up_for_moments(
    updates: Updates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made, and deleted by somebody at once."""
    updates.machine("shop", OUTDATED, MIGRATABLE)
    updates.cluster.hidden = True
    await updates.look("web")
    updates.cluster.objects.pop((VIRTUAL_MACHINE_OPERATION, "shop", updates.operations[0]["metadata"]["name"]))
    updates.cluster.hidden = False
    assert await updates.look("shop") == Result(60.0)
    assert updates.operations == []
    later = clock.elapsed() + 31.0
    monkeypatch.setattr(clock, "elapsed", lambda: later)
    await updates.look("shop")
    assert len(updates.operations) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"conditions": (MIGRATABLE,)},
        {"conditions": (OUTDATED, {**MIGRATABLE, "status": "False"})},
        {"conditions": (OUTDATED, MIGRATABLE), "phase": "Migrating"},
        {"conditions": (OUTDATED, MIGRATABLE), "runPolicy": "AlwaysOff"},
    ],
)
async def test_a_guest_stays_that_need_not_go_or_cannot(updates: Updates, change: Part) -> None:
    updates.machine("web", *change.pop("conditions"), **change)
    assert await updates.look() is None
    assert updates.operations == []


@pytest.mark.parametrize("spec", [{}, {"unschedulable": True}])
async def test_a_guest_stays_while_no_other_node_has_what_its_own_has(updates: Updates, spec: Part) -> None:
    updates.nodes(node("wood", "new" if spec else "old", **spec))
    assert await updates.look() == Result(60.0)
    assert updates.operations == []
    updates.nodes(node("wood", "newer", "8.0.1"))
    await updates.look()
    assert len(updates.operations) == 1


async def test_what_fails_is_tried_again_later_each_time_and_then_no_more(updates: Updates) -> None:
    for wait in (60.0, 120.0):
        await updates.look()
        updates.ended("Failed", ago=wait - 1)
        again = await updates.look()
        assert again is not None
        assert 0 < (again.requeue_after or 0) <= 1.1
        for op in updates.operations:
            status = {"phase": "Failed", "retentionTimer": clock.timer(1000.0)}
            updates.cluster.put(VIRTUAL_MACHINE_OPERATION, {**op, "status": status})
    await updates.look()
    updates.ended("Failed", ago=5000.0)
    assert await updates.look() is None
    assert len(updates.operations) == 3


async def test_nothing_goes_in_circles(updates: Updates) -> None:
    """It was moved to the QEMU that is wanted, and is said to be outdated still."""
    await updates.look()
    updates.ended("Completed")
    updates.machine("web", OUTDATED, MIGRATABLE, on="wood")
    assert await updates.look() is None
    assert len(updates.operations) == 1


async def test_what_is_seen_of_the_node_may_be_from_before_its_update(updates: Updates) -> None:
    """The machine is known to be outdated before the node's labels are seen: no other node has what it has."""
    updates.nodes(node("metal", "old"), node("wood", "old"))
    updates.cluster.hidden = True
    updates.nodes(node("metal", "new"))
    assert await updates.look() == Result(60.0)
    assert updates.operations == []


def test_what_is_as_new_counts_and_what_may_be_older_does_not() -> None:
    nodes = [
        node("metal", "mine", "7.2.10"),
        node("same", "mine", "7.2.10"),
        node("older", "old", "7.2.9"),
        node("newer", "new", "8.0.0"),
        node("another-build", "other", "7.2.10"),
        node("odd", "odd", "x"),
        {"metadata": {"name": "silent"}},
    ]
    assert lead_to(nodes, "mine") == ("mine", "new")
    assert lead_to(nodes, "unknown") == ("unknown",)
