"""Snapshots of disks that no guest has open, in a whole daemon; tests/host/machine has those with guests."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator

import pytest

from hyperd.controllers.snapshot.taking import Part, Taking
from hyperd.errors import PermanentError
from hyperd.resources.all import (
    RESOURCE_QUOTA,
    STORAGE_CLASS,
    VIRTUAL_DISK,
    VIRTUAL_DISK_SNAPSHOT,
    VIRTUAL_MACHINE_SNAPSHOT,
)
from hyperd.resources.core.storage_class import PROVISIONER
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.conditions import find_condition
from hyperd.storage.interface import Volumes
from hyperd.store.interface import PatchType
from tests.unit.controllers.world import World, running

WAITS = 'VirtualDisk "copy" waits for its first consumer, to be made of '


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as made:
        yield made


async def take(world: World, name: str, disk: str = "vm", **spec: object) -> None:
    body: Object = {
        "metadata": {"namespace": "default", "name": name},
        "spec": {"virtualDiskName": disk, **spec},
    }
    await world.store.create(VIRTUAL_DISK_SNAPSHOT, "default", body)


async def wait_for_a_consumer(world: World, snapshot: str) -> None:
    """A disk ``copy`` that is to be made of the snapshot then."""
    later: Object = {
        "metadata": {"name": "later"},
        "provisioner": PROVISIONER,
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    await world.store.create(STORAGE_CLASS, "", later)
    body: Object = {
        "metadata": {"name": "copy"},
        "spec": {
            "dataSource": {"type": "ObjectRef", "objectRef": {"kind": "VirtualDiskSnapshot", "name": snapshot}},
            "persistentVolumeClaim": {"storageClassName": "later", "size": "1Mi"},
        },
    }
    await world.store.create(VIRTUAL_DISK, "default", body)
    await world.phase("WaitForFirstConsumer", VIRTUAL_DISK, "copy")


def volumes(world: World) -> Volumes:
    return world._daemon._context.volumes


def ready(snapshot: Object) -> Object:
    return find_condition(snapshot, "VirtualDiskSnapshotReady") or {}


async def test_a_disk_that_no_guest_has_open_is_snapshotted(world: World) -> None:
    await world.give_disk()
    await take(world, "one")
    found = await world.phase("Ready", VIRTUAL_DISK_SNAPSHOT, "one")
    status = found["status"]
    disk = await world.store.get(VIRTUAL_DISK, "default", "vm")
    assert status["consistent"] is True
    assert status["volumeSnapshotName"] == f"d8v-vds-{found['metadata']['uid']}"
    assert (status["source"]["uid"], status["source"]["size"]) == (disk.uid, "1Mi")
    assert (ready(found)["status"], ready(found)["reason"]) == ("True", "VirtualDiskSnapshotReady")
    assert find_condition(found, "VirtualDiskReady") is not None
    assert "operation" not in status
    kept = await volumes(world).find_snapshot(found["metadata"]["uid"])
    assert kept is not None
    assert (kept.volume, kept.pending) == (disk.uid, False)


async def test_a_snapshot_waits_for_room_in_its_namespace_and_a_machines_fails(world: World) -> None:
    await world.give_disk()
    quota: Object = {"metadata": {"name": "q"}, "spec": {"hard": {"requests.storage": "2Mi"}}}
    await world.store.create(RESOURCE_QUOTA, "default", quota)
    await take(world, "one")
    await world.phase("Ready", VIRTUAL_DISK_SNAPSHOT, "one")
    await take(world, "two")
    waits = await world.phase("Pending", VIRTUAL_DISK_SNAPSHOT, "two")
    assert ready(waits)["reason"] == "QuotaExceeded"
    sentence = "The namespace has no room for the snapshot: exceeded quota: q, requested: requests.storage=1Mi"
    assert sentence in ready(waits)["message"]
    assert "source" not in waits["status"]
    assert len(await volumes(world).snapshots()) == 1
    await world.make_machine(runPolicy="Manual")
    await world.phase("Stopped")
    body: Object = {"metadata": {"name": "all"}, "spec": {"virtualMachineName": "vm"}}
    await world.store.create(VIRTUAL_MACHINE_SNAPSHOT, "default", body)
    whole = await world.phase("Failed", VIRTUAL_MACHINE_SNAPSHOT, "all")
    told = find_condition(whole, "VirtualMachineSnapshotReady") or {}
    assert "failed: virtualdisksnapshots" in told["message"]
    assert "exceeded quota: q" in told["message"]
    await world.store.delete(VIRTUAL_MACHINE_SNAPSHOT, "default", "all")
    await world.gone(VIRTUAL_MACHINE_SNAPSHOT, "all")
    await world.restart()
    await world.store.delete(VIRTUAL_DISK_SNAPSHOT, "default", "one")
    taken = await world.phase("Ready", VIRTUAL_DISK_SNAPSHOT, "two")
    assert taken["status"]["source"]["size"] == "1Mi"
    assert ready(taken)["status"] == "True"
    await take(world, "three")
    await world.phase("Pending", VIRTUAL_DISK_SNAPSHOT, "three")
    larger = {"spec": {"hard": {"requests.storage": "3Mi"}}}
    await world.store.patch(RESOURCE_QUOTA, "default", "q", PatchType.MERGE, larger)
    await world.phase("Ready", VIRTUAL_DISK_SNAPSHOT, "three")
    await take(world, "four")
    await world.phase("Pending", VIRTUAL_DISK_SNAPSHOT, "four")
    await world.store.delete(VIRTUAL_DISK, "default", "vm")
    await world.gone(VIRTUAL_DISK)
    failed = await world.phase("Failed", VIRTUAL_DISK_SNAPSHOT, "four")
    assert 'VirtualDisk "vm"' in ready(failed)["message"]
    assert len(await volumes(world).snapshots()) == 2


async def test_a_snapshot_outlives_its_disk_and_is_removed_with_its_object(world: World) -> None:
    await world.give_disk()
    await take(world, "one")
    await world.phase("Ready", VIRTUAL_DISK_SNAPSHOT, "one")
    await world.store.delete(VIRTUAL_DISK, "default", "vm")
    await world.gone(VIRTUAL_DISK)
    assert [each.volume for each in await volumes(world).snapshots()] != []
    assert await world.kept() == {}
    await world.restart()
    found = await world.phase("Ready", VIRTUAL_DISK_SNAPSHOT, "one")
    await world.store.delete(VIRTUAL_DISK_SNAPSHOT, "default", "one")
    await world.gone(VIRTUAL_DISK_SNAPSHOT, "one")
    await world.settled()
    assert await volumes(world).find_snapshot(found["metadata"]["uid"]) is None
    assert await volumes(world).snapshots() == []


@pytest.mark.parametrize("there", [False, True])
async def test_a_disk_that_is_missing_or_not_ready_is_the_end_of_it(world: World, there: bool) -> None:
    if there:
        body: Object = {
            "metadata": {"namespace": "default", "name": "vm"},
            "spec": {"dataSource": {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "none"}}},
        }
        await world.store.create(VIRTUAL_DISK, "default", body)
        await world.phase("Pending", VIRTUAL_DISK)
    await take(world, "one")
    found = await world.phase("Failed", VIRTUAL_DISK_SNAPSHOT, "one")
    condition = find_condition(found, "VirtualDiskReady") or {}
    assert (condition["status"], condition["reason"]) == ("False", "VirtualDiskNotReadyForSnapshotting")
    assert condition["message"] == (
        'VirtualDisk "vm" is Pending, not Ready.' if there else 'VirtualDisk "vm" does not exist.'
    )
    assert ready(found)["reason"] == "WaitingForTheVirtualDisk"


async def test_a_snapshot_that_is_gone_from_the_pool_is_lost(world: World) -> None:
    await world.give_disk()
    await take(world, "one")
    found = await world.phase("Ready", VIRTUAL_DISK_SNAPSHOT, "one")
    await volumes(world).delete_snapshot(found["metadata"]["uid"])
    world.look_at(VIRTUAL_DISK_SNAPSHOT, "one")
    found = await world.phase("Failed", VIRTUAL_DISK_SNAPSHOT, "one")
    assert ready(found)["reason"] == "Lost"


async def test_what_has_no_owner_is_kept_and_its_owner_ends_that(world: World) -> None:
    await world.give_disk()
    disk = await world.store.get(VIRTUAL_DISK, "default", "vm")
    await volumes(world).prepare_snapshot(disk.uid, snapshot="nobodys", op_uid="o", in_use=False)
    await volumes(world).commit_snapshot(disk.uid, snapshot="nobodys", op_uid="o")
    assert await world.kept() == {"nobodys": ("snapshot",)}
    assert world._daemon._sweeper is not None
    await world._daemon._sweeper.empty(["nobodys"])
    assert await volumes(world).snapshots() == []
    assert await volumes(world).find(disk.uid) is not None
    assert await world.kept() == {}


async def test_a_disk_does_not_grow_while_its_snapshot_is_between_its_halves(world: World) -> None:
    await world.give_disk()
    disk = await world.store.get(VIRTUAL_DISK, "default", "vm")
    await volumes(world).prepare_snapshot(disk.uid, snapshot="s", op_uid="o", in_use=False)
    await take(world, "one")
    failing = await world.until(
        lambda found: bool((found.get("status") or {}).get("retry")), VIRTUAL_DISK_SNAPSHOT, "one"
    )
    assert "Another snapshot" in ready(failing)["message"]
    shown = await world.until(lambda found: find_condition(found, "Snapshotting") is not None, VIRTUAL_DISK, "vm")
    assert (find_condition(shown, "Snapshotting") or {})["status"] == "True"
    grown = {"spec": {"persistentVolumeClaim": {"size": "2Mi"}}}
    await world.store.patch(VIRTUAL_DISK, "default", "vm", PatchType.MERGE, grown)
    waits = await world.until(lambda found: find_condition(found, "Resizing") is not None, VIRTUAL_DISK, "vm")
    told = find_condition(waits, "Resizing") or {}
    assert (told["status"], told["reason"], waits["status"]["phase"]) == ("False", "NotAvailable", "Ready")
    assert told["message"] == 'VirtualDiskSnapshot "one" is being taken of the disk; it grows after that.'
    await world.told("VirtualDiskResizingNotAvailable")
    world.look_at(VIRTUAL_DISK, "vm")
    await world.settled()
    again = (await world.store.get(VIRTUAL_DISK, "default", "vm")).object()
    assert find_condition(again, "Resizing") == told, "while nothing changes nothing is written"
    await volumes(world).cancel_snapshot(disk.uid, snapshot="s")
    await world.phase("Ready", VIRTUAL_DISK_SNAPSHOT, "one")
    last = await world.until(lambda found: found["status"]["capacity"] == "2Mi", VIRTUAL_DISK, "vm")
    assert find_condition(last, "Snapshotting") is None


async def restore(world: World, name: str, of: str, **claim: str) -> None:
    source = {"type": "ObjectRef", "objectRef": {"kind": "VirtualDiskSnapshot", "name": of}}
    body: Object = {
        "metadata": {"namespace": "default", "name": name},
        "spec": {"dataSource": source, "persistentVolumeClaim": claim},
    }
    await world.store.create(VIRTUAL_DISK, "default", body)


@pytest.mark.parametrize(("asked", "got"), [({}, "1Mi"), ({"size": "1Ki"}, "1Mi"), ({"size": "8Mi"}, "8Mi")])
async def test_a_disk_is_made_of_a_snapshot_at_least_as_large_as_that(
    world: World, asked: dict[str, str], got: str
) -> None:
    await restore(world, "copy", "one", **asked)
    waiting = await world.phase("Pending", VIRTUAL_DISK, "copy")
    assert (find_condition(waiting, "Ready") or {})["reason"] == "DatasourceIsNotFound"
    await world.give_disk()
    await take(world, "one")
    made = await world.phase("Ready", VIRTUAL_DISK, "copy")
    assert made["status"]["capacity"] == got
    assert made["status"]["sourceUID"] == (await world.store.get(VIRTUAL_DISK_SNAPSHOT, "default", "one")).uid
    await world.store.delete(VIRTUAL_DISK_SNAPSHOT, "default", "one")
    await world.store.delete(VIRTUAL_DISK, "default", "vm")
    await world.gone(VIRTUAL_DISK)
    await world.gone(VIRTUAL_DISK_SNAPSHOT, "one")
    assert [each.uid for each in await volumes(world).inventory()] == [made["metadata"]["uid"]]
    assert await world.kept() == {}


async def test_a_uid_that_a_status_names_is_not_believed(world: World) -> None:
    await world.give_disk()
    disk = await world.store.get(VIRTUAL_DISK, "default", "vm")

    async def parts(namespace: str, name: str) -> list[Part]:
        return [Part(namespace, name, disk.uid, "forged")]

    for namespace, name in (("others", "vm"), ("default", "other")):
        ask = functools.partial(parts, namespace, name)
        taking = Taking(world._daemon._context, ask, "op", required=False)
        with pytest.raises(PermanentError, match="or another one by now"):
            await taking.prepare()
    assert await volumes(world).snapshots() == []


async def test_a_snapshot_that_is_deleted_waits_for_the_disk_that_is_to_be_made_of_it(world: World) -> None:
    await world.give_disk()
    await take(world, "one")
    await world.phase("Ready", VIRTUAL_DISK_SNAPSHOT, "one")
    await wait_for_a_consumer(world, "one")
    await world.store.delete(VIRTUAL_DISK_SNAPSHOT, "default", "one")
    told = await world.until(
        lambda vds: ready(vds).get("message", "").startswith(WAITS), VIRTUAL_DISK_SNAPSHOT, "one"
    )
    assert told["status"]["phase"] == "Ready"
    await world.make_machine(blockDeviceRefs=[{"kind": "VirtualDisk", "name": "copy"}])
    await world.phase("Ready", VIRTUAL_DISK, "copy")
    await world.gone(VIRTUAL_DISK_SNAPSHOT, "one")
