"""A restore whose disk could not be made again leaves the disk of today, in a whole daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hyperd.controllers.snapshot.making import Making
from hyperd.resources.all import (
    RESOURCE_QUOTA,
    STORAGE_CLASS,
    VIRTUAL_DISK,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_CLASS,
    VIRTUAL_MACHINE_OPERATION,
    VIRTUAL_MACHINE_SNAPSHOT,
)
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import find_condition
from hyperd.store.interface import PatchType
from tests.unit.controllers.test_machine_snapshots import take
from tests.unit.controllers.test_restore import first, resources, write
from tests.unit.controllers.world import World, running

OLD = {
    "metadata": {"name": "old"},
    "provisioner": "directory.hyperd.io",
    "volumeBindingMode": "Immediate",
}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as made:
        classes = await made.store.find_all(STORAGE_CLASS)
        await made.store.create(STORAGE_CLASS, "", {**OLD, "provisioner": classes[0]["provisioner"]})
        await made.give_disk(storageClassName="old")
        await write(made, 1)
        await made.make_machine(runPolicy="Manual")
        await made.phase("Stopped")
        await take(made, "one")
        await made.phase("Ready", VIRTUAL_MACHINE_SNAPSHOT, "one")
        await write(made, 2)
        yield made


async def limit(world: World, **hard: str) -> None:
    body: Object = {"metadata": {"name": "q"}, "spec": {"hard": {k.replace("_", "."): v for k, v in hard.items()}}}
    await world.store.create(RESOURCE_QUOTA, "default", body)


async def fails_to_restore(world: World) -> str:
    """What is said of the disk, which is the one that it was."""
    disk = (await world.store.get(VIRTUAL_DISK, "default", "vm")).uid
    await world.operate("Restore", "back", restore={"mode": "Strict", "virtualMachineSnapshotName": "one"})
    op = await world.phase("Failed", VIRTUAL_MACHINE_OPERATION, "back")
    there = await world.store.get(VIRTUAL_DISK, "default", "vm")
    assert there.uid == disk
    assert "deletionTimestamp" not in there.object()["metadata"]
    assert await first(world) == 2
    status, message = resources(op)["VirtualDisk", "vm"]
    assert status == "Failed"
    return message


async def test_a_class_that_is_gone_is_told_before_the_disk_goes(world: World) -> None:
    await world.store.delete(STORAGE_CLASS, "", "old")
    message = await fails_to_restore(world)
    op = (await world.store.get(VIRTUAL_MACHINE_OPERATION, "default", "back")).object()
    told = (find_condition(op, "Completed") or {})["message"]
    assert told == "Fail to validate the resources: check the status."
    assert 'StorageClass "old" does not exist' in message
    assert "rehearsal" not in message


async def test_a_quota_that_was_lowered_is_told_before_the_disk_goes(world: World) -> None:
    await limit(world, requests_storage="512Ki")
    message = await fails_to_restore(world)
    assert (
        '"vm" is forbidden: exceeded quota: q, requested: requests.storage=1Mi, used: requests.storage=1Mi'
        in message
    )


async def test_a_quota_at_its_edge_lets_the_disk_be_replaced(world: World) -> None:
    disk = (await world.store.get(VIRTUAL_DISK, "default", "vm")).uid
    await limit(world, requests_storage="2Mi", persistentvolumeclaims="1")
    await world.operate("Restore", "back", restore={"mode": "Strict", "virtualMachineSnapshotName": "one"})
    await world.phase("Completed", VIRTUAL_MACHINE_OPERATION, "back")
    assert (await world.store.get(VIRTUAL_DISK, "default", "vm")).uid != disk
    assert await first(world) == 1


async def test_what_changes_after_the_first_look_is_told_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Making.make

    async def late(self: Making, objects: list[Object]) -> object:
        monkeypatch.setattr(Making, "make", make)
        await world.store.delete(STORAGE_CLASS, "", "old")
        return await make(self, objects)

    monkeypatch.setattr(Making, "make", late)
    assert 'StorageClass "old" does not exist' in await fails_to_restore(world)
    op = (await world.store.get(VIRTUAL_MACHINE_OPERATION, "default", "back")).object()
    told = (find_condition(op, "Completed") or {})["message"]
    assert told == "Fail to process the resources: check the status."


async def test_a_machine_that_is_refused_leaves_its_disk(world: World) -> None:
    """Its class takes no machines of that size any more."""
    machine = await world.phase("Stopped")
    name = machine["spec"]["virtualMachineClassName"]
    patch: Object = {"spec": {"memory": {"size": "256Mi"}}}
    await world.store.patch(VIRTUAL_MACHINE, "default", "vm", PatchType.MERGE, patch)
    policy = {"cores": {"min": 1, "max": 4}, "memory": {"min": "256Mi", "max": "1Gi"}}
    await world.store.patch(
        VIRTUAL_MACHINE_CLASS, "", name, PatchType.MERGE, {"spec": {"sizingPolicies": [policy]}}
    )
    await world.operate("Restore", "back", restore={"mode": "Strict", "virtualMachineSnapshotName": "one"})
    op = await world.phase("Failed", VIRTUAL_MACHINE_OPERATION, "back")
    assert resources(op)["VirtualMachine", "vm"][0] == "Failed"
    assert await first(world) == 2
