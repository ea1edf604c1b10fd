"""Machines made of snapshots by VirtualMachineSnapshotOperation, in a whole daemon."""

from __future__ import annotations

import pytest

from hyperd.controllers.snapshot import operating
from hyperd.controllers.snapshot.making import complete
from hyperd.controllers.snapshot.operating import rank
from hyperd.resources.all import (
    VIRTUAL_DISK,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_SNAPSHOT,
    VIRTUAL_MACHINE_SNAPSHOT_OPERATION,
)
from hyperd.resources.values.conditions import find_condition
from hyperd.store.interface import Propagation
from tests.parts import Part
from tests.unit.controllers.test_restore import changed_since_a_snapshot, first, make_of, resources, world
from tests.unit.controllers.world import World

__all__ = ["world"]


async def test_a_machine_is_made_of_a_snapshot_whose_machine_is_gone(world: World) -> None:
    await changed_since_a_snapshot(world)
    await world.store.delete(VIRTUAL_MACHINE, "default", "vm")
    await world.gone()
    options = {"mode": "Strict", "customization": {"namePrefix": "new-"}}
    await make_of(world, "make", "one", createVirtualMachine=options)
    op = await world.phase("Completed", VIRTUAL_MACHINE_SNAPSHOT_OPERATION, "make")
    assert set(resources(op)) == {("VirtualMachine", "new-vm"), ("VirtualDisk", "new-vm")}
    await world.phase("Ready", VIRTUAL_DISK, "new-vm")
    assert (await first(world), await first(world, "new-vm")) == (2, 1)
    await world.phase("Stopped", VIRTUAL_MACHINE, "new-vm")
    await world.told("VirtualMachineSnaphotOperationStarted", "VirtualMachineSnapshotOperationSucceeded")


async def test_of_two_operations_on_a_snapshot_at_once_one_is_done(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = False
    monkeypatch.setattr(operating, "complete", lambda *args: may_end and complete(*args))
    await changed_since_a_snapshot(world)
    kind = VIRTUAL_MACHINE_SNAPSHOT_OPERATION
    options = {name: {"mode": "Strict", "customization": {"namePrefix": f"{name}-"}} for name in ("a", "b")}
    await make_of(world, "a", "one", createVirtualMachine=options["a"])
    await world.phase("InProgress", kind, "a")
    await make_of(world, "b", "one", createVirtualMachine=options["b"])
    refused = await world.phase("Failed", kind, "b")
    assert (find_condition(refused, "Completed") or {})["reason"] == "NotReadyToBeExecuted"
    may_end = True
    await world.phase("Completed", kind, "a")


@pytest.mark.parametrize("what", ["snapshot", "options"])
async def test_an_operation_on_a_snapshot_that_cannot_be_done_fails_at_once(world: World, what: str) -> None:
    if what == "options":
        await changed_since_a_snapshot(world)
    await make_of(world, "make", "one")
    op = await world.phase("Failed", VIRTUAL_MACHINE_SNAPSHOT_OPERATION, "make")
    told = find_condition(op, "Completed") or {}
    assert told["reason"] == {"snapshot": "VirtualMachineSnapshotNotFound", "options": "OperationFailed"}[what]


async def test_a_machine_is_made_of_a_snapshot_that_is_deleted_in_the_foreground_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = False
    monkeypatch.setattr(operating, "complete", lambda *args: may_end and complete(*args))
    await changed_since_a_snapshot(world)
    options = {"mode": "Strict", "customization": {"namePrefix": "new-"}}
    await make_of(world, "make", "one", createVirtualMachine=options)
    await world.phase("InProgress", VIRTUAL_MACHINE_SNAPSHOT_OPERATION, "make")
    await world.store.delete(VIRTUAL_MACHINE_SNAPSHOT, "default", "one", propagation=Propagation.FOREGROUND)
    await world.phase("Terminating", VIRTUAL_MACHINE_SNAPSHOT, "one")
    may_end = True
    op = await world.ended(VIRTUAL_MACHINE_SNAPSHOT_OPERATION, "make")
    assert op["status"]["phase"] == "Completed", find_condition(op, "Completed")
    await world.phase("Ready", VIRTUAL_DISK, "new-vm")
    assert await first(world, "new-vm") == 1
    await world.gone(VIRTUAL_MACHINE_SNAPSHOT, "one")


def test_an_operation_that_has_begun_comes_before_an_older_one_and_never_both() -> None:
    def op(uid: str, phase: str, created: str) -> Part:
        return {"metadata": {"uid": uid, "creationTimestamp": created}, "status": {"phase": phase}}

    begun, also, older = op("b", "InProgress", "2"), op("c", "InProgress", "2"), op("a", "Pending", "1")
    assert rank(begun) < rank(older)
    assert rank(older) < rank(op("d", "Pending", "3"))
    assert rank(begun) < rank(also), "of two that both began, each does not fail for the other"
