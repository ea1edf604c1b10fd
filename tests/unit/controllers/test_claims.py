"""Disks that their namespace's quota has no room for, in a whole daemon: they say so, and go on by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hyperd.resources.all import RESOURCE_QUOTA, STORAGE_CLASS, VIRTUAL_DISK, VIRTUAL_MACHINE
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import find_condition
from hyperd.store.interface import PatchType
from tests.unit.controllers.world import World, running

ROOM = (
    "exceeded quota: q, requested: requests.storage={0}, used: requests.storage={1}, limited: requests.storage={2}"
)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as made:
        yield made


async def limit(world: World, **hard: str) -> None:
    """The namespace's quota, made or changed."""
    spec = {"hard": {name.replace("_", "."): value for name, value in hard.items()}}
    if await world.store.find(RESOURCE_QUOTA, "default", "q") is None:
        await world.store.create(RESOURCE_QUOTA, "default", {"metadata": {"name": "q"}, "spec": spec})
    else:
        await world.store.patch(RESOURCE_QUOTA, "default", "q", PatchType.MERGE, {"spec": spec})


async def used(world: World, storage: str) -> None:
    def holds(quota: Object) -> bool:
        return bool((quota.get("status") or {}).get("used", {}).get("requests.storage") == storage)

    await world.until(holds, RESOURCE_QUOTA, "q")


async def disk(world: World, name: str, size: str, **claim: str) -> None:
    spec = {"persistentVolumeClaim": {"size": size, **claim}}
    await world.store.create(VIRTUAL_DISK, "default", {"metadata": {"name": name}, "spec": spec})


async def waiting(world: World, name: str, type_: str = "Ready", reason: str = "QuotaExceeded") -> Object:
    """The condition of a disk that waits for room."""

    def holds(obj: Object) -> bool:
        found = find_condition(obj, type_) or {}
        return found.get("reason") == reason and "exceeded quota" in found.get("message", "")

    found: Object = dict(find_condition(await world.until(holds, VIRTUAL_DISK, name), type_) or {})
    return found


async def test_a_disk_without_room_is_there_and_waits_until_the_quota_is_raised(world: World) -> None:
    await limit(world, requests_storage="1Mi")
    await disk(world, "a", "2Mi")
    told = await waiting(world, "a")
    assert told["status"] == "False"
    assert told["message"].startswith("The namespace has no room for the volume's claim: ")
    assert ROOM.format("2Mi", "0", "1Mi") in told["message"]
    status = (await world.phase("Pending", VIRTUAL_DISK, "a"))["status"]
    assert "target" not in status
    assert "operation" not in status, "nothing is begun"
    await used(world, "0")
    await world.restart()
    await waiting(world, "a")
    await limit(world, requests_storage="2Mi")
    ready = await world.phase("Ready", VIRTUAL_DISK, "a")
    assert ready["status"]["target"]["persistentVolumeClaimName"] == f"d8v-vd-{ready['metadata']['uid']}"
    assert "size" not in ready["status"]["target"], "the volume has it"
    await used(world, "2Mi")
    await world.restart()
    await used(world, "2Mi")


async def test_of_two_disks_one_takes_the_room_and_the_other_what_it_leaves(world: World) -> None:
    await limit(world, requests_storage="3Mi", persistentvolumeclaims="5")
    for name in ("a", "b"):
        await disk(world, name, "2Mi")

    def reason(obj: Object) -> str:
        return str((find_condition(obj, "Ready") or {}).get("reason"))

    ends = ("QuotaExceeded", "Ready")
    found = {
        name: reason(await world.until(lambda obj: reason(obj) in ends, VIRTUAL_DISK, name)) for name in ("a", "b")
    }
    assert sorted(found.values()) == list(ends)
    first, second = sorted(found, key=found.__getitem__, reverse=True)
    assert ROOM.format("2Mi", "2Mi", "3Mi") in (await waiting(world, second))["message"]
    await world.store.delete(VIRTUAL_DISK, "default", first)
    await world.phase("Ready", VIRTUAL_DISK, second)
    await used(world, "2Mi")


async def test_a_disk_grows_once_there_is_room_and_says_what_it_waits_for(world: World) -> None:
    await limit(world, requests_storage="3Mi")
    await disk(world, "a", "2Mi")
    await world.phase("Ready", VIRTUAL_DISK, "a")
    larger = {"spec": {"persistentVolumeClaim": {"size": "4Mi"}}}
    await world.store.patch(VIRTUAL_DISK, "default", "a", PatchType.MERGE, larger)
    told = await waiting(world, "a", "Resizing", "NotAvailable")
    assert ROOM.format("2Mi", "2Mi", "3Mi") in told["message"]
    obj = await world.phase("Ready", VIRTUAL_DISK, "a")
    assert (obj["status"]["capacity"], (find_condition(obj, "Ready") or {})["status"]) == ("2Mi", "True")
    await used(world, "2Mi")
    await limit(world, requests_storage="4Mi")
    grown = await world.until(lambda obj: obj["status"].get("capacity") == "4Mi", VIRTUAL_DISK, "a")
    assert "size" not in grown["status"]["target"]
    assert find_condition(grown, "Resizing") is None
    await used(world, "4Mi")


async def test_a_disk_that_waits_for_its_consumer_has_its_claim_already(world: World) -> None:
    classes = await world.store.find_all(STORAGE_CLASS)
    late = {"metadata": {"name": "late"}, "provisioner": classes[0]["provisioner"]}
    await world.store.create(STORAGE_CLASS, "", {**late, "volumeBindingMode": "WaitForFirstConsumer"})
    await limit(world, requests_storage="3Mi")
    await disk(world, "vm", "2Mi", storageClassName="late")
    waits = await world.phase("WaitForFirstConsumer", VIRTUAL_DISK, "vm")
    assert waits["status"]["target"]["size"] == "2Mi"
    await used(world, "2Mi")
    await disk(world, "b", "2Mi", storageClassName="late")
    await waiting(world, "b")
    await world.make_machine()
    await world.phase("Running", VIRTUAL_MACHINE)
    await used(world, "2Mi")


async def test_what_fails_for_good_gives_its_room_back(world: World) -> None:
    await limit(world, requests_storage="1Pi")
    await disk(world, "a", "900Ti")
    failed = await world.phase("Failed", VIRTUAL_DISK, "a")
    assert "target" not in failed["status"]
    await used(world, "0")
